//! `GET /metrics`: Prometheus.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use bunbun_http::{ApiError, access::ServiceRole};
use http::{header::CONTENT_TYPE, request::Parts};

use crate::{openapi::OwnerRefusals, state::ApiState};

/// Whoever may read the metrics: the owner, or anyone where the configuration says so.
pub(crate) struct MetricsReader;

impl FromRequestParts<Arc<ApiState>> for MetricsReader {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<ApiState>,
    ) -> Result<Self, ApiError> {
        if !state.parts.metrics_open {
            ServiceRole::from_request_parts(parts, state).await?;
        }
        Ok(Self)
    }
}

/// Metrics in Prometheus' text format
///
/// Needs no key where `METRICS_OPEN` is set.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "text/plain; version=0.0.4"),
        OwnerRefusals,
    ),
)]
pub(crate) async fn get_metrics(
    State(state): State<Arc<ApiState>>,
    _reader: MetricsReader,
) -> ([(http::HeaderName, &'static str); 1], String) {
    let format = "text/plain; version=0.0.4";
    ([(CONTENT_TYPE, format)], state.parts.metrics.render())
}
