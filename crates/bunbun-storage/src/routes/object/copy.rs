//! `POST /object/copy`: the same content under another name.

use axum::Json as Answer;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::create;
use crate::{
    coerce,
    database::{
        buckets,
        objects::{self, Object},
    },
    download,
    error::{Result, StorageError},
    mime, names,
    request::{Call, Json, Session},
    upload::{self, Upload, blob_key},
};

/// `POST /object/copy`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CopyObjectRequest {
    bucket_id: String,
    source_key: String,
    destination_bucket: Option<String>,
    destination_key: String,
    metadata: Option<CopyMetadata>,
    #[serde(default, deserialize_with = "coerce::optional_boolean")]
    copy_metadata: Option<bool>,
}

/// What the copy has of its own.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CopyMetadata {
    #[serde(rename = "cacheControl")]
    pub(crate) cache_control: Option<String>,
    pub(crate) mimetype: Option<String>,
}

/// A copy to be made.
pub(crate) struct Copy<'c> {
    pub(crate) from: (&'c str, &'c str),
    pub(crate) to: (&'c str, &'c str),
    pub(crate) metadata: CopyMetadata,
    /// Whether the copy has its source's metadata where it has none of its own.
    pub(crate) copy_metadata: bool,
    pub(crate) user_metadata: Option<Value>,
    pub(crate) upsert: bool,
}

/// Copies an object that the caller may read to where they may write.
pub(crate) async fn copy_object(
    call: Call,
    headers: HeaderMap,
    Json(body): Json<CopyObjectRequest>,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.copy").await?;
    let to_bucket = body
        .destination_bucket
        .as_deref()
        .unwrap_or(&body.bucket_id);
    let user_metadata = headers
        .get("x-metadata")
        .and_then(|value| BASE64_STANDARD.decode(value.as_bytes()).ok())
        .and_then(|json| serde_json::from_slice(&json).ok());
    let copy = Copy {
        from: (&body.bucket_id, &body.source_key),
        to: (to_bucket, &body.destination_key),
        metadata: body.metadata.unwrap_or_default(),
        copy_metadata: body.copy_metadata.unwrap_or(true),
        user_metadata,
        upsert: create::is_upsert(&headers),
    };
    let object = perform(&session, copy).await?;
    let key = format!("{}/{}", object.bucket_id, object.name);
    let mut answer = serde_json::to_value(&object).map_err(StorageError::internal)?;
    answer["Id"] = Value::from(object.id);
    answer["Key"] = Value::from(key);
    Ok(Answer(answer))
}

/// Copies an object, whatever protocol asked.
pub(crate) async fn perform(session: &Session, copy: Copy<'_>) -> Result<Object> {
    for (bucket, name) in [copy.from, copy.to] {
        names::bucket(bucket)?;
        names::key(name)?;
    }
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let source = objects::get(&transaction, copy.from.0, copy.from.1).await?;
    drop(transaction);
    let transaction = session.database.begin_service(&mut client).await?;
    let bucket = buckets::get(&transaction, copy.to.0).await?;
    drop(transaction);
    drop(client);
    let inherited = copy.copy_metadata.then_some(&source);
    let upload = Upload {
        bucket: copy.to.0.to_owned(),
        name: copy.to.1.to_owned(),
        version: upload::new_version(),
        who: session.caller.clone(),
        owner: session.owner().map(str::to_owned),
        upsert: copy.upsert,
        if_match: None,
        mimetype: copy
            .metadata
            .mimetype
            .unwrap_or_else(|| source.mimetype().to_owned()),
        cache_control: copy.metadata.cache_control.unwrap_or_else(|| {
            inherited
                .map_or("no-cache", |source| source.cache_control())
                .to_owned()
        }),
        user_metadata: copy
            .user_metadata
            .or_else(|| inherited.and_then(|s| s.user_metadata.clone())),
    };
    mime::check(&upload.mimetype, bucket.allowed_mime_types.as_deref())?;
    upload::prove(session, &upload, source.size()).await?;
    let (source, blob) = download::open(session, source).await?;
    let size = blob.size;
    if size > upload::limit(session, &bucket) {
        return Err(StorageError::too_large());
    }
    drop(blob);
    session
        .service
        .0
        .blobs
        .copy(&blob_key(session, &source), &upload.key(session))
        .await?;
    let etag = source.etag();
    upload::commit(session, upload, size, etag.trim_matches('"')).await
}
