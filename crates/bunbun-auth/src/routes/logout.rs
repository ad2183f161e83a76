//! `POST /logout?scope=global|local|others`.

use axum::extract::State;
use http::StatusCode;

use crate::{
    error::{AuthError, Result},
    request::{Origin, TokenHolder},
    service::AuthService,
    store::{
        audit::{Action, Actor},
        sessions::{self, End},
    },
};

/// Ends sessions: all of the user's (the default), this one, or all but this one.
pub(super) async fn create_logout(
    State(service): State<AuthService>,
    origin: Origin,
    TokenHolder(signed_in): TokenHolder,
) -> Result<StatusCode> {
    let service = &*service.0;
    let session_id = signed_in.session.as_ref().map(|session| session.id);
    let which = match (origin.query("scope"), session_id) {
        ("" | "global", _) | (_, None) => End::All,
        ("local", Some(id)) => End::One(id),
        ("others", Some(id)) => End::Others(id),
        (other, _) => {
            let shown: String = other.chars().take(40).collect();
            return Err(AuthError::invalid(format!(
                "Unsupported logout scope \"{shown}\""
            )));
        }
    };
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let actor = Actor::user(&signed_in.user);
    service
        .audit(&transaction, &origin, &actor, Action::Logout, None)
        .await?;
    sessions::end(&transaction, signed_in.user.id, which).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
