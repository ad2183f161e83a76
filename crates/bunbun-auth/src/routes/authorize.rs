//! `GET /authorize`: sends the browser to a provider.

use axum::{
    extract::State as AxumState,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    oauth::{Flow, state::State},
    request::Origin,
    service::{AuthService, Inner},
    store::{flow_states, one_time_tokens},
    token::pkce::Challenge,
};

/// Parameters that are for us and not for the provider.
const OWN: [&str; 9] = [
    "provider",
    "scopes",
    "redirect_to",
    "invite_token",
    "skip_http_redirect",
    "apikey",
    "code_challenge",
    "code_challenge_method",
    "link_identity",
];

/// Redirects to the provider's page.
pub(super) async fn get_authorization(
    AxumState(service): AxumState<AuthService>,
    origin: Origin,
) -> Result<Response> {
    let url = provider_url(&service.0, &origin, None).await?;
    found(&url)
}

/// Sends the browser on.
pub(super) fn found(location: &str) -> Result<Response> {
    let location = HeaderValue::from_str(location)
        .map_err(|error| AuthError::internal("The redirect cannot be written", error))?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

/// The provider's page for this request; for a user who links an identity to their account.
pub(super) async fn provider_url(
    service: &Inner,
    origin: &Origin,
    linking: Option<Uuid>,
) -> Result<String> {
    let provider = service.providers.find(origin.query("provider"))?;
    let challenge = Challenge::read(
        origin.query("code_challenge"),
        origin.query("code_challenge_method"),
    )?;
    let referrer = service.redirects.choose(origin.redirect_candidates());
    let mut state = State::new(provider.name(), referrer, service.clock.unix_seconds());
    state.linking_target_id = linking;
    let invite_token = origin.query("invite_token");
    if !invite_token.is_empty() || challenge.is_some() {
        let database = service.database(origin.project()).await?;
        let client = database.client().await?;
        if !invite_token.is_empty() {
            let kinds = [one_time_tokens::Kind::Confirmation];
            let found = one_time_tokens::find(&client, invite_token, &kinds).await?;
            found.ok_or_else(|| {
                AuthError::not_found(Code::UserNotFound, "User identified by token not found")
            })?;
            invite_token.clone_into(&mut state.invite_token);
        }
        if let Some(challenge) = &challenge {
            let now = service.now();
            let name = provider.name();
            let id = flow_states::insert(&client, name, "oauth", challenge, None, now).await?;
            state.flow_state_id = Some(id);
        }
    }
    let secret = service.jwt_secret.expose_secret();
    let (nonce, verifier) = (state.nonce(secret), state.verifier(secret));
    let callback = format!("{}/callback", service.external_url());
    let flow = Flow {
        callback: &callback,
        nonce: &nonce,
        verifier: &verifier,
    };
    let extra: Vec<(String, String)> = origin
        .query_pairs()
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .cloned()
        .collect();
    let url = provider
        .authorize_url(&flow, &state.seal(secret), origin.query("scopes"), &extra)
        .await?;
    Ok(url.into())
}
