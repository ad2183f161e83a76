//! `GET /api/storage/download/{bucket}/{path}`: an object's content.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bunbun_core::Code;
use bunbun_http::{ApiError, access::UserOrService};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED,
    },
};
use utoipa::ToSchema;

use super::ObjectPath;
use crate::{
    clients::{OnBehalf, storage::is_download},
    openapi::{DownloadRefusals, ServiceRefusals, ThingRefusals, UserRefusals},
    state::ApiState,
};

/// What goes on of the service's answer.
const PASSED_ON: [HeaderName; 10] = [
    ACCEPT_RANGES,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
];

/// An object's content, of its own media type.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "stands for a streamed body in the document")]
struct ObjectContent(Vec<u8>);

/// Download an object
///
/// Streamed. `Range` and the conditional headers (`If-None-Match`, `If-Modified-Since`, `If-Range`,
/// …) count.
#[utoipa::path(
    get, path = "/api/storage/download/{bucket}/{*path}", tag = "storage",
    params(ObjectPath),
    security(("user" = []), ("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The content", body = ObjectContent, content_type = "*/*",
         headers(("ETag" = String, description = "Names this content"))),
        (status = 206, description = "A range of the content", body = ObjectContent, content_type = "*/*"),
        (status = 304, description = "The content is what the conditions name"),
        DownloadRefusals, ThingRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn download_object(
    State(state): State<Arc<ApiState>>,
    _caller: UserOrService,
    behalf: OnBehalf,
    object: ObjectPath,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let storage = state.storage(&behalf);
    let answer = storage.download(&method, object.place(), &headers).await?;
    let (parts, body) = answer.into_parts();
    if !is_download(parts.status) {
        return Err(ApiError::new(Code::UpstreamError, "").with_cause(parts.status.to_string()));
    }
    let mut passed = HeaderMap::new();
    for name in PASSED_ON {
        if let Some(value) = parts.headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    // Whoever uploaded it must not have a page of theirs act under our origin.
    passed.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    Ok((parts.status, passed, axum::body::Body::new(body)).into_response())
}
