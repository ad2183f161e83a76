//! `GET /api/docs`: Swagger UI, out of this binary; pages fetch nothing from elsewhere.

use std::{io::Read as _, sync::Arc};

use axum::extract::{Extension, Path};
use axum::response::{IntoResponse, Response};
use bunbun_core::Code;
use bunbun_http::ApiError;
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, VARY},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::Config;

use crate::{
    openapi::{AnyoneRefusals, ThingRefusals},
    state::ApiState,
};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    // Relative, so that the page also works behind a project's prefix.
    let config = Config::from("../openapi.json")
        .try_it_out_enabled(true)
        .display_request_duration(true);
    OpenApiRouter::new()
        .routes(routes!(get_docs))
        .routes(routes!(get_docs_index))
        .routes(routes!(get_docs_file))
        .layer(Extension(Arc::new(config)))
}

/// The documentation
#[utoipa::path(
    get, path = "/api/docs", tag = "docs",
    responses((status = 308, description = "To `/api/docs/`"), AnyoneRefusals),
)]
async fn get_docs() -> impl IntoResponse {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "docs/")])
}

/// The documentation's page
#[utoipa::path(
    get, path = "/api/docs/", tag = "docs",
    responses((status = 200, description = "Swagger UI", body = String, content_type = "text/html"), AnyoneRefusals),
)]
async fn get_docs_index(
    Extension(config): Extension<Arc<Config<'static>>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    file("index.html", config, &headers)
}

/// A file of the documentation's page
#[utoipa::path(
    get, path = "/api/docs/{*file}", tag = "docs",
    params(("file" = String, Path, description = "The file's name")),
    responses(
        (status = 200, description = "Style, script or image", body = String, content_type = "*/*"),
        ThingRefusals,
        AnyoneRefusals,
    ),
)]
async fn get_docs_file(
    Extension(config): Extension<Arc<Config<'static>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    file(&name, config, &headers)
}

fn file(
    name: &str,
    config: Arc<Config<'static>>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::new(Code::RouteNotFound, "The documentation has no such file.");
    let file = utoipa_swagger_ui::serve(name, config)
        .map_err(|error| ApiError::new(Code::Internal, "").with_cause(error.to_string()))?
        .ok_or_else(missing)?;
    let accepts_gzip = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("gzip"));
    let mut response = Response::builder()
        .header(CONTENT_TYPE, file.content_type)
        .header(CACHE_CONTROL, "no-cache")
        .header(VARY, "accept-encoding");
    let body = if !file.gzpipped {
        file.bytes.into_owned()
    } else if accepts_gzip {
        response = response.header(CONTENT_ENCODING, "gzip");
        file.bytes.into_owned()
    } else {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(file.bytes.as_ref())
            .read_to_end(&mut plain)
            .map_err(|error| ApiError::new(Code::Internal, "").with_cause(error))?;
        plain
    };
    response
        .body(body.into())
        .map_err(|error| ApiError::new(Code::Internal, "").with_cause(error))
}
