//! `/upload/resumable`: resumable uploads by TUS 1.0.0 (<https://tus.io/protocols/resumable-upload>)
//! with the extensions creation, creation-with-upload, creation-defer-length, termination,
//! expiration and checksum; and `/upload/resumable/sign`, where a signed upload URL's token in
//! `x-signature` takes the place of a credential. Statuses are the true ones.

mod headers;

use std::ops::Range;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::task;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode, header};

use self::headers::{Metadata, TUS_RESUMABLE, UPLOAD_LENGTH, UPLOAD_OFFSET, number};
use super::super::object::create;
use crate::{
    blobs::{Algorithm, Digests},
    database::{
        objects,
        uploads::{self, NewUpload, Terms, Upload},
    },
    error::{Code, Result, StorageError},
    identity::Identity,
    mime, names,
    parts::{self, Place},
    request::{Call, Session},
    service::StorageService,
    token::{Scope, SignedUrl},
    upload,
};

/// The type of a piece.
const OFFSET_STREAM: &str = "application/offset+octet-stream";

/// The paths below `/upload/resumable`.
pub(crate) fn router() -> Router<StorageService> {
    Router::new()
        .route("/", post(create_upload).options(options))
        .route("/{id}", any(with_upload))
        .route("/sign", post(create_signed_upload).options(options))
        .route("/sign/{id}", any(with_signed_upload))
}

/// What the server can do.
pub(crate) async fn options(call: Call) -> Response {
    let most = call.service().0.settings.file_size_limit;
    let mut response = StatusCode::NO_CONTENT.into_response();
    headers::abilities(response.headers_mut(), most);
    response
}

/// An error with its true status and its message as text.
fn render(result: Result<Response>) -> Response {
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            let mut response = (error.true_status(), error.message().to_owned()).into_response();
            if error.status() == 503 {
                response.headers_mut().insert(header::RETRY_AFTER, 1.into());
            }
            response.extensions_mut().insert(error);
            response
        }
    };
    for (name, value) in [
        (TUS_RESUMABLE, headers::VERSION),
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, headers::EXPOSED),
    ] {
        response
            .headers_mut()
            .insert(name, http::HeaderValue::from_static(value));
    }
    response
}

/// Announces an upload.
pub(crate) async fn create_upload(call: Call, request: Request) -> Response {
    render(create(call, request, false).await)
}

/// Announces an upload by a signed URL's token.
pub(crate) async fn create_signed_upload(call: Call, request: Request) -> Response {
    render(create(call, request, true).await)
}

async fn with_upload(call: Call, Path(id): Path<String>, request: Request) -> Response {
    render(act(call, &id, request, false).await)
}

async fn with_signed_upload(call: Call, Path(id): Path<String>, request: Request) -> Response {
    render(act(call, &id, request, true).await)
}

/// Who uploads, and on what terms.
struct Right {
    who: Identity,
    owner: Option<String>,
    upsert: bool,
}

/// The right to upload an object: the caller's own, or that of a signed URL.
async fn right(
    call: Call,
    operation: &'static str,
    headers: &HeaderMap,
    signed: bool,
    bucket: &str,
    name: &str,
) -> Result<(Session, Right)> {
    if !signed {
        let session = call.required(operation).await?;
        let right = Right {
            who: session.caller.clone(),
            owner: session.owner().map(str::to_owned),
            upsert: create::is_upsert(headers),
        };
        return Ok((session, right));
    }
    let session = call.without_credential(operation).await?;
    let token = headers
        .get("x-signature")
        .and_then(|value| value.to_str().ok());
    let missing = || StorageError::new(Code::InvalidSignature, 400, "Missing x-signature header");
    let secret = &session.service.0.settings.signing_secret;
    let token = token.ok_or_else(missing)?;
    let claims = SignedUrl::verify(token, secret, session.now(), Scope::Upload, bucket, name)?;
    let right = Right {
        who: Identity::service(),
        owner: claims.owner,
        upsert: claims.upsert.unwrap_or(false),
    };
    Ok((session, right))
}

