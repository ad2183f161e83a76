//! `/admin/users/{user_id}/factors`.

use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, put},
};
use serde::Deserialize;
use serde_json::json;

use super::find;
use crate::{
    error::{AuthError, Result},
    request::{Admin, Json, Origin, text},
    routes::factors::owned,
    service::{self, AuthService},
    store::{audit::Action, audit::Actor, factors},
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route("/admin/users/{user_id}/factors", get(list_factors))
        .route(
            "/admin/users/{user_id}/factors/{factor_id}",
            put(update_factor).delete(delete_factor),
        )
}

/// Lists a user's factors.
async fn list_factors(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
    Path(user_id): Path<String>,
) -> Result<Response> {
    let database = service.0.database(origin.project()).await?;
    let client = database.client().await?;
    service::json(&find(&client, &user_id).await?.factors)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UpdateFactorRequest {
    friendly_name: Option<String>,
}

/// Renames a factor.
async fn update_factor(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Path((user_id, factor_id)): Path<(String, String)>,
    Json(body): Json<UpdateFactorRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let name = text(&body.friendly_name);
    if name.len() > 255 {
        return Err(AuthError::invalid("friendly_name is longer than 255 bytes"));
    }
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = find(&transaction, &user_id).await?;
    let factor = owned(&user, &factor_id)?;
    if !name.is_empty() {
        factors::rename(&transaction, factor.id, name, service.now()).await?;
    }
    let traits = Some(json!({ "user_id": user.id, "factor_id": factor.id }));
    let actor = admin.actor();
    service
        .audit(&transaction, &origin, &actor, Action::FactorUpdated, traits)
        .await?;
    let user = find(&transaction, &user_id).await?;
    transaction.commit().await?;
    service::json(owned(&user, &factor_id)?)
}

/// Removes a factor: the way back in for whoever lost theirs.
async fn delete_factor(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
    Path((user_id, factor_id)): Path<(String, String)>,
) -> Result<Response> {
    let service = &*service.0;
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = find(&transaction, &user_id).await?;
    let factor = owned(&user, &factor_id)?;
    let traits = Some(json!({ "user_id": user.id, "factor_id": factor.id }));
    let actor = Actor::user(&user);
    service
        .audit(&transaction, &origin, &actor, Action::FactorDeleted, traits)
        .await?;
    factors::delete(&transaction, factor.id).await?;
    transaction.commit().await?;
    service::json(factor)
}
