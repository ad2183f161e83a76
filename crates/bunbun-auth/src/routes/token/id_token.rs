//! `POST /token?grant_type=id_token`: a token of an OpenID Connect provider, as applications on a
//! phone have it.

use bunbun_core::secret;
use serde::Deserialize;

use crate::{
    error::{AuthError, Result},
    external::External,
    grant::TokenResponse,
    hooks::room::Calls,
    request::{Origin, SignedIn, text},
    routes::identities::require_linking,
    service::Inner,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IdTokenGrant {
    id_token: Option<String>,
    access_token: Option<String>,
    nonce: Option<String>,
    provider: Option<String>,
    client_id: Option<String>,
    issuer: Option<String>,
    pub(super) link_identity: Option<bool>,
}

/// Signs in whoever the id token is about, or links them to the account of who asks.
pub(super) async fn grant(
    service: &Inner,
    origin: &Origin,
    body: IdTokenGrant,
    linking: Option<SignedIn>,
) -> Result<TokenResponse> {
    if text(&body.id_token).is_empty() {
        return Err(AuthError::oauth("invalid request", "id_token required"));
    }
    if linking.is_some() {
        require_linking(service)?;
    }
    let (name, issuer) = (text(&body.provider), text(&body.issuer));
    if name.is_empty() && (text(&body.client_id).is_empty() || issuer.is_empty()) {
        return Err(AuthError::oauth(
            "invalid request",
            "provider or client_id and issuer required",
        ));
    }
    let provider = service.providers.find_oidc(name, issuer)?;
    let (profile, nonce) = provider
        .verify_id_token(text(&body.id_token), text(&body.access_token))
        .await?;
    if !provider.skips_nonce_check() {
        check_nonce(text(&body.nonce), nonce.as_deref().unwrap_or_default())?;
    }
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Both).await?;
    let transaction = client.transaction().await?;
    if let Some(signed_in) = linking {
        let name = provider.name();
        let user_id = signed_in.user.id;
        let user = service
            .link_identity(&transaction, user_id, name, &profile)
            .await?;
        let session = service
            .begin_session(&database, &transaction, origin, user, "oauth")
            .await?;
        transaction.commit().await?;
        return Ok(session);
    }
    let account = service
        .account_of(&transaction, origin, provider.name(), &profile)
        .await?;
    match account {
        External::User(user) => {
            let session = service
                .begin_session(&database, &transaction, origin, *user, "oauth")
                .await?;
            transaction.commit().await?;
            Ok(session)
        }
        External::Unverified(letter, error) => {
            transaction.commit().await?;
            service
                .post(letter.into_iter().map(|letter| *letter).collect(), room)
                .await;
            Err(error)
        }
    }
}

/// The token holds the SHA-256 of what the application keeps.
fn check_nonce(given: &str, in_token: &str) -> Result<()> {
    if given.is_empty() != in_token.is_empty() {
        return Err(AuthError::oauth(
            "invalid request",
            "Passed nonce and nonce in id_token should either both exist or not.",
        ));
    }
    let expected = secret::hex(&secret::digest(given.as_bytes()));
    if !given.is_empty() && !secret::equal(expected.as_bytes(), in_token.as_bytes()) {
        return Err(AuthError::oauth("invalid nonce", "Nonces mismatch"));
    }
    Ok(())
}
