//! `POST /api/auth/admin/users`: the project's users, for its owner.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_core::Code;
use bunbun_http::{ApiError, access::ServiceRole, extract::Json as Body};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    clients::{
        OnBehalf,
        auth::{Client, User},
    },
    openapi::{BodyRefusals, ConflictRefusals, OwnerRefusals, ServiceRefusals, ThingRefusals},
    state::ApiState,
};

/// Users on one page, unless the caller says otherwise.
const DEFAULT_PER_PAGE: u32 = 50;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsersAction {
    /// A page of all users: `page`, `per_page`.
    List,
    /// One user: `data.id`.
    Get,
    /// A new user: `data` without `id`.
    Create,
    /// Changes to a user: `data` with `id`.
    Update,
    /// The end of a user: `data.id`, `data.should_soft_delete`.
    Delete,
}

/// An action on users.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "action": "create",
    "data": { "email": "ada@example.com", "password": "correct horse battery", "email_confirm": true },
}))]
pub(crate) struct RunUsersAction {
    /// What to do.
    #[garde(skip)]
    action: UsersAction,
    /// With which user.
    #[garde(dive)]
    #[serde(default)]
    data: UserData,
    /// Which page, from 1; 1 when absent.
    #[garde(range(min = 1))]
    #[serde(default)]
    #[schema(minimum = 1)]
    page: Option<u32>,
    /// Most users of a page; 50 when absent.
    #[garde(range(min = 1, max = 1000))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    per_page: Option<u32>,
}

/// A user, as far as an action needs or changes it.
#[derive(Default, Deserialize, Serialize, Validate, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UserData {
    /// Which user.
    #[garde(skip)]
    #[serde(skip_serializing)]
    id: Option<Uuid>,
    /// Its address.
    #[garde(length(bytes, min = 3, max = 255), contains("@"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 3, max_length = 255)]
    email: Option<String>,
    /// Its telephone number.
    #[garde(length(bytes, min = 1, max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 32)]
    phone: Option<String>,
    /// Its password.
    #[garde(length(bytes, min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 1024)]
    password: Option<String>,
    /// Whether its address counts as confirmed.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    email_confirm: Option<bool>,
    /// Whether its number counts as confirmed.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_confirm: Option<bool>,
    /// The database role of its tokens.
    #[garde(length(bytes, min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 63)]
    role: Option<String>,
    /// How long it is banned from now on, as `24h`; `none` ends a ban.
    #[garde(length(bytes, min = 1, max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 32)]
    ban_duration: Option<String>,
    /// What only the owner may change.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    app_metadata: Option<Map<String, Value>>,
    /// What the user itself may change.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    user_metadata: Option<Map<String, Value>>,
    /// Whether a deletion keeps a row without what names the person.
    #[garde(skip)]
    #[serde(skip_serializing)]
    should_soft_delete: bool,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum UsersAnswer {
    /// The answer to `list`.
    Users {
        /// The users of the page.
        users: Vec<User>,
        /// How many there are on all pages; null where the auth service does not say.
        #[schema(required = true)]
        total: Option<u64>,
    },
    /// The answer to every other action; a deleted user as it was.
    User {
        /// The user.
        user: Box<User>,
    },
}

/// List, get, create, update or delete users
#[utoipa::path(
    post, path = "/api/auth/admin/users", tag = "auth",
    request_body = RunUsersAction,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The users of a page, or the one user", body = UsersAnswer),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn run_users_action(
    State(state): State<Arc<ApiState>>,
    _caller: ServiceRole,
    behalf: OnBehalf,
    Body(body): Body<RunUsersAction>,
) -> Result<Json<UsersAnswer>, ApiError> {
    let auth = state.auth(&behalf);
    if body.action == UsersAction::List {
        let per_page = body.per_page.unwrap_or(DEFAULT_PER_PAGE);
        let page = auth.list_users(body.page.unwrap_or(1), per_page).await?;
        return Ok(Json(UsersAnswer::Users {
            users: page.users,
            total: page.total,
        }));
    }
    let user = Box::new(run_on_one(&auth, body.action, &body.data).await?);
    Ok(Json(UsersAnswer::User { user }))
}

async fn run_on_one(
    auth: &Client<'_>,
    action: UsersAction,
    data: &UserData,
) -> Result<User, ApiError> {
    if action == UsersAction::Create {
        return Ok(auth.create_user(data).await?);
    }
    let id = data.id.ok_or_else(missing_id)?;
    Ok(match action {
        UsersAction::Update => auth.update_user(id, data).await?,
        UsersAction::Delete => {
            let user = auth.get_user(id).await?;
            auth.delete_user(id, data.should_soft_delete).await?;
            user
        }
        _ => auth.get_user(id).await?,
    })
}

fn missing_id() -> ApiError {
    let message = "This action needs data.id, the user's id.";
    ApiError::new(Code::ValidationFailed, message).with_details(json!({
        "errors": [{ "pointer": "/data/id", "message": "is needed by this action" }],
    }))
}
