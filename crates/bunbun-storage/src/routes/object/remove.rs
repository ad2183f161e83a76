//! `DELETE /object/{bucket}/{name}` and `DELETE /object/{bucket}` with `prefixes`.

use axum::Json as Answer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    database::objects::{self, Object},
    error::{Result, StorageError},
    request::{BucketPath, Call, Json, ObjectPath, Session},
    upload,
};

/// Most names of one request.
const MAX_NAMES: usize = 1000;

/// `DELETE /object/{bucket}`.
#[derive(Deserialize)]
pub(crate) struct DeleteObjectsRequest {
    /// Names of objects, whatever the field is called.
    prefixes: Vec<String>,
}

/// Deletes an object that the caller may see and delete.
pub(crate) async fn delete_object(call: Call, path: ObjectPath) -> Result<Answer<Value>> {
    let session = call.required("storage.object.delete").await?;
    one(&session, &path.bucket, &path.name).await?;
    Ok(Answer(json!({ "message": "Successfully deleted" })))
}

/// Deletes an object, whatever protocol asked.
pub(crate) async fn one(session: &Session, bucket: &str, name: &str) -> Result<()> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    objects::get(&transaction, bucket, name).await?;
    let deleted = objects::delete(&transaction, bucket, &[name.to_owned()]).await?;
    if deleted.is_empty() {
        // Somebody else may have been quicker.
        objects::get(&transaction, bucket, name).await?;
        return Err(StorageError::access_denied("Access denied"));
    }
    transaction.commit().await?;
    discard(session, &deleted).await;
    Ok(())
}

/// Deletes those of some objects that the caller may delete, and tells which.
pub(crate) async fn delete_objects(
    call: Call,
    BucketPath(bucket): BucketPath,
    Json(body): Json<DeleteObjectsRequest>,
) -> Result<Answer<Vec<Object>>> {
    let session = call.required("storage.object.delete_many").await?;
    if body.prefixes.is_empty() {
        let message = "body/prefixes must NOT have fewer than 1 items";
        return Err(StorageError::validation(message));
    }
    if body.prefixes.len() > MAX_NAMES {
        let message = "body/prefixes must NOT have more than 1000 items";
        return Err(StorageError::validation(message));
    }
    many(&session, &bucket, &body.prefixes).await.map(Answer)
}

/// Deletes objects, whatever protocol asked.
pub(crate) async fn many(session: &Session, bucket: &str, names: &[String]) -> Result<Vec<Object>> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    let deleted = objects::delete(&transaction, bucket, names).await?;
    transaction.commit().await?;
    discard(session, &deleted).await;
    Ok(deleted)
}

async fn discard(session: &Session, deleted: &[Object]) {
    let keys = deleted
        .iter()
        .map(|object| upload::blob_key(session, object))
        .collect();
    upload::discard(session, keys).await;
}
