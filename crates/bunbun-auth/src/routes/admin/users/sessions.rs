//! `/admin/users/{user_id}/sessions`. The original has no such endpoint.

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{delete, get},
};
use http::StatusCode;

use super::{find, traits};
use crate::{
    error::Result,
    request::{Admin, Origin},
    routes::sessions::{read_id, unknown},
    service::{self, AuthService},
    store::{
        audit::Action,
        sessions::{self, End},
    },
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route(
            "/admin/users/{user_id}/sessions",
            get(list_sessions).delete(delete_sessions),
        )
        .route(
            "/admin/users/{user_id}/sessions/{session_id}",
            delete(delete_session),
        )
}

/// Lists a user's sessions, the latest first.
async fn list_sessions(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
    Path(user_id): Path<String>,
) -> Result<Response> {
    let database = service.0.database(origin.project()).await?;
    let client = database.client().await?;
    let user = find(&client, &user_id).await?;
    service::json(&sessions::list(&client, user.id).await?)
}

/// Signs a user out everywhere.
async fn delete_sessions(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Path(user_id): Path<String>,
) -> Result<StatusCode> {
    end(&service, &origin, &admin, &user_id, End::All).await
}

/// Ends one of a user's sessions.
async fn delete_session(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Path((user_id, session_id)): Path<(String, String)>,
) -> Result<StatusCode> {
    let id = read_id(&session_id)?;
    end(&service, &origin, &admin, &user_id, End::One(id)).await
}

async fn end(
    service: &AuthService,
    origin: &Origin,
    admin: &Admin,
    user_id: &str,
    which: End,
) -> Result<StatusCode> {
    let service = &*service.0;
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = find(&transaction, user_id).await?;
    let has_ended = sessions::end(&transaction, user.id, which).await?;
    if !has_ended && which != End::All {
        return Err(unknown());
    }
    let (actor, traits) = (admin.actor(), traits(&user));
    service
        .audit(&transaction, origin, &actor, Action::Logout, traits)
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
