//! `GET /api/gateway/explain`: what the gateway would do with a request, or why it refused one.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::extract::State;
use bunbun_core::Code;
use bunbun_http::{
    ApiError, access::ServiceRole, explain::Explanation, extract::Query as Parameters,
};
use garde::Validate;
use http::Method;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    openapi::{OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// Either `path` (and `method`) or `request_id`.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// The method; `GET` when absent.
    #[garde(length(min = 1, max = 32))]
    #[param(example = "GET", min_length = 1, max_length = 32)]
    method: Option<String>,
    /// The path as a client would send it.
    #[garde(prefix("/"), length(min = 1, max = 8192))]
    #[param(example = "/rest/v1/todos", min_length = 1, max_length = 8192)]
    path: Option<String>,
    /// The `x-request-id` of a request that was refused.
    #[garde(length(min = 1, max = 64))]
    #[param(min_length = 1, max_length = 64)]
    request_id: Option<String>,
}

/// Explain a request
///
/// With `path`: which route, credential, policy and slot would serve such a request. With
/// `request_id`: why that request was refused; the last few thousand refusals are remembered.
#[utoipa::path(
    get, path = "/api/gateway/explain", tag = "gateway",
    params(ExplainQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The explanation", body = Explanation),
        ParameterRefusals, ThingRefusals, OwnerRefusals,
    ),
)]
pub(crate) async fn get_explanation(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Parameters(query): Parameters<ExplainQuery>,
) -> Result<axum::Json<Explanation>, ApiError> {
    let invalid = |message: String| ApiError::new(Code::InvalidRequest, message);
    let explain = &state.parts.explain;
    match (&query.path, &query.request_id) {
        (Some(path), None) => {
            let method = query.method.as_deref().unwrap_or("GET");
            let method = Method::from_bytes(method.as_bytes())
                .map_err(|_| invalid("'method' is no HTTP method.".to_owned()))?;
            explain
                .explain(&method, path, &context)
                .map(axum::Json)
                .map_err(invalid)
        }
        (None, Some(id)) => explain
            .refused(id, &context)
            .map(axum::Json)
            .ok_or_else(|| {
                let message = "No refused request with this id is remembered.";
                ApiError::new(Code::RouteNotFound, message)
            }),
        _ => Err(invalid("Send either 'path' or 'request_id'.".to_owned())),
    }
}
