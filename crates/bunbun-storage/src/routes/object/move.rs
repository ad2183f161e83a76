//! `POST /object/move`: another name, another bucket, or both.

use axum::Json as Answer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    database::objects::{self, NewObject, Object},
    download,
    error::{Result, StorageError},
    mime, names,
    request::{Call, Json, Session},
    upload::{self, blob_key},
};

/// `POST /object/move`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MoveObjectRequest {
    bucket_id: String,
    source_key: String,
    destination_bucket: Option<String>,
    destination_key: String,
}

/// Moves an object that the caller may read and change to where they may write.
pub(crate) async fn move_object(
    call: Call,
    Json(body): Json<MoveObjectRequest>,
) -> Result<Answer<Value>> {
    let session = call.required("storage.object.move").await?;
    let to_bucket = body
        .destination_bucket
        .as_deref()
        .unwrap_or(&body.bucket_id);
    names::bucket(&body.bucket_id)?;
    names::bucket(to_bucket)?;
    names::key(&body.source_key)?;
    names::new_key(&body.destination_key)?;
    let from = (body.bucket_id.as_str(), body.source_key.as_str());
    let to = (to_bucket, body.destination_key.as_str());
    let id = change_name(&session, from, to).await?;
    Ok(Answer(
        json!({ "message": "Successfully moved", "Id": id, "Key": body.destination_key }),
    ))
}

async fn change_name(session: &Session, from: (&str, &str), to: (&str, &str)) -> Result<String> {
    let version = upload::new_version();
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let source = objects::get(&transaction, from.0, from.1).await?;
    if from == to {
        return Ok(source.id);
    }
    objects::rename(&transaction, from, to, &version, session.owner()).await?;
    transaction.rollback().await?;
    drop(client);
    if from.0 != to.0 {
        check_limits(session, &source, to.0).await?;
    }
    // The bytes are there under the new key before a row says so.
    let (source, _) = download::open(session, source).await?;
    let old_key = blob_key(session, &source);
    let new_key = crate::blobs::BlobKey::object(session.project_ref(), to.0, to.1, Some(&version));
    session.service.0.blobs.copy(&old_key, &new_key).await?;
    match commit(session, &source, from, to, &version).await {
        Ok(id) => {
            upload::discard(session, vec![old_key]).await;
            Ok(id)
        }
        Err(error) => {
            upload::discard(session, vec![new_key]).await;
            Err(error)
        }
    }
}

/// Checks that another bucket takes such an object.
async fn check_limits(session: &Session, source: &Object, bucket: &str) -> Result<()> {
    let bucket = upload::bucket(session, bucket).await?;
    mime::check(source.mimetype(), bucket.allowed_mime_types.as_deref())?;
    let limit = upload::limit(session, &bucket);
    if source.size().is_some_and(|size| size > limit) {
        return Err(StorageError::too_large());
    }
    Ok(())
}

async fn commit(
    session: &Session,
    source: &Object,
    from: (&str, &str),
    to: (&str, &str),
    version: &str,
) -> Result<String> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    // In one order, so that two moves in opposite directions do not wait for each other.
    let (first, second) = if from < to { (from, to) } else { (to, from) };
    let first = objects::lock(&transaction, first.0, first.1).await?;
    let second = objects::lock(&transaction, second.0, second.1).await?;
    let (locked, occupied) = if from < to {
        (first, second)
    } else {
        (second, first)
    };
    if occupied.is_some() {
        return Err(StorageError::key_already_exists());
    }
    // What was replaced or deleted meanwhile is not what was copied.
    let locked = locked.filter(|locked| locked.version == source.version);
    let locked = locked.ok_or_else(StorageError::no_such_key)?;
    let owner = session.owner().or(locked.owner_id.as_deref());
    let row = NewObject {
        bucket: to.0,
        name: to.1,
        owner,
        version,
        metadata: locked.metadata.as_ref(),
        user_metadata: locked.user_metadata.as_ref(),
    };
    let moved = objects::replace(&transaction, &locked.id, &row).await?;
    transaction.commit().await?;
    Ok(moved.id)
}