async fn create(call: Call, request: Request, signed: bool) -> Result<Response> {
    let operation = if signed {
        "storage.tus.upload.create_signed"
    } else {
        "storage.tus.upload.create"
    };
    let (parts, body) = request.into_parts();
    headers::check_version(&parts.headers)?;
    let raw = parts
        .headers
        .get(headers::UPLOAD_METADATA)
        .and_then(|value| value.to_str().ok());
    let metadata = Metadata::parse(raw.unwrap_or_default());
    let (bucket_name, name) = (metadata.get("bucketName"), metadata.get("objectName"));
    let bucket_name = names::bucket(bucket_name.unwrap_or_default())?;
    let name = names::key(name.unwrap_or_default())?;
    let (session, right) =
        right(call, operation, &parts.headers, signed, bucket_name, name).await?;
    let bucket = upload::bucket(&session, bucket_name).await?;
    let length = headers::announced_length(&parts.headers)?;
    if length.is_some_and(|length| length > upload::limit(&session, &bucket)) {
        return Err(StorageError::new(
            Code::EntityTooLarge,
            413,
            "Maximum size exceeded",
        ));
    }
    let mimetype = metadata.get("contentType").unwrap_or(mime::OCTET_STREAM);
    mime::check(mimetype, bucket.allowed_mime_types.as_deref())?;
    let cache_control = create::cache_control_of(metadata.get("cacheControl").unwrap_or_default());
    let user_metadata = metadata
        .get("metadata")
        .and_then(|json| serde_json::from_str(json).ok());
    let new = upload::Upload {
        bucket: bucket_name.to_owned(),
        name: name.to_owned(),
        version: upload::new_version(),
        who: right.who,
        owner: right.owner,
        upsert: right.upsert,
        if_match: None,
        mimetype: mimetype.to_owned(),
        cache_control: cache_control.clone(),
        user_metadata,
    };
    upload::prove(&session, &new, length).await?;
    let expires_at = session
        .now()
        .saturating_add_unsigned(session.service.0.settings.resumable_ttl.as_secs());
    let terms = Terms {
        resumable: true,
        length,
        content_type: Some(mimetype.to_owned()),
        cache_control: Some(cache_control),
        upsert: right.upsert,
        raw_metadata: raw.map(str::to_owned),
        expires_at: Some(expires_at),
    };
    let upload = insert(&session, &new, &terms).await?;
    let id = BASE64_URL_SAFE_NO_PAD.encode(format!("{bucket_name}/{name}/{}", upload.id));
    let has_body = is_offset_stream(&parts.headers);
    let offset = if has_body || length == Some(0) {
        let body = if has_body { body } else { Body::empty() };
        append(&session, &new.who, upload, 0, &parts.headers, body).await?
    } else {
        0
    };
    let mut response = StatusCode::CREATED.into_response();
    let headers = response.headers_mut();
    headers::location(headers, &parts.headers, signed, &id);
    headers::expires(headers, Some(expires_at));
    headers.insert(UPLOAD_OFFSET, offset.into());
    Ok(response)
}

async fn insert(session: &Session, new: &upload::Upload, terms: &Terms) -> Result<Upload> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let row = NewUpload {
        id: &new.version,
        bucket: &new.bucket,
        key: &new.name,
        version: &new.version,
        owner: new.owner.as_deref(),
        terms,
        user_metadata: new.user_metadata.as_ref(),
    };
    uploads::insert(&transaction, &row).await?;
    let upload = uploads::get(&transaction, &new.version).await?;
    transaction.commit().await?;
    Ok(upload)
}

/// `HEAD`, `PATCH` and `DELETE` of an upload.
async fn act(call: Call, id: &str, request: Request, signed: bool) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let method = match parts
        .headers
        .get("x-http-method-override")
        .map(http::HeaderValue::as_bytes)
    {
        Some(b"PATCH") if parts.method == Method::POST => Method::PATCH,
        Some(b"DELETE") if parts.method == Method::POST => Method::DELETE,
        _ => parts.method.clone(),
    };
    if method == Method::OPTIONS {
        return Ok(options(call).await);
    }
    headers::check_version(&parts.headers)?;
    let (bucket, name, version) = read_id(id)?;
    let operation = match method {
        Method::HEAD => "storage.tus.upload.get",
        Method::PATCH | Method::PUT => "storage.tus.upload.part",
        Method::DELETE => "storage.tus.upload.delete",
        _ => return Err(StorageError::tus(405, "Method not allowed")),
    };
    let (session, right) = right(call, operation, &parts.headers, signed, &bucket, &name).await?;
    let upload = match parts::find(&session, &version).await {
        Err(error) if error.code() == Code::NoSuchUpload && method != Method::DELETE => {
            let place = (bucket, name, version);
            return finished(&session, right, &method, &parts.headers, place).await;
        }
        found => found?,
    };
    if !upload.terms.resumable || upload.bucket != bucket || upload.key != name {
        return Err(StorageError::no_such_upload());
    }
    if upload
        .terms
        .expires_at
        .is_some_and(|at| at <= session.now())
    {
        return Err(StorageError::tus(410, "The upload has expired"));
    }
    // Whoever knows an upload's id needs the right to upload the object all the same.
    let proof = upload::Upload {
        bucket,
        name,
        version: upload::new_version(),
        who: right.who.clone(),
        owner: right.owner,
        upsert: upload.terms.upsert,
        if_match: None,
        mimetype: upload.terms.content_type.clone().unwrap_or_default(),
        cache_control: String::new(),
        user_metadata: upload.user_metadata.clone(),
    };
    upload::prove(&session, &proof, upload.terms.length).await?;
    if method == Method::HEAD {
        return state(&session, &right.who, upload).await;
    }
    if method == Method::DELETE {
        parts::abandon(&session, &upload.id).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if !is_offset_stream(&parts.headers) {
        return Err(StorageError::tus(
            415,
            "Content-Type must be application/offset+octet-stream",
        ));
    }
    let offset = number(&parts.headers, &UPLOAD_OFFSET)?;
    let offset = offset.ok_or_else(|| StorageError::tus(400, "Upload-Offset is missing"))?;
    let upload = with_length(&session, upload, &parts.headers).await?;
    let expires_at = upload.terms.expires_at;
    let offset = append(&session, &right.who, upload, offset, &parts.headers, body).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(UPLOAD_OFFSET, offset.into());
    headers::expires(response.headers_mut(), expires_at);
    Ok(response)
}

