//! `/admin/users`.

mod create;
mod delete;
mod factors;
mod sessions;
mod update;

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bunbun_postgres::Session;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Page;
use crate::{
    error::{AuthError, Code, Result},
    request::{Admin, Origin},
    service::{self, AuthService},
    store::{
        Object,
        users::{self, User},
    },
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route("/admin/users", get(list_users).post(create::create_user))
        .route(
            "/admin/users/{user_id}",
            get(get_user)
                .put(update::update_user)
                .delete(delete::delete_user),
        )
        .merge(factors::router())
        .merge(sessions::router())
}

/// What an administrator says about a user.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct UserRequest {
    id: Option<String>,
    aud: Option<String>,
    role: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    password_hash: Option<String>,
    email_confirm: Option<bool>,
    phone_confirm: Option<bool>,
    user_metadata: Option<Object>,
    app_metadata: Option<Object>,
    ban_duration: Option<String>,
}

/// Lists users, the latest first; `filter` looks into addresses, names and ids.
async fn list_users(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
) -> Result<Response> {
    let service = &*service.0;
    let page = Page::read(&origin)?;
    let ascending = match origin.query("sort") {
        "" | "created_at desc" => false,
        "created_at asc" | "created_at" => true,
        _ => return Err(AuthError::invalid("Bad Sort Parameters: only created_at")),
    };
    let filter = origin.query("filter");
    if filter.len() > 255 {
        return Err(AuthError::invalid("The filter is longer than 255 bytes"));
    }
    let aud = origin.audience();
    let database = service.database(origin.project()).await?;
    let client = database.client().await?;
    let (found, total) =
        users::list(&client, aud, filter, ascending, page.page, page.per_page).await?;
    let headers = page.headers(&origin, "/admin/users", total);
    let body = service::json(&json!({ "users": found, "aud": aud }))?;
    Ok((headers, body).into_response())
}

/// Shows a user.
async fn get_user(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
    Path(user_id): Path<String>,
) -> Result<Response> {
    let database = service.0.database(origin.project()).await?;
    let client = database.client().await?;
    service::json(&find(&client, &user_id).await?)
}

/// The user of a path.
///
/// # Errors
/// 404 `user_not_found`.
async fn find(session: &Session, user_id: &str) -> Result<User> {
    let id: Uuid = user_id
        .parse()
        .map_err(|_| AuthError::not_found(Code::ValidationFailed, "user_id must be an UUID"))?;
    users::find(session, id)
        .await?
        .ok_or_else(|| AuthError::not_found(Code::UserNotFound, "User not found"))
}

/// What the audit log says of the user whom an administrator touched.
fn traits(user: &User) -> Option<Value> {
    Some(json!({
        "user_id": user.id, "user_email": user.email(), "user_phone": user.phone(),
    }))
}

/// A ban in seconds as Go writes durations: `24h`, `1h30m`, `100ms`; `none` lifts it.
fn ban_seconds(text: &str) -> Result<Option<f64>> {
    if text.is_empty() {
        return Ok(None);
    }
    if text == "none" {
        return Ok(Some(0.0));
    }
    let invalid = || {
        AuthError::invalid("invalid format for ban duration: write for example 24h, 1h30m or none")
    };
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return Err(invalid()),
        };
        seconds += number * factor;
        rest = &rest[unit..];
    }
    // A thousand years are forever, and still a date.
    if seconds > 1_000.0 * 365.0 * 86_400.0 {
        return Err(invalid());
    }
    Ok(Some(seconds))
}

#[cfg(test)]
mod tests {
    use super::ban_seconds;

    #[test]
    fn bans_are_written_as_durations_of_go() {
        assert_eq!(ban_seconds("").unwrap(), None);
        assert_eq!(ban_seconds("none").unwrap(), Some(0.0));
        assert_eq!(ban_seconds("1h30m").unwrap(), Some(5_400.0));
        assert_eq!(ban_seconds("876000h").unwrap(), Some(876_000.0 * 3_600.0));
        assert_eq!(ban_seconds("1.5s").unwrap(), Some(1.5));
        for bad in [
            "24",
            "h",
            "-1h",
            "1d",
            "1h x",
            "9e9h",
            "99999999999999h",
            "1..5h",
        ] {
            assert!(ban_seconds(bad).is_err(), "{bad}");
        }
    }
}
