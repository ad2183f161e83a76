//! `POST /object/{bucket}/{name}` (new, or upsert) and `PUT` (replace): the content as the body
//! itself or as the file of a multipart form.

use std::pin::Pin;

use axum::{Json as Answer, body::Body, extract::Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, header};
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
const MAX_FIELDS: usize = 10;
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
    from_request(&session, &who, path, owner, upsert, request).await
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
    from_request(&session, &who, path, owner, true, request).await
}

/// `x-upsert: true`.
pub(crate) fn is_upsert(headers: &HeaderMap) -> bool {
    headers.get("x-upsert").is_some_and(|value| value == "true")
}

/// Uploads what a request carries.
pub(crate) async fn from_request(
    session: &Session,
    who: &Identity,
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
        owner,
        upsert,
        mimetype: incoming.mimetype,
        cache_control: incoming.cache_control,
        user_metadata: incoming.user_metadata,
    };
    let object = upload::whole(
        session,
        who,
        upload,
        &bucket,
        incoming.declared,
        incoming.body,
    )
    .await?;
    Ok(Answer(answer(&object)))
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
    if let Some(boundary) = content_type
        .as_deref()
        .and_then(|t| multer::parse_boundary(t).ok())
    {
        return form(body, boundary).await;
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
        body: Box::pin(
            body.into_data_stream()
                .map_err(|error| StorageError::broken_body(error.into_inner())),
        ),
    })
}

/// The first file of a form, with the fields before it.
async fn form(body: Body, boundary: String) -> Result<Incoming> {
    let mut form = multer::Multipart::new(
        body.into_data_stream().map_err(axum::Error::into_inner),
        boundary,
    );
    let (mut cache_control, mut user_metadata) = ("no-cache".to_owned(), None);
    for _ in 0..=MAX_FIELDS {
        let field = form.next_field().await.map_err(form_error)?;
        let Some(mut field) = field else { break };
        let is_file = field.file_name().is_some()
            || field.name().is_none_or(str::is_empty)
            || field.content_type().is_some();
        if is_file {
            let mimetype = field
                .content_type()
                .map_or(mime::OCTET_STREAM, |mime| mime.as_ref())
                .to_owned();
            // A file is empty when its first chunk is; the form stays alive with the stream.
            let body = stream::unfold((field, form), |(mut field, form)| async move {
                let chunk = field.chunk().await.map_err(form_error).transpose()?;
                Some((chunk, (field, form)))
            });
            return Ok(Incoming {
                mimetype,
                cache_control,
                user_metadata,
                declared: None,
                body: body.boxed(),
            });
        }
        let name = field.name().unwrap_or_default().to_owned();
        let mut text = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(form_error)? {
            if text.len() + chunk.len() > MAX_FIELD_BYTES {
                return Err(StorageError::no_content("A field of the form is too large"));
            }
            text.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&text);
        match name.as_str() {
            "cacheControl" => cache_control = cache_control_of(&text),
            "metadata" => user_metadata = serde_json::from_str(&text).ok(),
            _ => {}
        }
    }
    Err(StorageError::no_content(
        "No file provided: the form has none",
    ))
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

fn form_error(error: multer::Error) -> StorageError {
    match error {
        multer::Error::StreamReadFailed(cause) => StorageError::broken_body(cause),
        other => {
            let broken = matches!(
                other,
                multer::Error::IncompleteStream | multer::Error::IncompleteFieldData { .. }
            );
            let message = if broken {
                "The form broke off before its end"
            } else {
                "The form cannot be read"
            };
            StorageError::no_content(message).because(other)
        }
    }
}
