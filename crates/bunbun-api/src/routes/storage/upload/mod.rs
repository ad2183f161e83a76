//! `POST /api/storage/upload`: an object out of a form.

mod form;

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use bunbun_http::{ApiError, access::UserOrService};
use form::Form;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clients::{OnBehalf, storage},
    openapi::{
        BodyRefusals, ConflictRefusals, MediaRefusals, ServiceRefusals, ThingRefusals, UserRefusals,
    },
    state::ApiState,
};

/// The form.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read as it arrives")]
struct UploadObject {
    /// The bucket's name.
    #[schema(min_length = 1, max_length = 100, example = "photos")]
    bucket: String,
    /// The object's path in the bucket.
    #[schema(min_length = 1, max_length = 1024, example = "2026/cat.png")]
    path: String,
    /// Whether an object that is there is replaced; false when absent.
    #[schema(required = false)]
    upsert: bool,
    /// The content. Best the last field: then it is passed on as it arrives, else it has to wait on
    /// disk for the others.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// An object that was written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadedObject {
    /// Bucket and path.
    #[schema(example = "photos/2026/cat.png")]
    key: String,
    /// Where it can be downloaded, with a credential.
    url: String,
    /// Its size in bytes.
    size: u64,
    /// Names its content; null where the caller may write it but not read it.
    #[schema(required = true)]
    etag: Option<String>,
    /// Its media type.
    #[schema(example = "image/png")]
    mime_type: String,
}

/// Upload an object
///
/// A form of the fields `bucket`, `path`, `upsert` and, best last, `file`. Nothing is written
/// unless the whole form has arrived.
#[utoipa::path(
    post, path = "/api/storage/upload", tag = "storage",
    request_body(content = UploadObject, content_type = "multipart/form-data"),
    security(("user" = []), ("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The object", body = UploadedObject),
        BodyRefusals, MediaRefusals, ThingRefusals, ConflictRefusals, UserRefusals, ServiceRefusals,
    ),
)]
pub(crate) async fn upload_object(
    State(state): State<Arc<ApiState>>,
    _caller: UserOrService,
    behalf: OnBehalf,
    request: Request,
) -> Result<Json<UploadedObject>, ApiError> {
    let form = Form::read(request, &state).await?;
    let storage = state.storage(&behalf);
    let (object, upload, file) = (form.object, form.upload, form.file);
    let mime_type = upload.content_type.clone();
    let written = storage.upload(object.place(), upload, file.body).await;
    let size = file.progress.outcome()?;
    let key = written?;
    // It is written, whatever comes of the rest.
    let info: storage::Info = storage.info(object.place()).await.unwrap_or_default();
    let path = format!("/api/storage/download/{}", object.place().encoded());
    let sent = || mime_type.to_str().unwrap_or_default().to_owned();
    Ok(Json(UploadedObject {
        key,
        url: format!("{}{path}", behalf.base_url(state.public_url())),
        size,
        etag: info.etag,
        mime_type: info.content_type.unwrap_or_else(sent),
    }))
}
