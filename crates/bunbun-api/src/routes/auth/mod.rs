//! `/api/auth`: users and their sessions, whatever fills the slot of the auth service.

pub mod admin;
pub mod refresh;
pub mod signin;
pub mod signout;
pub mod signup;
pub mod user;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(signup::sign_up))
        .routes(routes!(signin::sign_in))
        .routes(routes!(signout::sign_out))
        .routes(routes!(user::get_user))
        .routes(routes!(refresh::refresh_session))
        .routes(routes!(admin::users::run_users_action))
}
