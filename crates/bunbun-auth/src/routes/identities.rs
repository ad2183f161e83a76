//! `/user/identities`: links a provider to one's account, and unlinks it.

use axum::{
    extract::{Path, State},
    response::Response,
};
use bunbun_postgres::{Session, tokio_postgres::error::SqlState};
use serde_json::json;
use uuid::Uuid;

use super::authorize;
use crate::{
    error::{AuthError, Code, Result},
    request::{Origin, SignedIn},
    service::{self, AuthService, Inner},
    store::{
        audit::{Action, Actor},
        identities::{self, Identity},
        users::{self, Changes, User},
    },
};

/// # Errors
/// 404 `manual_linking_disabled`.
pub(super) fn require_linking(service: &Inner) -> Result<()> {
    if service.config.manual_linking {
        return Ok(());
    }
    Err(AuthError::not_found(
        Code::ManualLinkingDisabled,
        "Manual linking is disabled",
    ))
}

/// Sends the browser to a provider whose identity is to be linked; with `skip_http_redirect` the
/// answer names the page.
pub(super) async fn authorize_identity(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
) -> Result<Response> {
    let service = &*service.0;
    require_linking(service)?;
    let url = authorize::provider_url(service, &origin, Some(signed_in.user.id)).await?;
    if origin.query("skip_http_redirect") == "true" {
        return service::json(&json!({ "url": url }));
    }
    authorize::found(&url)
}

/// Unlinks an identity that is not the last.
pub(super) async fn delete_identity(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Path(identity_id): Path<String>,
) -> Result<Response> {
    let service = &*service.0;
    require_linking(service)?;
    let id: Uuid = identity_id
        .parse()
        .map_err(|_| AuthError::not_found(Code::ValidationFailed, "identity_id must be an UUID"))?;
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = users::lock(&transaction, signed_in.user.id).await?;
    let user = user.ok_or_else(|| {
        AuthError::forbidden(
            Code::UserNotFound,
            "User from sub claim in JWT does not exist",
        )
    })?;
    if user.identities.len() <= 1 {
        return Err(AuthError::unprocessable(
            Code::SingleIdentityNotDeletable,
            "User must have at least 1 identity after unlinking",
        ));
    }
    let identity = user
        .identities
        .iter()
        .find(|identity| identity.identity_id == id);
    let identity = identity.ok_or_else(|| {
        AuthError::unprocessable(Code::IdentityNotFound, "Identity doesn't exist")
    })?;
    let traits = json!({
        "identity_id": identity.identity_id,
        "provider": identity.provider,
        "provider_id": identity.provider_id,
    });
    let actor = Actor::user(&user);
    let unlinked = Action::IdentityUnlinked;
    service
        .audit(&transaction, &origin, &actor, unlinked, Some(traits))
        .await?;
    unlink(service, &transaction, &user, identity).await?;
    transaction.commit().await?;
    service::json(&json!({}))
}

async fn unlink(
    service: &Inner,
    session: &Session,
    user: &User,
    identity: &Identity,
) -> Result<()> {
    let now = service.now();
    identities::delete(session, identity.identity_id).await?;
    let rest: Vec<&Identity> = user
        .identities
        .iter()
        .filter(|other| other.identity_id != identity.identity_id)
        .collect();
    let email_of = |identity: &Identity| identity.email.clone().unwrap_or_default();
    let keeps_address = rest.iter().any(|other| email_of(other) == user.email());
    if identity.provider == "phone" {
        let (none, no_time) = (None::<String>, None::<time::OffsetDateTime>);
        Changes::default()
            .set("phone", none)
            .set("phone_confirmed_at", no_time)
            .save(session, user.id, now)
            .await?;
    } else if !keeps_address {
        // The address went with its identity; another identity's takes its place.
        // One that nobody has verified may be somebody else's.
        let next = rest
            .iter()
            .filter(|other| other.identity_data.get("email_verified") == Some(&true.into()))
            .map(|other| email_of(other))
            .find(|email| !email.is_empty());
        let saved = Changes::default()
            .set("email", next)
            .save(session, user.id, now)
            .await;
        saved.map_err(|error| {
            if error.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION) {
                AuthError::unprocessable(
                    Code::EmailConflictIdentityNotDeletable,
                    "Unable to unlink identity due to email conflict",
                )
            } else {
                error.into()
            }
        })?;
    }
    Ok(identities::sync_providers(session, user.id).await?)
}
