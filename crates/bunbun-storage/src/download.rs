//! An object as an answer: headers, conditions, ranges, and its bytes.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    blobs::{Blob, BlobError},
    conditions::{self, Verdict},
    database::objects::{self, Object},
    error::{Result, StorageError},
    mime,
    range::{self, Wanted},
    request::Session,
    upload::blob_key,
};

/// How often an object that was replaced between its row and its bytes is looked up again.
const ATTEMPTS: usize = 4;

/// What `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// How an object is to be shown.
#[derive(Debug, Default)]
pub(crate) struct Show {
    /// The parameter `download`: `Some("")` without a name.
    pub(crate) download: Option<String>,
    /// When the URL ends, in seconds since the Unix epoch.
    pub(crate) expires_at: Option<i64>,
}

/// Whose rights decide about reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only public buckets, for everybody.
    Public,
    /// Public buckets for everybody, others by the caller's rights.
    Caller,
    /// Already proven.
    Proven,
}

/// An object's row, where it may be read.
pub(crate) async fn find(
    session: &Session,
    bucket: &str,
    name: &str,
    access: Access,
) -> Result<Object> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let found = objects::find_with_bucket(&transaction, bucket, name).await?;
    let (public, object) = found.ok_or_else(StorageError::no_such_bucket)?;
    match access {
        Access::Public if !public => return Err(StorageError::no_such_bucket()),
        Access::Caller if !public && !session.authenticated => {
            return Err(StorageError::no_such_bucket());
        }
        Access::Caller if !public && !session.caller.is_service() => {}
        _ => return object.ok_or_else(StorageError::no_such_key),
    }
    drop(transaction);
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    objects::get(&transaction, bucket, name).await
}

/// An object's bytes; where they were replaced since the row was read, those that are there now.
pub(crate) async fn open(session: &Session, mut object: Object) -> Result<(Object, Blob)> {
    let blobs = &session.service.0.blobs;
    for _ in 0..ATTEMPTS {
        match blobs.read(&blob_key(session, &object)).await {
            Ok(blob) => return Ok((object, blob)),
            Err(BlobError::NotFound) => {
                let now = find(session, &object.bucket_id, &object.name, Access::Proven).await?;
                if now.version == object.version {
                    break;
                }
                object = now;
            }
            Err(error) => return Err(error.into()),
        }
    }
    // It is replaced faster than it is looked up: while we hold its name nobody else writes it.
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let locked = objects::lock(&transaction, &object.bucket_id, &object.name).await?;
    let object = locked.ok_or_else(StorageError::no_such_key)?;
    match blobs.read(&blob_key(session, &object)).await {
        Ok(blob) => return Ok((object, blob)),
        Err(BlobError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    tracing::error!(
        bucket = object.bucket_id,
        version = object.version,
        "a row has no bytes"
    );
    Err(StorageError::no_such_key())
}

/// The answer to a GET or HEAD.
pub(crate) async fn respond(
    session: &Session,
    object: Object,
    method: &Method,
    headers: &HeaderMap,
    show: &Show,
) -> Result<Response> {
    match conditions::judge(headers, &object.etag(), object.modified) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            describe(response.headers_mut(), &object, show);
            response.headers_mut().remove(header::CONTENT_TYPE);
            return Ok(response);
        }
        Verdict::Failed => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
            return Ok(response);
        }
    }
    if let (&Method::HEAD, Some(size)) = (method, object.size()) {
        let wanted = wanted(headers, &object, size);
        let mut response = Response::new(Body::empty());
        let Ok(length) = frame(&mut response, &wanted, size) else {
            return Ok(response);
        };
        describe(response.headers_mut(), &object, show);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
        return Ok(response);
    }
    let (object, blob) = open(session, object).await?;
    let size = blob.size;
    let wanted = wanted(headers, &object, size);
    let mut response = Response::new(Body::empty());
    let Ok(length) = frame(&mut response, &wanted, size) else {
        return Ok(response);
    };
    describe(response.headers_mut(), &object, show);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length.into());
    if method != Method::HEAD {
        let range = match wanted {
            Wanted::Whole => 0..size,
            Wanted::Part(range) => range,
            Wanted::Unsatisfiable => 0..0,
        };
        *response.body_mut() = Body::new(blob.body(range));
    }
    Ok(response)
}

fn wanted(headers: &HeaderMap, object: &Object, size: u64) -> Wanted {
    if !conditions::range_applies(headers, &object.etag(), object.modified) {
        return Wanted::Whole;
    }
    range::parse(
        headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok()),
        size,
    )
}

/// Status and `Content-Range`; the length of what follows, or the refusal as the response.
fn frame(response: &mut Response, wanted: &Wanted, size: u64) -> Result<u64, ()> {
    match wanted {
        Wanted::Whole => Ok(size),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(response.headers_mut(), header::CONTENT_RANGE, &text);
            Ok(range.end - range.start)
        }
        Wanted::Unsatisfiable => {
            *response = StorageError::invalid_range().into_response();
            insert(
                response.headers_mut(),
                header::CONTENT_RANGE,
                &format!("bytes */{size}"),
            );
            Err(())
        }
    }
}

/// The headers that tell of an object.
pub(crate) fn describe(headers: &mut HeaderMap, object: &Object, show: &Show) {
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    // What a page in this origin could do with the dashboard's credentials must not run.
    const SANDBOX: HeaderValue =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    let mimetype = object.mimetype();
    insert(headers, header::CONTENT_TYPE, mime::shown(mimetype));
    insert(headers, header::ETAG, &object.etag());
    insert(
        headers,
        header::LAST_MODIFIED,
        &conditions::http_date(object.modified),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if mime::may_run(mimetype) {
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    match show
        .expires_at
        .and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok())
    {
        Some(at) => insert(headers, header::EXPIRES, &conditions::http_date(at)),
        None => insert(headers, header::CACHE_CONTROL, object.cache_control()),
    }
    disposition(headers, show);
}

/// `Content-Disposition`, where a download was asked for.
pub(crate) fn disposition(headers: &mut HeaderMap, show: &Show) {
    match show.download.as_deref() {
        None => {}
        Some("") => insert(headers, header::CONTENT_DISPOSITION, "attachment;"),
        Some(name) => {
            let name = utf8_percent_encode(name, COMPONENT).to_string();
            let text = format!("attachment; filename={name}; filename*=UTF-8''{name};");
            insert(headers, header::CONTENT_DISPOSITION, &text);
        }
    }
}

/// Sets a header; a value that no header can carry is left out.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}
