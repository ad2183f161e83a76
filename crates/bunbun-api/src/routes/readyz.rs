//! `GET /readyz`: whether to send requests here, for load balancers and orchestrators.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use bunbun_core::{Code, id::ProjectRef};
use bunbun_databases::postgres::health;
use bunbun_http::ApiError;

use crate::{openapi::AnyoneRefusals, state::ApiState};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether to send requests here
///
/// Ready means that PostgreSQL answers and the process is not about to stop. PostgreSQL is asked
/// at most once per second.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain", example = json!("ready")),
        (status = 503, description = "Not ready", body = crate::openapi::ErrorEnvelope),
        AnyoneRefusals,
    ),
)]
pub(crate) async fn get_readyz(
    State(state): State<Arc<ApiState>>,
) -> Result<&'static str, ApiError> {
    if state.parts.shutdown.has_begun() {
        let message = "Draining: this process is about to stop.";
        return Err(ApiError::new(Code::ServiceUnavailable, message));
    }
    if *state.postgres_answers.get(postgres_answers(&state)).await {
        Ok("ready")
    } else {
        let message = "PostgreSQL does not answer.";
        Err(ApiError::new(Code::DatabaseUnavailable, message))
    }
}

async fn postgres_answers(state: &ApiState) -> bool {
    let Ok(pool) = state.parts.databases.pool(&ProjectRef::default_project()) else {
        return false;
    };
    health::check(&pool, PROBE_TIMEOUT).await.is_ok()
}
