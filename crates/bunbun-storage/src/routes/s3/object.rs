//! The S3 protocol on objects: get, head, put, copy, delete.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{
    S3Request,
    auth::Content,
    empty, multipart, not_implemented,
    xml::{NAMESPACE, Writer},
    xml_response,
};
use crate::{
    conditions::{self, Verdict},
    database::objects::{self, Object},
    download::{self, Show},
    error::{Code, Result, StorageError},
    mime, names,
    request::Session,
    routes::object::{
        copy::{Copy, CopyMetadata, perform},
        remove,
    },
    upload::{self, Upload},
};

/// Headers of an answer that a presigned URL may set.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", header::CONTENT_TYPE),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-expires", header::EXPIRES),
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
];

/// `/s3/{bucket}/{key}`.
pub(super) async fn handle(request: S3Request) -> Result<Response> {
    let upload = request.query.has("uploadId");
    let copies = request.parts.headers.contains_key("x-amz-copy-source");
    for unknown in [
        "acl",
        "retention",
        "legal-hold",
        "torrent",
        "select",
        "restore",
        "attributes",
    ] {
        if request.query.has(unknown) {
            return Err(not_implemented());
        }
    }
    match request.parts.method {
        Method::GET if upload => multipart::list_parts(request).await,
        Method::GET if request.query.has("tagging") => tagging(request).await,
        Method::GET | Method::HEAD => get(request).await,
        Method::PUT if request.query.has("tagging") => Err(not_implemented()),
        Method::PUT if upload && copies => multipart::copy_part(request).await,
        Method::PUT if upload => multipart::put_part(request).await,
        Method::PUT if copies => copy(request).await,
        Method::PUT => put(request).await,
        Method::POST if upload => multipart::complete(request).await,
        Method::POST if request.query.has("uploads") => multipart::create(request).await,
        Method::DELETE if upload => multipart::abort(request).await,
        Method::DELETE => delete(request).await,
        _ => Err(not_implemented()),
    }
}

/// An object that the caller may read.
pub(super) async fn find(session: &Session, bucket: &str, key: &str) -> Result<Object> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    crate::database::buckets::get(&transaction, bucket).await?;
    drop(transaction);
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    objects::get(&transaction, bucket, key).await
}

async fn get(request: S3Request) -> Result<Response> {
    let S3Request {
        session,
        parts,
        query,
        bucket,
        key,
        ..
    } = request;
    let object = find(&session, &bucket, &key).await?;
    let metadata = user_metadata_headers(&object);
    let mimetype = object.mimetype().to_owned();
    let mut response = download::respond(
        &session,
        object,
        &parts.method,
        &parts.headers,
        &Show::default(),
    )
    .await?;
    let status = response.status();
    match status {
        StatusCode::PRECONDITION_FAILED => return Err(StorageError::precondition_failed()),
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(StorageError::invalid_range()),
        _ => {}
    }
    let headers = response.headers_mut();
    // The type as it is: what a browser makes of it runs in a sandbox.
    if status.is_success() {
        download::insert(headers, header::CONTENT_TYPE, &mimetype);
    }
    headers.extend(metadata);
    for (parameter, name) in OVERRIDES {
        if let Some(value) = query.get(parameter).filter(|_| status.is_success()) {
            download::insert(headers, name, value);
        }
    }
    if headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(mime::may_run)
    {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        );
    }
    Ok(response)
}

/// What `If-None-Match` of a write says: whether it may replace an object.
pub(super) fn may_replace(request: &S3Request) -> Result<bool> {
    match request.header("if-none-match") {
        None => Ok(true),
        Some("*") => Ok(false),
        Some(_) => Err(not_implemented()),
    }
}

/// That something is there is what a write without replacing had as its condition.
pub(super) fn exists(error: StorageError) -> StorageError {
    match error.code() {
        Code::KeyAlreadyExists => StorageError::precondition_failed(),
        _ => error,
    }
}

/// `x-amz-meta-*` of an object.
fn user_metadata_headers(object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in object.user_metadata().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let name = HeaderName::try_from(format!("x-amz-meta-{}", name.to_ascii_lowercase()));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(text)) {
            headers.append(name, value);
        }
    }
    headers
}

/// `x-amz-meta-*` of a request.
pub(super) fn user_metadata(headers: &HeaderMap) -> Option<Value> {
    let mut map = Map::new();
    for (name, value) in headers {
        if let (Some(name), Ok(value)) = (name.as_str().strip_prefix("x-amz-meta-"), value.to_str())
        {
            map.insert(name.to_owned(), Value::from(value));
        }
    }
    (!map.is_empty()).then_some(Value::Object(map))
}

async fn tagging(request: S3Request) -> Result<Response> {
    find(&request.session, &request.bucket, &request.key).await?;
    let mut body = Writer::document("Tagging", Some(NAMESPACE));
    body.open("TagSet");
    Ok(xml_response(StatusCode::OK, body.finish()))
}

