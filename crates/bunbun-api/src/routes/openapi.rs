//! `GET /api/openapi.json`: the description of every own endpoint.

use axum::Extension;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::openapi::{AnyoneRefusals, Rendered};

/// The OpenAPI 3.1 document
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "docs",
    responses((status = 200, description = "The document", body = Object), AnyoneRefusals),
)]
pub(crate) async fn get_openapi(
    Extension(Rendered(document)): Extension<Rendered>,
) -> ([(http::HeaderName, &'static str); 2], Bytes) {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, document)
}
