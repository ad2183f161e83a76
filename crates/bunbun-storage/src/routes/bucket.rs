//! `/bucket`, `/bucket/{bucket}`, `/bucket/{bucket}/empty`.

use axum::{Json as Answer, extract::RawQuery};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    blobs::BlobKey,
    coerce,
    database::{
        buckets::{self, Bucket, BucketChange, BucketList, NewBucket},
        objects,
    },
    error::{Code, Result, StorageError},
    names,
    request::{BucketPath, Call, Json, Session, query_parameter},
    size::Size,
    upload,
};

/// Objects that are removed in one transaction when a bucket is emptied.
const EMPTY_BATCH: i64 = 500;

/// `POST /bucket`.
#[derive(Deserialize)]
pub(super) struct CreateBucketRequest {
    name: String,
    id: Option<String>,
    #[serde(default, deserialize_with = "coerce::optional_boolean")]
    public: Option<bool>,
    file_size_limit: Option<Size>,
    allowed_mime_types: Option<Vec<String>>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `PUT /bucket/{bucket}`: what is left out stays, null takes a limit away.
#[derive(Deserialize)]
pub(super) struct UpdateBucketRequest {
    #[serde(default, deserialize_with = "coerce::optional_boolean")]
    public: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    file_size_limit: Option<Option<Size>>,
    #[serde(default, deserialize_with = "present")]
    allowed_mime_types: Option<Option<Vec<String>>>,
}

/// Tells `null` from nothing.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Lists the buckets that the caller may see.
pub(super) async fn list_buckets(
    call: Call,
    RawQuery(query): RawQuery,
) -> Result<Answer<Vec<Bucket>>> {
    let session = call.required("storage.bucket.list").await?;
    let parameter = |name| query_parameter(query.as_deref(), name);
    let number = |name: &'static str| -> Result<Option<i64>> {
        let text = parameter(name);
        let number = text.as_deref().map(str::parse).transpose();
        let number = number
            .map_err(|_| StorageError::validation(format!("querystring/{name} must be integer")))?;
        match number {
            Some(negative) if negative < 0 => Err(StorageError::validation(format!(
                "querystring/{name} must be >= 0"
            ))),
            other => Ok(other),
        }
    };
    let sort = match parameter("sortColumn").as_deref() {
        None | Some("name" | "") => "name collate \"C\"",
        Some("id") => "id collate \"C\"",
        Some("created_at") => "created_at",
        Some("updated_at") => "updated_at",
        Some(_) => {
            let message = "querystring/sortColumn must be equal to one of the allowed values";
            return Err(StorageError::validation(message));
        }
    };
    let wanted = BucketList {
        search: parameter("search").filter(|text| !text.is_empty()),
        sort,
        descending: parameter("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("desc")),
        limit: number("limit")?,
        offset: number("offset")?.unwrap_or(0),
    };
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::list(&transaction, &wanted).await.map(Answer)
}

/// Shows a bucket that the caller may see.
pub(super) async fn get_bucket(call: Call, BucketPath(id): BucketPath) -> Result<Answer<Bucket>> {
    let session = call.required("storage.bucket.get").await?;
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::get(&transaction, &id).await.map(Answer)
}

/// Makes a bucket.
pub(super) async fn create_bucket(
    call: Call,
    Json(body): Json<CreateBucketRequest>,
) -> Result<Answer<Value>> {
    let session = call.required("storage.bucket.create").await?;
    if body
        .kind
        .as_deref()
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("STANDARD"))
    {
        let message = "Only buckets of the type STANDARD are available here";
        return Err(StorageError::new(Code::FeatureNotEnabled, 409, message));
    }
    create(
        &session,
        body.id.as_deref().unwrap_or(&body.name),
        &body.name,
        body.public.unwrap_or(false),
        body.file_size_limit.as_ref(),
        body.allowed_mime_types,
    )
    .await?;
    Ok(Answer(json!({ "name": body.name })))
}

