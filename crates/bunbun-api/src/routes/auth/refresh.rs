//! `POST /api/auth/refresh`: the next tokens of a session.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, extract::Json as Body};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    clients::{OnBehalf, auth::Session},
    openapi::{AnyoneRefusals, BodyRefusals, ServiceRefusals, SignInRefusals},
    state::ApiState,
};

/// Which session.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshSession {
    /// The session's last refresh token.
    #[garde(length(bytes, min = 1, max = 4096))]
    #[schema(min_length = 1, max_length = 4096)]
    refresh_token: String,
}

/// The next tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefreshedSession {
    /// The session.
    session: Session,
}

/// Refresh a session
///
/// A refresh token is good once; the answer has the next one.
#[utoipa::path(
    post, path = "/api/auth/refresh", tag = "auth",
    request_body = RefreshSession,
    responses(
        (status = 200, description = "The session", body = RefreshedSession),
        BodyRefusals, SignInRefusals, AnyoneRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn refresh_session(
    State(state): State<Arc<ApiState>>,
    behalf: OnBehalf,
    Body(body): Body<RefreshSession>,
) -> Result<Json<RefreshedSession>, ApiError> {
    let session = state.auth(&behalf).refresh(&body.refresh_token).await?;
    Ok(Json(RefreshedSession { session }))
}
