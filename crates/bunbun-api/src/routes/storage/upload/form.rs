//! Reads the form of an upload. A file that comes last is passed on as it arrives; one that comes
//! before a field that decides where it goes waits on disk, in a file without a name, which is gone
//! when it is closed, whatever happens.

use std::{
    io::SeekFrom,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::extract::Request;
use bunbun_core::Code;
use bunbun_http::{
    ApiError, Body,
    body::{BodyTooLarge, BoxError},
    extract::validated,
    multipart::Multipart,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use parking_lot::Mutex;
use tokio::{
    fs::File as DiskFile,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    sync::OwnedSemaphorePermit,
};
use tokio_util::io::ReaderStream;

use super::super::ObjectPath;
use crate::{clients::storage::Upload, state::ApiState};

/// Longest value of a field that is no file.
const MAX_FIELD_BYTES: usize = 4096;
/// How much of a waiting file is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A form, read as far as its file.
pub(super) struct Form {
    pub(super) object: ObjectPath,
    pub(super) upload: Upload,
    pub(super) file: File,
}

/// The file of a form.
pub(super) struct File {
    /// Its content.
    pub(super) body: Body,
    /// How far it has been read.
    pub(super) progress: Arc<Progress>,
}

/// How far a file has been read, for whoever gave it away.
#[derive(Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    complete: AtomicBool,
    fault: Mutex<Option<ApiError>>,
}

impl Progress {
    /// The file's size, after it was given away.
    ///
    /// # Errors
    /// What is wrong with the form behind it; then the service has not got it whole.
    pub(super) fn outcome(&self) -> Result<u64, ApiError> {
        match self.fault.lock().take() {
            Some(fault) => Err(fault),
            None => Ok(self.bytes.load(Ordering::Acquire)),
        }
    }

    fn fail(&self, fault: ApiError) {
        *self.fault.lock() = Some(fault);
    }
}

/// The fields beside the file, as far as they have come.
#[derive(Default)]
struct Fields {
    bucket: Option<String>,
    path: Option<String>,
    upsert: Option<String>,
}

impl Fields {
    /// The field of a name; `None` where there is no such.
    fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "bucket" => Some(&mut self.bucket),
            "path" => Some(&mut self.path),
            "upsert" => Some(&mut self.upsert),
            _ => None,
        }
    }

    /// Whether it is known where the file goes.
    fn suffice(&self) -> bool {
        self.bucket.is_some() && self.path.is_some()
    }

    fn into_object(self) -> Result<(ObjectPath, bool), ApiError> {
        let missing = |name| malformed(format!("The form has no field '{name}'."));
        let upsert = match self.upsert.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(malformed("The field 'upsert' is 'true' or 'false'.")),
        };
        let object = ObjectPath {
            bucket: self.bucket.ok_or_else(|| missing("bucket"))?,
            path: self.path.ok_or_else(|| missing("path"))?,
        };
        Ok((validated(object)?, upsert))
    }
}

impl Form {
    pub(super) async fn read(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let body = body.map_err(Into::into).boxed_unsync();
        let mut form = Multipart::new(head.headers.get(CONTENT_TYPE), body)?;
        let mut fields = Fields::default();
        let mut spooled: Option<(Spooled, HeaderValue)> = None;
        while let Some(part) = form.next_part().await? {
            if part.name == "file" {
                if spooled.is_some() {
                    return Err(malformed("The form has two files."));
                }
                let media = part.content_type.unwrap_or(OCTETS);
                if !fields.suffice() {
                    spooled = Some((Spooled::write(&mut form, state).await?, media));
                    continue;
                }
                let progress = Arc::<Progress>::default();
                let body = Body::new(Incoming {
                    form,
                    limit: state.file_size_limit(),
                    progress: Arc::clone(&progress),
                });
                return Self::new(fields, media, None, File { body, progress });
            }
            let slot = fields.slot(&part.name).ok_or_else(|| {
                malformed(format!(
                    "The form has a field '{}'; its fields are bucket, path, upsert and file.",
                    shown(&part.name)
                ))
            })?;
            let text = form.text(&part.name, MAX_FIELD_BYTES).await?;
            if slot.replace(text).is_some() {
                return Err(malformed(format!(
                    "The form has the field '{}' twice.",
                    part.name
                )));
            }
        }
        let (file, media) = spooled.ok_or_else(|| malformed("The form has no field 'file'."))?;
        let length = Some(file.bytes);
        Self::new(fields, media, length, file.read().await?)
    }

