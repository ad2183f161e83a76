//! `/s3`: the S3 protocol, for `PATH-STYLE` clients at `{URL}/storage/v1/s3`.
//!
//! Requests are signed (SigV4, in headers, as a presigned URL, or as a form with a policy) with the
//! configured access key, which has the rights of `service_role`, or with a user's session:
//! the project's reference, the anon key, and the user's token as session token.

mod auth;
mod bucket;
mod chunked;
mod form;
mod list;
mod multipart;
mod object;
mod signature;
mod xml;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use bunbun_http::{RequestContext, RequestId};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;

use self::auth::Payload;
use crate::{
    error::{Code, Result, StorageError},
    names,
    request::{Call, Session},
};

/// Largest body of XML: ten thousand parts with checksums.
const MAX_XML_BYTES: usize = 8 * 1024 * 1024;

/// A verified request.
struct S3Request {
    session: Session,
    parts: Parts,
    query: Query,
    /// Behind a lock because a body cannot be shared, and a request is.
    body: Mutex<Body>,
    payload: Payload,
    bucket: String,
    key: String,
}

/// The parameters of a request, decoded.
#[derive(Debug, Clone, Default)]
struct Query(Vec<(String, String)>);

impl Query {
    /// `+` stays what it is: the protocol writes spaces as `%20`.
    pub(super) fn parse(query: Option<&str>) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self(
            query
                .unwrap_or_default()
                .split('&')
                .filter(|p| !p.is_empty())
                .map(pair)
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl S3Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// The body; afterwards there is none.
    pub(super) fn take_body(&self) -> Body {
        std::mem::take(&mut *self.body.lock())
    }

    /// The body as text, once its checksum is known to be right.
    pub(super) async fn text(&self) -> Result<String> {
        let bytes = axum::body::to_bytes(self.take_body(), MAX_XML_BYTES)
            .await
            .map_err(|error| {
                StorageError::new(
                    Code::InvalidRequest,
                    400,
                    "The body is too large or broke off",
                )
                .because(error)
            })?;
        self.payload.check_whole(&bytes)?;
        String::from_utf8(bytes.into()).map_err(|_| malformed_xml())
    }
}

pub(super) fn malformed_xml() -> StorageError {
    StorageError::new(
        Code::InvalidRequest,
        400,
        "The XML you provided was not well-formed",
    )
}

/// Every request of the protocol.
pub(super) async fn handle(call: Call, request: Request) -> Response {
    let request_id = request
        .extensions()
        .get::<RequestContext>()
        .map_or_else(RequestId::generate, |context| context.request_id.clone());
    let method = request.method().clone();
    let path = request.uri().path();
    let resource = path.strip_prefix("/s3").unwrap_or(path).to_owned();
    let mut response = match dispatch(call, request).await {
        Ok(response) => response,
        Err(error) => render(error, &method, &resource, &request_id),
    };
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("x-amz-request-id"),
        request_id.as_header().clone(),
    );
    response
}

fn render(
    error: StorageError,
    method: &Method,
    resource: &str,
    request_id: &RequestId,
) -> Response {
    let status = error.true_status();
    let mut response = if method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        status.into_response()
    } else {
        let mut body = xml::Writer::document("Error", None);
        body.text("Code", s3_code(&error));
        body.text("Message", error.message());
        body.text("Resource", resource);
        body.text("RequestId", request_id.as_str());
        xml_response(status, body.finish())
    };
    if error.status() == 503 {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    response.extensions_mut().insert(error);
    response
}

/// Codes that the protocol has other names for.
fn s3_code(error: &StorageError) -> &'static str {
    match error.code() {
        Code::ResourceNotEmpty => "BucketNotEmpty",
        Code::DatabaseConnectionLimit | Code::DatabaseReadOnly => "ServiceUnavailable",
        Code::NotSupported => "NotImplemented",
        code => code.as_str(),
    }
}

pub(super) fn xml_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// Bucket and key of a path, decoded.
fn names_of(path: &str) -> Result<(String, String)> {
    let path = path.strip_prefix("/s3").unwrap_or(path);
    let path = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let decode = |text: &str| {
        percent_decode_str(text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
    };
    let bucket = decode(bucket).map_err(|_| StorageError::invalid_bucket_name())?;
    let key = decode(key).map_err(|_| StorageError::invalid_key(""))?;
    Ok((bucket, key))
}

async fn dispatch(call: Call, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let (bucket, key) = names_of(parts.uri.path())?;
    if form::is_form(&parts) {
        return form::upload(call, &parts, body, &bucket).await;
    }
    let operation = operation(&parts.method, &query, &parts.headers, &bucket, &key);
    let (caller, payload) = auth::verify(&call, &parts, &query)?;
    let session = call.of(operation, caller).await?;
    if !bucket.is_empty() {
        names::bucket(&bucket)?;
    }
    if !key.is_empty() {
        names::key(&key)?;
    }
    let body = Mutex::new(body);
    let request = S3Request {
        session,
        parts,
        query,
        body,
        payload,
        bucket,
        key,
    };
    match (request.bucket.is_empty(), request.key.is_empty()) {
        (true, _) => bucket::service(request).await,
        (false, true) => bucket::handle(request).await,
        (false, false) => object::handle(request).await,
    }
}

/// What policies see as `storage.operation()`.
fn operation(
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
    bucket: &str,
    key: &str,
) -> &'static str {
    let upload = query.has("uploadId");
    match (method.as_str(), bucket.is_empty(), key.is_empty()) {
        (_, true, _) => "storage.s3.bucket.list",
        ("GET", _, true) if query.has("uploads") => "storage.s3.upload.list_multipart",
        ("GET", _, true) if query.has("location") => "storage.s3.bucket.get_location",
        ("GET", _, true) if query.has("versioning") => "storage.s3.bucket.get_versioning",
        ("GET", _, true) => "storage.s3.object.list",
        ("HEAD", _, true) => "storage.s3.bucket.head",
        ("PUT", _, true) => "storage.s3.bucket.create",
        ("DELETE", _, true) => "storage.s3.bucket.delete",
        ("POST", _, true) => "storage.s3.object.delete_many",
        ("GET", _, _) if upload => "storage.s3.upload.list_parts",
        ("GET", _, _) if query.has("tagging") => "storage.s3.object.get_tagging",
        ("GET", _, _) => "storage.s3.object.get",
        ("HEAD", _, _) => "storage.s3.object.info",
        ("PUT", _, _) if upload && headers.contains_key("x-amz-copy-source") => {
            "storage.s3.upload.part_copy"
        }
        ("PUT", _, _) if upload => "storage.s3.upload.part",
        ("PUT", _, _) if headers.contains_key("x-amz-copy-source") => "storage.s3.object.copy",
        ("PUT", _, _) => "storage.s3.upload",
        ("POST", _, _) if upload => "storage.s3.upload.complete_multipart",
        ("POST", _, _) => "storage.s3.upload.create_multipart",
        ("DELETE", _, _) if upload => "storage.s3.upload.abort_multipart",
        _ => "storage.s3.object.delete",
    }
}

/// A command that the protocol has and this service has not.
pub(super) fn not_implemented() -> StorageError {
    let message = "A header or query you provided requested a function that is not implemented";
    StorageError::new(Code::NotSupported, 501, message)
}