/// What a request to put says of the object.
pub(super) fn upload_of(request: &S3Request, upsert: bool) -> Upload {
    Upload {
        bucket: request.bucket.clone(),
        name: request.key.clone(),
        version: upload::new_version(),
        who: request.session.caller.clone(),
        owner: request.session.owner().map(str::to_owned),
        upsert,
        if_match: request.header("if-match").map(str::to_owned),
        mimetype: request
            .header("content-type")
            .unwrap_or(mime::OCTET_STREAM)
            .to_owned(),
        cache_control: request
            .header("cache-control")
            .unwrap_or("no-cache")
            .to_owned(),
        user_metadata: user_metadata(&request.parts.headers),
    }
}

async fn put(request: S3Request) -> Result<Response> {
    let session = request.session.clone();
    let content = Content::of(&request.parts.headers, request.payload.clone())?;
    let bucket = upload::bucket(&session, &request.bucket).await?;
    let upload = upload_of(&request, may_replace(&request)?);
    mime::check(&upload.mimetype, bucket.allowed_mime_types.as_deref())?;
    let limit = upload::limit(&session, &bucket);
    if content.declared.is_some_and(|size| size > limit) {
        return Err(StorageError::too_large());
    }
    if let Some(list) = &upload.if_match {
        // Looked at again when the content is there; said early for those who bring much of it.
        let known = find(&session, &request.bucket, &request.key).await?;
        conditions::check_match(list, &known.etag())?;
    }
    upload::prove(&session, &upload, content.declared)
        .await
        .map_err(exists)?;
    let writer = session
        .service
        .0
        .blobs
        .writer(&upload.key(&session), content.digests());
    let (body, trailers) = content.stream(request.take_body());
    let writer = upload::receive(writer, body, limit).await?;
    let (object, sums) = upload::complete_checked(&session, upload, writer, move |written| {
        content.check(written.size, &written.sums, &trailers)
    })
    .await
    .map_err(exists)?;
    let mut response = empty(StatusCode::OK);
    download::insert(response.headers_mut(), header::ETAG, &object.etag());
    for (algorithm, sum) in sums {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-checksum-{}", algorithm.s3_name())) {
            download::insert(response.headers_mut(), name, &sum);
        }
    }
    Ok(response)
}

/// Bucket and key of `x-amz-copy-source`.
pub(super) fn copy_source(request: &S3Request) -> Result<(String, String)> {
    let invalid = || StorageError::invalid_parameter("CopySource");
    let text = request.header("x-amz-copy-source").ok_or_else(invalid)?;
    let text = text
        .split_once("?versionId=")
        .map_or(text, |(path, _)| path);
    let text = percent_decode_str(text.trim_start_matches('/'))
        .decode_utf8()
        .map_err(|_| invalid())?;
    let (bucket, key) = text.split_once('/').ok_or_else(invalid)?;
    names::bucket(bucket)?;
    names::key(key)?;
    Ok((bucket.to_owned(), key.to_owned()))
}

/// `x-amz-copy-source-if-…`.
pub(super) fn check_source(request: &S3Request, source: &Object) -> Result<()> {
    let mut headers = HeaderMap::new();
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        if let Some(value) = request
            .parts
            .headers
            .get(format!("x-amz-copy-source-{name}"))
        {
            headers.insert(name, value.clone());
        }
    }
    match conditions::judge(&headers, &source.etag(), source.modified) {
        Verdict::Proceed => Ok(()),
        Verdict::NotModified | Verdict::Failed => Err(StorageError::precondition_failed()),
    }
}

async fn copy(request: S3Request) -> Result<Response> {
    let (from_bucket, from_key) = copy_source(&request)?;
    let session = &request.session;
    let source = find(session, &from_bucket, &from_key).await?;
    check_source(&request, &source)?;
    let replaces = request
        .header("x-amz-metadata-directive")
        .is_some_and(|d| d.eq_ignore_ascii_case("REPLACE"));
    let text = |name: &str| request.header(name).map(str::to_owned).filter(|_| replaces);
    let object = perform(
        session,
        Copy {
            from: (&from_bucket, &from_key),
            to: (&request.bucket, &request.key),
            metadata: CopyMetadata {
                cache_control: text("cache-control"),
                mimetype: text("content-type"),
            },
            copy_metadata: !replaces,
            user_metadata: user_metadata(&request.parts.headers).filter(|_| replaces),
            upsert: true,
        },
    )
    .await?;
    let mut body = Writer::document("CopyObjectResult", Some(NAMESPACE));
    body.text("ETag", &object.etag());
    body.optional("LastModified", object.updated_at.as_deref());
    Ok(xml_response(StatusCode::OK, body.finish()))
}

async fn delete(request: S3Request) -> Result<Response> {
    match remove::one(&request.session, &request.bucket, &request.key).await {
        // What is not there is deleted, as in S3.
        Err(error) if error.code() == Code::NoSuchKey => {}
        other => other?,
    }
    Ok(empty(StatusCode::NO_CONTENT))
}