    fn new(
        fields: Fields,
        content_type: HeaderValue,
        length: Option<u64>,
        file: File,
    ) -> Result<Self, ApiError> {
        let (object, upsert) = fields.into_object()?;
        let upload = Upload {
            content_type,
            upsert,
            length,
        };
        Ok(Self {
            object,
            upload,
            file,
        })
    }
}

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A file that is passed on as it arrives. It ends well only when the form does: until then the
/// service must not take it for whole.
struct Incoming {
    form: Multipart,
    limit: u64,
    progress: Arc<Progress>,
}

impl Incoming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ApiError>> {
        if let Some(chunk) = ready!(self.form.poll_chunk(cx))? {
            let seen = chunk.len() as u64;
            let seen = seen + self.progress.bytes.fetch_add(seen, Ordering::AcqRel);
            return Poll::Ready(if seen > self.limit {
                Err(too_large(self.limit))
            } else {
                Ok(Some(chunk))
            });
        }
        Poll::Ready(match ready!(self.form.poll_next_part(cx))? {
            None => Ok(None),
            Some(part) => Err(malformed(format!(
                "The field '{}' comes after the file, which is under way already; nothing was \
                 written. Send it before.",
                shown(&part.name)
            ))),
        })
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.progress.complete.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.poll(cx)) {
            Ok(Some(chunk)) => Some(Ok(Frame::data(chunk))),
            Ok(None) => {
                self.progress.complete.store(true, Ordering::Release);
                None
            }
            Err(fault) => {
                let cause: BoxError = if fault.code() == Code::TooLarge {
                    BodyTooLarge { limit: self.limit }.into()
                } else {
                    "the form is malformed".into()
                };
                self.progress.fail(fault);
                Some(Err(cause))
            }
        })
    }
}

/// A file that waits on disk.
struct Spooled {
    file: DiskFile,
    bytes: u64,
    _room: OwnedSemaphorePermit,
}

impl Spooled {
    /// Writes the part that is being read.
    async fn write(form: &mut Multipart, state: &ApiState) -> Result<Self, ApiError> {
        let room = state.room_to_spool()?;
        let mut file = DiskFile::from_std(nameless(state.spool_directory()).map_err(no_room)?);
        let (limit, mut bytes) = (state.file_size_limit(), 0);
        while let Some(chunk) = form.chunk().await? {
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(too_large(limit));
            }
            file.write_all(&chunk).await.map_err(no_room)?;
        }
        file.flush().await.map_err(no_room)?;
        Ok(Self {
            file,
            bytes,
            _room: room,
        })
    }

    async fn read(mut self) -> Result<File, ApiError> {
        self.file.seek(SeekFrom::Start(0)).await.map_err(no_room)?;
        let progress = Arc::new(Progress {
            bytes: AtomicU64::new(self.bytes),
            ..Progress::default()
        });
        let room = self._room;
        let frames = ReaderStream::with_capacity(self.file, READ_BYTES)
            .map_ok(move |chunk| {
                // Held until the file is closed.
                let _ = &room;
                Frame::data(chunk)
            })
            .map_err(Into::into);
        Ok(File {
            body: StreamBody::new(frames).boxed_unsync(),
            progress,
        })
    }
}

/// A file that no name leads to.
fn nameless(directory: &Path) -> std::io::Result<std::fs::File> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)
}

fn no_room(error: std::io::Error) -> ApiError {
    let message =
        "There is no room for the file to wait for the other fields; send them before it.";
    ApiError::new(Code::ServiceUnavailable, message).with_cause(error)
}

fn too_large(limit: u64) -> ApiError {
    let message = format!("The file is larger than {limit} bytes.");
    ApiError::new(Code::TooLarge, message)
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(Code::InvalidRequest, message)
}

/// A name of the caller's, for a message.
fn shown(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(60)
        .collect()
}
