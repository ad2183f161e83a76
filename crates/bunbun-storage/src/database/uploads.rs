//! `storage.s3_multipart_uploads` and their parts: uploads that come in pieces, by the S3 protocol
//! or by TUS.

use bunbun_postgres::{Session, tokio_postgres::Row};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::{iso, objects::places};
use crate::error::{Result, StorageError};

/// What must be remembered of an upload, in the column `upload_signature`: the table has no other
/// place for it in every version of the original.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// Whether it belongs to TUS.
    #[serde(default)]
    pub(crate) resumable: bool,
    /// The announced size, in TUS.
    #[serde(default)]
    pub(crate) length: Option<u64>,
    /// The content's type.
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    /// `cache-control` of the object.
    #[serde(default)]
    pub(crate) cache_control: Option<String>,
    /// Whether it may replace an object.
    #[serde(default)]
    pub(crate) upsert: bool,
    /// `Upload-Metadata` as it came, in TUS.
    #[serde(default)]
    pub(crate) raw_metadata: Option<String>,
    /// When it ends, in seconds since the Unix epoch, in TUS.
    #[serde(default)]
    pub(crate) expires_at: Option<i64>,
}

/// An upload.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) owner: Option<String>,
    pub(crate) size: i64,
    pub(crate) terms: Terms,
    pub(crate) user_metadata: Option<Value>,
    pub(crate) created_at: String,
}

/// A part of an upload.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) number: i32,
    pub(crate) size: i64,
    /// MD5 in hexadecimal, with quotation marks.
    pub(crate) etag: String,
    pub(crate) version: String,
    pub(crate) created_at: String,
}

const COLUMNS: &str = concat!(
    "id, bucket_id, key, owner_id, in_progress_size, upload_signature, user_metadata, ",
    iso!("created_at")
);

fn read(row: &Row) -> Result<Upload> {
    let terms: String = row.try_get(5)?;
    Ok(Upload {
        id: row.try_get(0)?,
        bucket: row.try_get(1)?,
        key: row.try_get(2)?,
        owner: row.try_get(3)?,
        size: row.try_get(4)?,
        // An upload of the original that was under way at a change of service has other terms.
        terms: serde_json::from_str(&terms).unwrap_or_default(),
        user_metadata: row.try_get(6)?,
        created_at: row.try_get(7)?,
    })
}

/// An upload to be noted.
pub(crate) struct NewUpload<'u> {
    pub(crate) id: &'u str,
    pub(crate) bucket: &'u str,
    pub(crate) key: &'u str,
    pub(crate) version: &'u str,
    pub(crate) owner: Option<&'u str>,
    pub(crate) terms: &'u Terms,
    pub(crate) user_metadata: Option<&'u Value>,
}

pub(crate) async fn insert(session: &Session, upload: &NewUpload<'_>) -> Result<()> {
    let terms = serde_json::to_string(upload.terms).map_err(StorageError::internal)?;
    session
        .execute_cached(
            "insert into storage.s3_multipart_uploads
               (id, upload_signature, bucket_id, key, version, owner_id, user_metadata)
             values ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &upload.id,
                &terms,
                &upload.bucket,
                &upload.key,
                &upload.version,
                &upload.owner,
                &upload.user_metadata,
            ],
        )
        .await?;
    Ok(())
}

pub(crate) async fn get(session: &Session, id: &str) -> Result<Upload> {
    let sql = format!("select {COLUMNS} from storage.s3_multipart_uploads where id = $1");
    let row = session.query_opt_cached(&sql, &[&id]).await?;
    read(&row.ok_or_else(StorageError::no_such_upload)?)
}

/// As [`get`], and nobody else adds parts until the transaction's end.
pub(crate) async fn lock(session: &Session, id: &str) -> Result<Upload> {
    let sql =
        format!("select {COLUMNS} from storage.s3_multipart_uploads where id = $1 for update");
    let row = session.query_opt_cached(&sql, &[&id]).await?;
    read(&row.ok_or_else(StorageError::no_such_upload)?)
}

/// How many bytes an upload has without one of its parts.
pub(crate) async fn size_without(session: &Session, id: &str, number: i32) -> Result<u64> {
    let sql = "select coalesce(sum(size), 0)::bigint from storage.s3_multipart_uploads_parts
               where upload_id = $1 and part_number <> $2";
    let row = session.query_one_cached(sql, &[&id, &number]).await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}