/// What an upload that has become an object is asked: a client that lost the last answer has to
/// learn that nothing is left to send.
async fn finished(
    session: &Session,
    right: Right,
    method: &Method,
    headers: &HeaderMap,
    (bucket, name, upload): (String, String, String),
) -> Result<Response> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let object = objects::find(&transaction, &bucket, &name).await?;
    drop(transaction);
    drop(client);
    let object = object.filter(|object| {
        let version = object.version.as_deref().unwrap_or_default();
        upload::is_version_of(version, &upload)
    });
    let object = object.ok_or_else(StorageError::no_such_upload)?;
    let size = object.size().unwrap_or(0);
    let proof = upload::Upload {
        bucket,
        name,
        version: upload::new_version(),
        who: right.who,
        owner: right.owner,
        upsert: false,
        if_match: None,
        mimetype: object.mimetype().to_owned(),
        cache_control: String::new(),
        user_metadata: object.user_metadata.clone(),
    };
    match upload::prove(session, &proof, Some(size)).await {
        // It is there: whoever is told so would have the right.
        Err(error) if error.code() == Code::KeyAlreadyExists => {}
        other => other?,
    }
    let mut response = if method == Method::HEAD {
        StatusCode::OK.into_response()
    } else if number(headers, &UPLOAD_OFFSET)? == Some(size) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        return Err(StorageError::tus(409, "Upload-Offset conflict"));
    };
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, size.into());
    headers.insert(UPLOAD_LENGTH, size.into());
    Ok(response)
}

/// `bucket/object/version` of an id in base64.
fn read_id(id: &str) -> Result<(String, String, String)> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(id.trim_end_matches('=')).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or_else(StorageError::invalid_upload_id)?;
    let (bucket, rest) = text
        .split_once('/')
        .ok_or_else(StorageError::invalid_upload_id)?;
    let (name, version) = rest
        .rsplit_once('/')
        .ok_or_else(StorageError::invalid_upload_id)?;
    uuid::Uuid::try_parse(version).map_err(|_| StorageError::invalid_upload_id())?;
    names::bucket(bucket)?;
    names::key(name)?;
    Ok((bucket.to_owned(), name.to_owned(), version.to_owned()))
}

fn is_offset_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == OFFSET_STREAM)
}

/// How far an upload is.
async fn state(session: &Session, who: &Identity, upload: Upload) -> Result<Response> {
    let offset = u64::try_from(upload.size).unwrap_or(0);
    let (length, expires_at) = (upload.terms.length, upload.terms.expires_at);
    let raw_metadata = upload.terms.raw_metadata.clone();
    if length == Some(offset) {
        // All bytes came, but nobody lived to put them together.
        finish(session, who, upload).await?;
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, offset.into());
    match length {
        Some(length) => headers.insert(UPLOAD_LENGTH, length.into()),
        None => headers.insert(headers::UPLOAD_DEFER_LENGTH, 1.into()),
    };
    if let Some(raw) = raw_metadata {
        crate::download::insert(headers, headers::UPLOAD_METADATA, &raw);
    }
    headers::expires(headers, expires_at);
    Ok(response)
}

