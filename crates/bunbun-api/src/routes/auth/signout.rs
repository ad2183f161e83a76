//! `POST /api/auth/signout`: the end of sessions.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, access::User, extract::Query as Parameters};
use garde::Validate;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    clients::{OnBehalf, auth::SignOutScope},
    openapi::{ParameterRefusals, ServiceRefusals, UserRefusals},
    routes::Success,
    state::ApiState,
};

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SignOutQuery {
    /// Which of the user's sessions end; all of them when absent.
    #[garde(skip)]
    #[serde(default)]
    #[param(inline, required = false)]
    scope: SignOutScope,
}

/// Sign out
///
/// Ends sessions, so that their refresh tokens are of no use. Access tokens are good until they
/// expire, except at the auth service.
#[utoipa::path(
    post, path = "/api/auth/signout", tag = "auth",
    params(SignOutQuery),
    security(("user" = [])),
    responses(
        (status = 200, description = "They have ended", body = Success),
        ParameterRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn sign_out(
    State(state): State<Arc<ApiState>>,
    _caller: User,
    behalf: OnBehalf,
    Parameters(query): Parameters<SignOutQuery>,
) -> Result<Json<Success>, ApiError> {
    state.auth(&behalf).sign_out(query.scope).await?;
    Ok(Json(Success::new()))
}
