//! `/factors`: a second factor, an authenticator app.

mod challenge;
mod enroll;
mod verify;

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{delete, post},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    request::{Origin, SignedIn},
    service::{self, AuthService},
    store::{
        audit::{Action, Actor},
        factors::{self, Factor},
        users::User,
    },
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route("/factors", post(enroll::create_factor))
        .route("/factors/{factor_id}", delete(delete_factor))
        .route(
            "/factors/{factor_id}/challenge",
            post(challenge::create_challenge),
        )
        .route(
            "/factors/{factor_id}/verify",
            post(verify::create_verification),
        )
}

/// A factor of this user.
///
/// # Errors
/// 404 `mfa_factor_not_found`, also for factors of others.
pub(super) fn owned<'u>(user: &'u User, id: &str) -> Result<&'u Factor> {
    let id: Uuid = id
        .parse()
        .map_err(|_| AuthError::not_found(Code::ValidationFailed, "factor_id must be an UUID"))?;
    user.factors
        .iter()
        .find(|factor| factor.id == id)
        .ok_or_else(|| AuthError::not_found(Code::MfaFactorNotFound, "Factor not found"))
}

/// Removes a factor; a verified one only for whoever has shown it.
async fn delete_factor(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Path(factor_id): Path<String>,
) -> Result<Response> {
    let service = &*service.0;
    signed_in.not_anonymous()?;
    let session_id = signed_in.session()?.id;
    let factor = owned(&signed_in.user, &factor_id)?;
    if factor.is_verified() && !signed_in.is_aal2() {
        return Err(AuthError::unprocessable(
            Code::InsufficientAal,
            "AAL2 required to unenroll verified factor",
        ));
    }
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    factors::delete(&transaction, factor.id).await?;
    let traits = json!({
        "factor_id": factor.id, "factor_status": factor.status, "session_id": session_id,
    });
    let actor = Actor::user(&signed_in.user);
    let unenrolled = Action::FactorUnenrolled;
    service
        .audit(&transaction, &origin, &actor, unenrolled, Some(traits))
        .await?;
    transaction.commit().await?;
    service::json(&json!({ "id": factor.id }))
}
