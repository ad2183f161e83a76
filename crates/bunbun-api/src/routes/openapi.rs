//! `GET /api/openapi.json`: the description of every own endpoint.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::{
    openapi::{self, AnyoneRefusals},
    state::ApiState,
};

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
    // Kept once someone wants it: most processes are never asked, and it is large.
    let document = state
        .document
        .get_or_init(|| openapi::pretty(&crate::document()).into());
    (headers, document.clone())
}
