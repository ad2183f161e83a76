//! `POST /invite`: an account for someone, and a mail to them.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;

use crate::{
    email_address,
    error::{AuthError, Result},
    hooks::room::Calls,
    request::{Admin, Json, Origin, text},
    service::{self, AuthService},
    store::{Object, audit::Action, users},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InviteRequest {
    email: Option<String>,
    data: Option<Object>,
}

/// Invites someone who has no confirmed account.
pub(super) async fn create_invitation(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Json(body): Json<InviteRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let email = email_address::validate(text(&body.email))?;
    let data = body.data.unwrap_or_default();
    service.limits.any_mail()?;
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Users).await?;
    let transaction = client.transaction().await?;
    let user = service
        .unconfirmed(&transaction, &origin, &email, &data, None)
        .await?;
    let traits = Some(json!({ "user_id": user.id, "user_email": email }));
    let actor = admin.actor();
    service
        .audit(&transaction, &origin, &actor, Action::UserInvited, traits)
        .await?;
    let letter = service.invitation(&transaction, &origin, &user).await?;
    let user = users::find(&transaction, user.id)
        .await?
        .ok_or_else(|| AuthError::internal("Database error loading user", "the user is gone"))?;
    transaction.commit().await?;
    service.post(vec![letter], room).await;
    service::json(&user)
}
