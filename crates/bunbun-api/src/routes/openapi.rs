//! `GET /api/openapi.json`: the description of every own endpoint.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::{openapi::AnyoneRefusals, state::ApiState};

/// The OpenAPI 3.1 document
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "docs",
    responses((status = 200, description = "The document", body = Object), AnyoneRefusals),
)]
pub(crate) async fn get_openapi(
    State(state): State<Arc<ApiState>>,
) -> ([(http::HeaderName, &'static str); 2], Bytes) {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, state.document.get().cloned().unwrap_or_default())
}