/// Makes a bucket, whatever protocol asked.
pub(super) async fn create(
    session: &Session,
    id: &str,
    name: &str,
    public: bool,
    file_size_limit: Option<&Size>,
    allowed_mime_types: Option<Vec<String>>,
) -> Result<()> {
    names::bucket(id)?;
    names::bucket(name)?;
    let allowed_mime_types = allowed_mime_types.map(without_blanks);
    let bucket = NewBucket {
        id,
        name,
        owner: session.owner(),
        public,
        file_size_limit: file_size_limit
            .map(|size| checked(session, size))
            .transpose()?,
        allowed_mime_types: allowed_mime_types.as_deref(),
    };
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::insert(&transaction, &bucket).await?;
    transaction.commit().await?;
    Ok(())
}

/// Changes a bucket.
pub(super) async fn update_bucket(
    call: Call,
    BucketPath(id): BucketPath,
    Json(body): Json<UpdateBucketRequest>,
) -> Result<Answer<Value>> {
    let session = call.required("storage.bucket.update").await?;
    let file_size_limit = match &body.file_size_limit {
        Some(Some(size)) => Some(Some(checked(&session, size)?)),
        Some(None) => Some(None),
        None => None,
    };
    let change = BucketChange {
        public: body.public,
        file_size_limit,
        allowed_mime_types: body.allowed_mime_types.map(|list| list.map(without_blanks)),
    };
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::update(&transaction, &id, &change).await?;
    transaction.commit().await?;
    Ok(Answer(json!({ "message": "Successfully updated" })))
}

/// A bucket's limit; it cannot be above the project's.
fn checked(session: &Session, size: &Size) -> Result<i64> {
    let bytes = size.bytes()?;
    if bytes > session.service.0.settings.file_size_limit {
        return Err(StorageError::too_large());
    }
    i64::try_from(bytes).map_err(|_| StorageError::too_large())
}

fn without_blanks(list: Vec<String>) -> Vec<String> {
    list.into_iter().filter(|mime| !mime.is_empty()).collect()
}

/// Deletes an empty bucket.
pub(super) async fn delete_bucket(call: Call, BucketPath(id): BucketPath) -> Result<Answer<Value>> {
    let session = call.required("storage.bucket.delete").await?;
    delete(&session, &id).await?;
    Ok(Answer(json!({ "message": "Successfully deleted" })))
}

/// Deletes an empty bucket, whatever protocol asked.
pub(super) async fn delete(session: &Session, id: &str) -> Result<()> {
    let mut client = session.database.client().await?;
    // Whether it is empty is not the caller's to see.
    let transaction = session.database.begin_service(&mut client).await?;
    let is_empty = buckets::is_empty(&transaction, id).await?;
    drop(transaction);
    let transaction = session.database.begin(&mut client, &session.caller).await?;
    buckets::lock(&transaction, id).await?;
    if !is_empty {
        return Err(StorageError::bucket_not_empty());
    }
    // An object that came meanwhile holds the bucket by its foreign key.
    buckets::delete(&transaction, id).await?;
    transaction.commit().await?;
    Ok(())
}

/// Deletes every object of a bucket that the caller may delete.
pub(super) async fn empty_bucket(call: Call, BucketPath(id): BucketPath) -> Result<Answer<Value>> {
    let session = call.required("storage.bucket.empty").await?;
    let mut client = session.database.client().await?;
    let mut found = false;
    loop {
        let transaction = session.database.begin(&mut client, &session.caller).await?;
        if !found {
            buckets::get(&transaction, &id).await?;
            found = true;
        }
        let ids = objects::some_ids(&transaction, &id, EMPTY_BATCH).await?;
        if ids.is_empty() {
            return Ok(Answer(json!({ "message": "Successfully emptied" })));
        }
        let deleted = objects::delete_ids(&transaction, &ids).await?;
        if deleted.is_empty() {
            // Somebody else may have been quicker.
            if !objects::sees_any(&transaction, &ids).await? {
                continue;
            }
            let message = "Objects of the bucket may be seen but not deleted: you may have SELECT but not DELETE permissions";
            return Err(StorageError::new(Code::InvalidRequest, 409, message));
        }
        transaction.commit().await?;
        let keys: Vec<BlobKey> = deleted
            .iter()
            .map(|object| upload::blob_key(&session, object))
            .collect();
        upload::discard(&session, keys).await;
    }
}