/// Adds or replaces a part of a locked upload, which then has at most so many bytes; the versions
/// of what it replaces.
pub(crate) async fn put_part(
    session: &Session,
    upload: &Upload,
    part: &Part,
    most: u64,
) -> Result<Vec<String>> {
    let replaced = session
        .query_cached(
            "delete from storage.s3_multipart_uploads_parts
             where upload_id = $1 and part_number = $2 returning version, size",
            &[&upload.id, &part.number],
        )
        .await?;
    let mut less = 0;
    let mut versions = Vec::new();
    for row in &replaced {
        versions.push(row.try_get(0)?);
        less += row.try_get::<_, i64>(1)?;
    }
    if u64::try_from(upload.size - less + part.size).is_ok_and(|size| size > most) {
        return Err(StorageError::too_large());
    }
    session
        .execute_cached(
            "insert into storage.s3_multipart_uploads_parts
               (upload_id, size, part_number, bucket_id, key, etag, owner_id, version)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &upload.id,
                &part.size,
                &part.number,
                &upload.bucket,
                &upload.key,
                &part.etag,
                &upload.owner,
                &part.version,
            ],
        )
        .await?;
    session
        .execute_cached(
            "update storage.s3_multipart_uploads set in_progress_size = in_progress_size + $2 where id = $1",
            &[&upload.id, &(part.size - less)],
        )
        .await?;
    Ok(versions)
}

pub(crate) async fn parts(
    session: &Session,
    id: &str,
    after: i32,
    limit: i64,
) -> Result<Vec<Part>> {
    let sql = concat!(
        "select part_number, size, etag, version, ",
        iso!("created_at"),
        " from storage.s3_multipart_uploads_parts
          where upload_id = $1 and part_number > $2 order by part_number limit $3"
    );
    let rows = session.query_cached(sql, &[&id, &after, &limit]).await?;
    let part = |row: &Row| {
        Ok(Part {
            number: row.try_get(0)?,
            size: row.try_get(1)?,
            etag: row.try_get(2)?,
            version: row.try_get(3)?,
            created_at: row.try_get(4)?,
        })
    };
    rows.iter().map(part).collect()
}

/// Removes an upload and its parts; whether it was there.
pub(crate) async fn delete(session: &Session, id: &str) -> Result<bool> {
    session
        .execute_cached(
            "delete from storage.s3_multipart_uploads_parts where upload_id = $1",
            &[&id],
        )
        .await?;
    let deleted = session
        .execute_cached(
            "delete from storage.s3_multipart_uploads where id = $1",
            &[&id],
        )
        .await?;
    Ok(deleted > 0)
}

/// Uploads by the S3 protocol that are under way, after a key and an id.
pub(crate) async fn list(
    session: &Session,
    bucket: &str,
    prefix: &str,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<Upload>> {
    let sql = format!(
        "select {COLUMNS} from storage.s3_multipart_uploads
         where bucket_id = $1 and starts_with(key, $2)
           and (key > $3 or (key = $3 and $4 <> '' and id > $4))
           and upload_signature not like '{{\"resumable\":true%'
         order by key, id limit $5"
    );
    let rows = session
        .query_cached(&sql, &[&bucket, &prefix, &after.0, &after.1, &limit])
        .await?;
    rows.iter().map(read).collect()
}

/// Uploads that nobody will finish: resumable ones after their end, others after a time.
pub(crate) async fn expired(
    session: &Session,
    now: i64,
    older_than: OffsetDateTime,
    limit: i64,
) -> Result<Vec<Upload>> {
    let sql = format!(
        "select {COLUMNS} from storage.s3_multipart_uploads
         where created_at < $2
            or (upload_signature like '{{\"resumable\":true%'
                and (upload_signature::jsonb ->> 'expires_at')::bigint < $1)
         order by created_at limit $3"
    );
    let rows = session
        .query_cached(&sql, &[&now, &older_than, &limit])
        .await?;
    rows.iter().map(read).collect()
}

/// Which of some contents no part has: their places in the arrays.
pub(crate) async fn orphans(
    session: &Session,
    uploads: &[&str],
    versions: &[&str],
) -> Result<Vec<usize>> {
    let rows = session
        .query_cached(
            "select blob.at from unnest($1::text[], $2::text[])
               with ordinality as blob (upload, version, at)
             where not exists (
               select from storage.s3_multipart_uploads_parts p
               where p.upload_id = blob.upload and p.version = blob.version
             )",
            &[&uploads, &versions],
        )
        .await?;
    places(&rows)
}

/// The number of an upload's last part; 0 where it has none.
pub(crate) async fn last_part(session: &Session, id: &str) -> Result<i32> {
    let sql = "select coalesce(max(part_number), 0) from storage.s3_multipart_uploads_parts where upload_id = $1";
    Ok(session.query_one_cached(sql, &[&id]).await?.try_get(0)?)
}

/// Says how long a resumable upload will be, where that was left open.
pub(crate) async fn set_terms(session: &Session, id: &str, terms: &Terms) -> Result<()> {
    let terms = serde_json::to_string(terms).map_err(StorageError::internal)?;
    session
        .execute_cached(
            "update storage.s3_multipart_uploads set upload_signature = $2 where id = $1",
            &[&id, &terms],
        )
        .await?;
    Ok(())
}
