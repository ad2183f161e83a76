//! `POST /object/{bucket}/{name}` (new, or upsert) and `PUT` (replace): the content as the body
//! itself or as the file of a multipart form.

use std::pin::Pin;

use axum::{Json as Answer, body::Body, extract::Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_http::multipart::{Multipart, MultipartError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    database::objects::Object,
    error::{Result, StorageError},
    identity::Identity,
    mime,
    request::{Call, ObjectPath, Session},
    upload::{self, Upload},
};

/// Most fields before the file, and the bytes of each.
const MAX_FIELDS: usize = 32;
const MAX_FIELD_BYTES: usize = 256 * 1024;

/// Content on its way in.
pub(crate) struct Incoming {
    pub(crate) mimetype: String,
    pub(crate) cache_control: String,
    pub(crate) user_metadata: Option<Value>,
    /// How many bytes there will be, where the client says so.
    pub(crate) declared: Option<u64>,
    pub(crate) body: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

/// Uploads an object; with `x-upsert: true` it may replace one.
pub(crate) async fn create_object(
    call: Call,
    path: ObjectPath,
    request: Request,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.upload").await?;
    let upsert = is_upsert(request.headers());
    let who = session.caller.clone();
    let owner = session.owner().map(str::to_owned);
    from_request(&session, who, path, owner, upsert, request).await
}

/// Replaces an object, or uploads it where there is none.
pub(crate) async fn update_object(
    call: Call,
    path: ObjectPath,
    request: Request,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.upload_update").await?;
    let who = session.caller.clone();
    let owner = session.owner().map(str::to_owned);
    from_request(&session, who, path, owner, true, request).await
}

/// `x-upsert: true`.
pub(crate) fn is_upsert(headers: &HeaderMap) -> bool {
    headers.get("x-upsert").is_some_and(|value| value == "true")
}

/// Uploads what a request carries.
pub(crate) async fn from_request(
    session: &Session,
    who: Identity,
    path: ObjectPath,
    owner: Option<String>,
    upsert: bool,
    request: Request,
) -> Result<Answer<Value>> {
    let bucket = upload::bucket(session, &path.bucket).await?;
    let incoming = incoming(request).await?;
    let upload = Upload {
        bucket: path.bucket,
        name: path.name,
        version: upload::new_version(),
        who,
        owner,
        upsert,
        if_match: None,
        mimetype: incoming.mimetype,
        cache_control: incoming.cache_control,
        user_metadata: incoming.user_metadata,
    };
    let object = upload::whole(session, upload, &bucket, incoming.declared, incoming.body).await?;
    Ok(Answer(answer(&object)))
}

/// A body as it is.
fn raw(body: Body) -> impl Stream<Item = Result<Bytes>> + Send {
    let pieces = body.into_data_stream();
    pieces.map(|piece| piece.map_err(|error| StorageError::broken_body(error.into_inner())))
}

/// What an upload answers.
pub(crate) fn answer(object: &Object) -> Value {
    json!({ "Id": object.id, "Key": format!("{}/{}", object.bucket_id, object.name) })
}

/// The content of a request.
pub(crate) async fn incoming(request: Request) -> Result<Incoming> {
    let (parts, body) = request.into_parts();
    let text = |name: header::HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let content_type = text(header::CONTENT_TYPE);
    if content_type
        .as_deref()
        .is_some_and(|text| text.starts_with("multipart/form-data"))
    {
        return of_form(&parts.headers, body).await;
    }
    let declared = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let user_metadata = parts
        .headers
        .get("x-metadata")
        .and_then(|value| BASE64_STANDARD.decode(value.as_bytes()).ok())
        .and_then(|json| serde_json::from_slice(&json).ok());
    Ok(Incoming {
        mimetype: content_type.unwrap_or_else(|| mime::OCTET_STREAM.to_owned()),
        cache_control: text(header::CACHE_CONTROL).unwrap_or_else(|| "no-cache".to_owned()),
        user_metadata,
        declared,
        body: raw(body).boxed(),
    })
}

/// A form up to its first file.
pub(crate) struct Form {
    /// The fields before the file.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) file: FormFile,
}

/// The file of a form.
pub(crate) struct FormFile {
    pub(crate) name: Option<String>,
    pub(crate) mimetype: String,
    pub(crate) body: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
}

/// Reads a form up to its first file.
pub(crate) async fn read_form(headers: &HeaderMap, body: Body) -> Result<Form> {
    let body = bunbun_http::Body::new(BodyExt::map_err(body, axum::Error::into_inner));
    let mut form = Multipart::new(headers.get(header::CONTENT_TYPE), body).map_err(form_error)?;
    let mut fields = Vec::new();
    while fields.len() <= MAX_FIELDS {
        let Some(head) = form.next_part().await.map_err(form_error)? else {
            break;
        };
        let is_file = head.file_name.is_some()
            || head.content_type.is_some()
            || matches!(head.name.as_str(), "" | "file");
        if is_file {
            let mimetype = head
                .content_type
                .as_ref()
                .and_then(|mime| mime.to_str().ok());
            let file = FormFile {
                name: head.file_name,
                mimetype: mimetype.unwrap_or(mime::OCTET_STREAM).to_owned(),
                body: file_of(form).boxed(),
            };
            return Ok(Form { fields, file });
        }
        let text = form.text(&head.name, MAX_FIELD_BYTES).await;
        fields.push((head.name, text.map_err(form_error)?));
    }
    Err(StorageError::no_content(
        "No file provided: the form has none",
    ))
}

/// The content of a form's current part.
fn file_of(form: Multipart) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::try_unfold(form, |mut form| async move {
        let chunk = form.chunk().await.map_err(form_error)?;
        Ok(chunk.map(|chunk| (chunk, form)))
    })
}

/// The first file of a form, with the fields before it.
async fn of_form(headers: &HeaderMap, body: Body) -> Result<Incoming> {
    let Form { fields, file } = read_form(headers, body).await?;
    let field = |name: &str| {
        fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    Ok(Incoming {
        mimetype: file.mimetype,
        cache_control: cache_control_of(field("cacheControl").unwrap_or_default()),
        user_metadata: field("metadata").and_then(|json| serde_json::from_str(json).ok()),
        declared: None,
        body: file.body,
    })
}

/// A form's `cacheControl` is a number of seconds.
pub(crate) fn cache_control_of(text: &str) -> String {
    if text.parse::<u64>().is_ok() {
        format!("max-age={text}")
    } else if text.is_empty() {
        "no-cache".to_owned()
    } else {
        text.to_owned()
    }
}

fn form_error(error: MultipartError) -> StorageError {
    match error {
        MultipartError::Body(cause) => StorageError::broken_body(cause),
        other => StorageError::no_content(other.to_string()),
    }
}