/// Takes the length that was left open at the beginning.
async fn with_length(session: &Session, mut upload: Upload, headers: &HeaderMap) -> Result<Upload> {
    let Some(length) = number(headers, &UPLOAD_LENGTH)? else {
        return Ok(upload);
    };
    match upload.terms.length {
        Some(known) if known == length => return Ok(upload),
        Some(_) => return Err(StorageError::tus(400, "Upload-Length cannot change")),
        None => {}
    }
    let bucket = upload::bucket(session, &upload.bucket).await?;
    if length > upload::limit(session, &bucket) || length < u64::try_from(upload.size).unwrap_or(0)
    {
        return Err(StorageError::new(
            Code::EntityTooLarge,
            413,
            "Maximum size exceeded",
        ));
    }
    upload.terms.length = Some(length);
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    uploads::set_terms(&transaction, &upload.id, &upload.terms).await?;
    transaction.commit().await?;
    Ok(upload)
}

/// Appends a piece; the new offset. What came before a connection broke is kept, so this runs
/// apart from the connection.
async fn append(
    session: &Session,
    who: &Identity,
    upload: Upload,
    offset: u64,
    headers: &HeaderMap,
    body: Body,
) -> Result<u64> {
    let checksum = headers::checksum(headers)?;
    let bucket = upload::bucket(session, &upload.bucket).await?;
    let most = upload
        .terms
        .length
        .unwrap_or_else(|| upload::limit(session, &bucket));
    if u64::try_from(upload.size) != Ok(offset) {
        return Err(StorageError::tus(409, "Upload-Offset conflict"));
    }
    let turn = Turn::take(&session.service, &upload.id)?;
    let (session, who) = (session.clone(), who.clone());
    let receiving = task::spawn("resumable upload", async move {
        let _turn = turn;
        receive(&session, &who, upload, offset..most, checksum, body).await
    });
    receiving.await.map_err(StorageError::internal)?
}

/// One writer per upload in this process; between processes the row's offset decides.
struct Turn {
    service: StorageService,
    id: String,
}

impl Turn {
    fn take(service: &StorageService, id: &str) -> Result<Self> {
        if service.0.writing.lock().insert(id.to_owned()) {
            return Ok(Self {
                service: service.clone(),
                id: id.to_owned(),
            });
        }
        Err(StorageError::new(
            Code::ResourceLocked,
            423,
            "The resource is locked",
        ))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.service.0.writing.lock().remove(&self.id);
    }
}

async fn receive(
    session: &Session,
    who: &Identity,
    upload: Upload,
    free: Range<u64>,
    checksum: Option<(Algorithm, String)>,
    body: Body,
) -> Result<u64> {
    let mut digests = Digests::etag();
    if let Some((algorithm, _)) = &checksum {
        digests = digests.and(*algorithm);
    }
    let (mut writer, version) = parts::writer(session, &upload, digests);
    let mut body = body.into_data_stream();
    let mut broken = None;
    while let Some(chunk) = body.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                broken = Some(StorageError::broken_body(error.into_inner()));
                break;
            }
        };
        if free.start + writer.size() + chunk.len() as u64 > free.end {
            return Err(StorageError::new(
                Code::EntityTooLarge,
                413,
                "Maximum size exceeded",
            ));
        }
        writer.write(chunk).await?;
    }
    // A checksum is of the whole piece: half a piece has none.
    if let (Some(error), Some(_)) = (&broken, &checksum) {
        return Err(error.clone());
    }
    let mut now = free.start;
    if writer.size() > 0 {
        now += writer.size();
        parts::add(
            session,
            &upload,
            Place::Offset(free.start),
            writer,
            version,
            free.end,
            move |written| {
                match &checksum {
                    Some((algorithm, expected)) => {
                        parts::check_sum(expected, written.sums.get(*algorithm))
                            // The status that TUS has for it.
                            .map_err(|_| {
                                StorageError::new(Code::InvalidChecksum, 460, "Checksum mismatch")
                            })
                    }
                    None => Ok(()),
                }
            },
        )
        .await?;
    }
    if let Some(error) = broken {
        return Err(error);
    }
    if upload.terms.length == Some(now) {
        finish(session, who, upload).await?;
    }
    Ok(now)
}

async fn finish(session: &Session, who: &Identity, upload: Upload) -> Result<()> {
    let parts = parts::list(session, &upload.id, 0, i64::from(i32::MAX)).await?;
    parts::complete(session, who, None, upload, parts).await?;
    Ok(())
}
