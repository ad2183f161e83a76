//! `storage.buckets`.

use bunbun_postgres::{Session, tokio_postgres::Row};
use serde::Serialize;

use super::iso;
use crate::error::{Result, StorageError};

/// A bucket.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bucket {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) public: bool,
    pub(crate) file_size_limit: Option<i64>,
    pub(crate) allowed_mime_types: Option<Vec<String>>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

/// A bucket to be made.
pub(crate) struct NewBucket<'b> {
    pub(crate) id: &'b str,
    pub(crate) name: &'b str,
    pub(crate) owner: Option<&'b str>,
    pub(crate) public: bool,
    pub(crate) file_size_limit: Option<i64>,
    pub(crate) allowed_mime_types: Option<&'b [String]>,
}

/// What changes; `None` stays, `Some(None)` becomes null.
#[derive(Default)]
pub(crate) struct BucketChange {
    pub(crate) public: Option<bool>,
    pub(crate) file_size_limit: Option<Option<i64>>,
    pub(crate) allowed_mime_types: Option<Option<Vec<String>>>,
}

/// Which buckets, in which order.
#[derive(Debug, Default)]
pub(crate) struct BucketList {
    pub(crate) search: Option<String>,
    pub(crate) sort: &'static str,
    pub(crate) descending: bool,
    pub(crate) limit: Option<i64>,
    pub(crate) offset: i64,
}

const COLUMNS: &str = concat!(
    "id, name, coalesce(owner_id, owner::text, ''), coalesce(public, false), file_size_limit, ",
    "allowed_mime_types, ",
    iso!("created_at"),
    ", ",
    iso!("updated_at")
);

fn read(row: &Row) -> Result<Bucket> {
    Ok(Bucket {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        owner: row.try_get(2)?,
        public: row.try_get(3)?,
        file_size_limit: row.try_get(4)?,
        allowed_mime_types: row.try_get(5)?,
        created_at: row.try_get(6)?,
        updated_at: row.try_get(7)?,
        kind: "STANDARD",
    })
}

/// A bucket that the caller may see.
pub(crate) async fn find(session: &Session, id: &str) -> Result<Option<Bucket>> {
    let sql = format!("select {COLUMNS} from storage.buckets where id = $1");
    session
        .query_opt_cached(&sql, &[&id])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// A bucket that the caller may see, or `NoSuchBucket`.
pub(crate) async fn get(session: &Session, id: &str) -> Result<Bucket> {
    find(session, id)
        .await?
        .ok_or_else(StorageError::no_such_bucket)
}

pub(crate) async fn list(session: &Session, wanted: &BucketList) -> Result<Vec<Bucket>> {
    let order = if wanted.descending { "desc" } else { "asc" };
    let sort = wanted.sort;
    let sql = format!(
        "select {COLUMNS} from storage.buckets
         where $1::text is null or strpos(lower(name), lower($1)) > 0
         order by {sort} {order}, id {order} limit $2 offset $3"
    );
    let rows = session
        .query_cached(&sql, &[&wanted.search, &wanted.limit, &wanted.offset])
        .await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn insert(session: &Session, bucket: &NewBucket<'_>) -> Result<()> {
    let owner = bucket
        .owner
        .filter(|owner| uuid::Uuid::try_parse(owner).is_ok());
    let inserted = session
        .execute_cached(
            "insert into storage.buckets
               (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)
             values ($1, $2, $3::text::uuid, $4, $5, $6, $7)",
            &[
                &bucket.id,
                &bucket.name,
                &owner,
                &bucket.owner,
                &bucket.public,
                &bucket.file_size_limit,
                &bucket.allowed_mime_types,
            ],
        )
        .await;
    match inserted.map_err(StorageError::from) {
        Err(error) if error.status() == 409 => Err(StorageError::bucket_already_exists()),
        other => other.map(drop),
    }
}

pub(crate) async fn update(session: &Session, id: &str, change: &BucketChange) -> Result<()> {
    let updated = session
        .execute_cached(
            "update storage.buckets set
               public = coalesce($2, public),
               file_size_limit = case when $3 then $4 else file_size_limit end,
               allowed_mime_types = case when $5 then $6 else allowed_mime_types end,
               updated_at = now()
             where id = $1",
            &[
                &id,
                &change.public,
                &change.file_size_limit.is_some(),
                &change.file_size_limit.flatten(),
                &change.allowed_mime_types.is_some(),
                &change.allowed_mime_types.clone().flatten(),
            ],
        )
        .await?;
    if updated == 0 {
        return Err(StorageError::no_such_bucket());
    }
    Ok(())
}

/// Locks a bucket that the caller may see against new objects.
pub(crate) async fn lock(session: &Session, id: &str) -> Result<()> {
    let sql = "select from storage.buckets where id = $1 for update";
    match session.query_opt_cached(sql, &[&id]).await? {
        Some(_) => Ok(()),
        None => Err(StorageError::no_such_bucket()),
    }
}

pub(crate) async fn is_empty(session: &Session, id: &str) -> Result<bool> {
    let sql = "select not exists (select from storage.objects where bucket_id = $1)";
    Ok(session.query_one_cached(sql, &[&id]).await?.try_get(0)?)
}

pub(crate) async fn delete(session: &Session, id: &str) -> Result<()> {
    let deleted = session
        .execute_cached("delete from storage.buckets where id = $1", &[&id])
        .await;
    match deleted.map_err(StorageError::from) {
        // Rows of uploads that are under way, too, hold a bucket.
        Err(error) if error.status() == 404 => Err(StorageError::bucket_not_empty()),
        Ok(0) => Err(StorageError::no_such_bucket()),
        other => other.map(drop),
    }
}
