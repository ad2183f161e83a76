//! `GET /api/auth/user`: who the caller is.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, access};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clients::{OnBehalf, auth::User},
    openapi::{ServiceRefusals, ThingRefusals, UserRefusals},
    state::ApiState,
};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserAnswer {
    /// The user.
    user: User,
}

/// The caller
///
/// As the auth service knows it now; a token whose session has ended is refused.
#[utoipa::path(
    get, path = "/api/auth/user", tag = "auth",
    security(("user" = [])),
    responses(
        (status = 200, description = "The user", body = UserAnswer),
        ThingRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn get_user(
    State(state): State<Arc<ApiState>>,
    _caller: access::User,
    behalf: OnBehalf,
) -> Result<Json<UserAnswer>, ApiError> {
    let user = state.auth(&behalf).user().await?;
    Ok(Json(UserAnswer { user }))
}
