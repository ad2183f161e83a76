//! `DELETE /admin/users/{user_id}`.

use axum::{
    extract::{Path, State},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::secret;
use bunbun_postgres::{Error, Session, types::Json as SqlJson};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{find, traits};
use crate::{
    error::Result,
    request::{Admin, OptionalJson, Origin},
    service::{self, AuthService},
    store::{
        audit::Action,
        factors, identities, one_time_tokens,
        sessions::{self, End},
        users::{self, Changes, User},
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeleteUserRequest {
    should_soft_delete: Option<bool>,
}

/// Deletes a user, or with `should_soft_delete` only what makes them a person: the row and its id
/// stay for what refers to them.
pub(super) async fn delete_user(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Path(user_id): Path<String>,
    OptionalJson(body): OptionalJson<DeleteUserRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let now = service.now();
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = find(&transaction, &user_id).await?;
    let (actor, traits) = (admin.actor(), traits(&user));
    service
        .audit(&transaction, &origin, &actor, Action::UserDeleted, traits)
        .await?;
    if body.should_soft_delete != Some(true) {
        users::delete(&transaction, user.id).await?;
    } else if user.deleted_at.is_none() {
        soft_delete(&transaction, &user, now).await?;
    }
    transaction.commit().await?;
    service::json(&json!({}))
}

/// Digests take the place of what names the person.
async fn soft_delete(
    session: &Session,
    user: &User,
    now: OffsetDateTime,
) -> std::result::Result<(), Error> {
    let hidden = |text: &str| {
        let digest = secret::digest(format!("{}{text}", user.id).as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(digest)
    };
    let email = user.email.as_deref().map(hidden);
    let phone = user
        .phone
        .as_deref()
        .map(|phone| hidden(phone)[..15].to_owned());
    let none: Option<OffsetDateTime> = None;
    Changes::default()
        .set("email", email)
        .set("phone", phone)
        .set("encrypted_password", "")
        .set("email_change", "")
        .set("phone_change", "")
        .set("confirmation_token", "")
        .set("recovery_token", "")
        .set("email_change_token_current", "")
        .set("email_change_token_new", "")
        .set("phone_change_token", "")
        .set("reauthentication_token", "")
        .set("email_change_sent_at", none)
        .set(
            "raw_user_meta_data",
            SqlJson(Value::Object(serde_json::Map::new())),
        )
        .set(
            "raw_app_meta_data",
            SqlJson(Value::Object(serde_json::Map::new())),
        )
        .set("deleted_at", now)
        .save(session, user.id, now)
        .await?;
    for identity in &user.identities {
        let provider_id = hidden(&identity.provider_id);
        identities::hide(session, identity.identity_id, &provider_id, now).await?;
    }
    factors::delete_of_user(session, user.id).await?;
    one_time_tokens::clear_all(session, user.id).await?;
    sessions::end(session, user.id, End::All).await.map(drop)
}
