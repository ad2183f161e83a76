//! `POST /object/{bucket}/{name}` (new, or upsert) and `PUT` (replace): the content as the body
//! itself or as the file of a multipart form.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Json as Answer, body::Body, extract::Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_http::BoxError;
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
const MAX_FIELDS: usize = 32;
const MAX_FIELD_BYTES: usize = 256 * 1024;
/// Bytes that the head of a part may take.
const MAX_HEAD_BYTES: u64 = 16 * 1024;

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
        body: Box::pin(
            body.into_data_stream()
                .map_err(|error| StorageError::broken_body(error.into_inner())),
        ),
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
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(content_type.unwrap_or_default()).map_err(form_error)?;
    let room = Arc::new(AtomicU64::new(MAX_HEAD_BYTES));
    let guarded = Guarded {
        body: body.into_data_stream(),
        room: Arc::clone(&room),
        rested: true,
    };
    let mut form = multer::Multipart::new(guarded, boundary);
    let mut fields = Vec::new();
    while fields.len() <= MAX_FIELDS {
        room.store(MAX_HEAD_BYTES, Ordering::Relaxed);
        let field = form.next_field().await.map_err(form_error)?;
        room.store(u64::MAX, Ordering::Relaxed);
        let Some(mut field) = field else { break };
        let is_file = field.file_name().is_some()
            || field
                .name()
                .is_none_or(|name| name.is_empty() || name == "file")
            || field.content_type().is_some();
        if is_file {
            let name = field.file_name().map(str::to_owned);
            let mimetype = field
                .content_type()
                .map_or(mime::OCTET_STREAM, |mime| mime.as_ref())
                .to_owned();
            // The form stays alive with the stream.
            let body = stream::unfold((field, form), |(mut field, form)| async move {
                let chunk = field.chunk().await.map_err(form_error).transpose()?;
                Some((chunk, (field, form)))
            });
            return Ok(Form {
                fields,
                file: FormFile {
                    name,
                    mimetype,
                    body: body.boxed(),
                },
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
        fields.push((name, String::from_utf8_lossy(&text).into_owned()));
    }
    Err(StorageError::no_content(
        "No file provided: the form has none",
    ))
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

/// A form's body, one piece at a time: the parser takes all there is at each step, and a part's
/// head may be endless.
struct Guarded {
    body: axum::body::BodyDataStream,
    /// Bytes that may come before the parser has got on.
    room: Arc<AtomicU64>,
    /// Whether the parser has had the last piece to itself.
    rested: bool,
}

impl Stream for Guarded {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.rested {
            self.rested = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Poll::Ready(Some(Err("the head of a part is too large".into())));
        }
        let piece = std::task::ready!(self.body.poll_next_unpin(cx));
        self.rested = false;
        if let (Some(Ok(piece)), true) = (&piece, room != u64::MAX) {
            self.room
                .store(room.saturating_sub(piece.len() as u64), Ordering::Relaxed);
        }
        Poll::Ready(piece.map(|piece| piece.map_err(axum::Error::into_inner)))
    }
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
