//! `/user/sessions`: where one is signed in. The original has no such endpoint.

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{delete, get},
};
use http::StatusCode;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    request::{Origin, SignedIn},
    service::{self, AuthService},
    store::{
        audit::{Action, Actor},
        sessions::{self, End},
    },
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route("/user/sessions", get(list_sessions))
        .route("/user/sessions/{session_id}", delete(delete_session))
}

/// Lists one's sessions, the latest first.
async fn list_sessions(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
) -> Result<Response> {
    let database = service.0.database(origin.project()).await?;
    let client = database.client().await?;
    service::json(&sessions::list(&client, signed_in.user.id).await?)
}

/// Ends one of one's sessions.
async fn delete_session(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Path(session_id): Path<String>,
) -> Result<StatusCode> {
    let service = &*service.0;
    let id = read_id(&session_id)?;
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    if !sessions::end(&transaction, signed_in.user.id, End::One(id)).await? {
        return Err(unknown());
    }
    let actor = Actor::user(&signed_in.user);
    service
        .audit(&transaction, &origin, &actor, Action::Logout, None)
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A session's id in a path.
///
/// # Errors
/// 404.
pub(super) fn read_id(text: &str) -> Result<Uuid> {
    text.parse()
        .map_err(|_| AuthError::not_found(Code::ValidationFailed, "session_id must be an UUID"))
}

pub(super) fn unknown() -> AuthError {
    AuthError::not_found(Code::SessionNotFound, "Session not found")
}
