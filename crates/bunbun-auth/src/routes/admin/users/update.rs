//! `PUT /admin/users/{user_id}`.

use axum::{
    extract::{Path, State},
    response::Response,
};
use bunbun_postgres::{Session, types::Json as SqlJson};
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    UserRequest, ban_seconds,
    create::{bounded, conflict},
    find, traits,
};
use crate::{
    accounts::{self, check_metadata, merge},
    email_address,
    error::{AuthError, Result},
    password::Hash,
    request::{Admin, Json, Origin, text},
    service::{self, AuthService},
    store::{
        audit::Action,
        identities,
        users::{Changes, User},
    },
};

/// Changes a user; nothing needs to be confirmed.
pub(super) async fn update_user(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Path(user_id): Path<String>,
    Json(body): Json<UserRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let wanted = Wanted::read(&body)?;
    let hash = match (text(&body.password), text(&body.password_hash)) {
        ("", "") => None,
        ("", hash) => Some(
            Hash::parse(hash)
                .ok_or_else(|| AuthError::invalid("password_hash is of an unknown form"))?,
        ),
        (password, _) => {
            service.password_rules.check(password)?;
            Some(service.passwords.hash(password).await?)
        }
    };
    let now = service.now();
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = find(&transaction, &user_id).await?;
    if let Some(hash) = hash {
        accounts::set_password(&transaction, user.id, hash.as_str(), None, now).await?;
    }
    apply(&transaction, &user, &body, &wanted, now).await?;
    let (actor, traits) = (admin.actor(), traits(&user));
    service
        .audit(&transaction, &origin, &actor, Action::UserModified, traits)
        .await?;
    let user = find(&transaction, &user_id).await?;
    transaction.commit().await?;
    service::json(&user)
}

/// What is to change, its form checked.
struct Wanted {
    email: Option<String>,
    phone: Option<String>,
    role: Option<String>,
    ban_s: Option<f64>,
}

impl Wanted {
    fn read(body: &UserRequest) -> Result<Self> {
        Ok(Self {
            email: match text(&body.email) {
                "" => None,
                email => Some(email_address::validate(email)?),
            },
            phone: match text(&body.phone) {
                "" => None,
                phone => Some(email_address::validate_phone(phone)?),
            },
            role: match text(&body.role) {
                "" => None,
                role => Some(bounded(role, "")?),
            },
            ban_s: ban_seconds(text(&body.ban_duration))?,
        })
    }
}

async fn apply(
    session: &Session,
    user: &User,
    body: &UserRequest,
    wanted: &Wanted,
    now: OffsetDateTime,
) -> Result<()> {
    let is_confirmed = body.email_confirm == Some(true);
    let mut changes = Changes::default();
    if let Some(role) = &wanted.role {
        changes = changes.set("role", role.as_str());
    }
    if let Some(email) = &wanted.email {
        changes = changes.set("email", email.as_str());
        if is_confirmed && user.is_anonymous {
            changes = changes.set("is_anonymous", false);
        }
    }
    if let Some(phone) = &wanted.phone {
        changes = changes.set("phone", phone.as_str());
    }
    if body.phone_confirm == Some(true) {
        changes = changes.set("phone_confirmed_at", user.phone_confirmed_at.unwrap_or(now));
    }
    if let Some(seconds) = wanted.ban_s {
        let until = (seconds > 0.0).then(|| now + time::Duration::seconds_f64(seconds));
        changes = changes.set("banned_until", until);
    }
    let mut app = user.app_metadata.clone();
    let mut own = user.user_metadata.clone();
    if let Some(data) = &body.app_metadata {
        merge(&mut app, data);
    }
    if let Some(data) = &body.user_metadata {
        merge(&mut own, data);
    }
    if body.app_metadata.is_some() || body.user_metadata.is_some() {
        check_metadata(&app, &own)?;
        changes = changes
            .set("raw_app_meta_data", SqlJson(Value::Object(app)))
            .set("raw_user_meta_data", SqlJson(Value::Object(own)));
    }
    let saved = changes.save(session, user.id, now).await;
    saved.map_err(|error| conflict(error.into()))?;
    if let Some(email) = &wanted.email {
        if email != user.email() {
            accounts::forget_mails(session, user.id, now).await?;
        }
        identities::upsert_email(session, user.id, email, is_confirmed, now).await?;
    }
    if let Some(phone) = &wanted.phone {
        let is_confirmed = body.phone_confirm == Some(true);
        identities::upsert_phone(session, user.id, phone, is_confirmed, now).await?;
    }
    if is_confirmed {
        let current = find(session, &user.id.to_string()).await?;
        accounts::confirm_email(session, &current, now).await?;
    }
    Ok(())
}
