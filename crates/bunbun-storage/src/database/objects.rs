//! `storage.objects`.

use bunbun_postgres::{Session, tokio_postgres::Row, types::ToSql};
use futures_util::future;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::iso;
use crate::error::{Result, StorageError};

/// An object's row, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) bucket_id: String,
    pub(crate) owner: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) id: String,
    pub(crate) updated_at: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) last_accessed_at: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) user_metadata: Option<Value>,
    #[serde(skip)]
    pub(crate) modified: OffsetDateTime,
}

/// What is known of an object's content: the column `metadata`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    /// With quotation marks.
    pub(crate) e_tag: String,
    pub(crate) size: u64,
    pub(crate) mimetype: String,
    pub(crate) cache_control: String,
    pub(crate) last_modified: String,
    pub(crate) content_length: u64,
    pub(crate) http_status_code: u16,
}

/// A row to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewObject<'o> {
    pub(crate) bucket: &'o str,
    pub(crate) name: &'o str,
    pub(crate) owner: Option<&'o str>,
    pub(crate) version: &'o str,
    pub(crate) metadata: Option<&'o Value>,
    pub(crate) user_metadata: Option<&'o Value>,
}

impl Object {
    /// A field of its metadata.
    fn text(&self, field: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(field)?.as_str()
    }

    /// Its entity tag, with quotation marks.
    pub(crate) fn etag(&self) -> String {
        let known = self.text("eTag").map(|tag| tag.trim_matches('"'));
        let tag = known.or(self.version.as_deref()).unwrap_or(&self.id);
        format!("\"{tag}\"")
    }

    pub(crate) fn mimetype(&self) -> &str {
        self.text("mimetype").unwrap_or(crate::mime::OCTET_STREAM)
    }

    pub(crate) fn cache_control(&self) -> &str {
        self.text("cacheControl").unwrap_or("no-cache")
    }

    pub(crate) fn size(&self) -> Option<u64> {
        let metadata = self.metadata.as_ref()?;
        metadata
            .get("size")
            .or_else(|| metadata.get("contentLength"))?
            .as_u64()
    }

    /// Its user's metadata, where it is an object.
    pub(crate) fn user_metadata(&self) -> Option<&Map<String, Value>> {
        self.user_metadata.as_ref()?.as_object()
    }
}

const COLUMNS: &str = concat!(
    "@.name, @.bucket_id, @.owner::text, @.owner_id, @.version, @.id::text, ",
    iso!("@.updated_at"),
    ", ",
    iso!("@.created_at"),
    ", ",
    iso!("@.last_accessed_at"),
    ", ",
    "@.metadata, @.user_metadata, coalesce(@.updated_at, @.created_at, 'epoch')"
);

pub(super) fn read(row: &Row) -> Result<Object> {
    Ok(Object {
        name: row.try_get(0)?,
        bucket_id: row.try_get(1)?,
        owner: row.try_get(2)?,
        owner_id: row.try_get(3)?,
        version: row.try_get(4)?,
        id: row.try_get(5)?,
        updated_at: row.try_get(6)?,
        created_at: row.try_get(7)?,
        last_accessed_at: row.try_get(8)?,
        metadata: row.try_get(9)?,
        user_metadata: row.try_get(10)?,
        modified: row.try_get(11)?,
    })
}

/// The columns that [`read`] reads, of a relation.
pub(super) fn columns(of: &str) -> String {
    COLUMNS.replace('@', of)
}

/// An object that the caller may see.
pub(crate) async fn find(session: &Session, bucket: &str, name: &str) -> Result<Option<Object>> {
    let columns = columns("objects");
    let sql = format!("select {columns} from storage.objects where bucket_id = $1 and name = $2");
    session
        .query_opt_cached(&sql, &[&bucket, &name])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Whether a bucket is there and public, and an object in it: what every download asks, at once.
pub(crate) async fn find_with_bucket(
    session: &Session,
    bucket: &str,
    name: &str,
) -> Result<Option<(bool, Option<Object>)>> {
    let columns = columns("objects");
    let sql = format!(
        "select {columns}, coalesce(buckets.public, false)
         from storage.buckets
         left join storage.objects on objects.bucket_id = buckets.id and objects.name = $2
         where buckets.id = $1"
    );
    let Some(row) = session.query_opt_cached(&sql, &[&bucket, &name]).await? else {
        return Ok(None);
    };
    let is_there = row.try_get::<_, Option<String>>(0)?.is_some();
    let object = is_there.then(|| read(&row)).transpose()?;
    Ok(Some((row.try_get(12)?, object)))
}

/// An object that the caller may see, or `NoSuchKey`.
pub(crate) async fn get(session: &Session, bucket: &str, name: &str) -> Result<Object> {
    find(session, bucket, name)
        .await?
        .ok_or_else(StorageError::no_such_key)
}

/// Those of some names that the caller may see.
pub(crate) async fn visible(
    session: &Session,
    bucket: &str,
    names: &[String],
) -> Result<Vec<String>> {
    let sql = "select name from storage.objects where bucket_id = $1 and name = any($2)";
    let rows = session.query_cached(sql, &[&bucket, &names]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn owner_uuid(owner: Option<&str>) -> Option<&str> {
    owner.filter(|owner| uuid::Uuid::try_parse(owner).is_ok())
}

/// Inserts a row without looking at it, as the caller: a policy for `insert` alone allows that.
pub(crate) async fn insert_unseen(session: &Session, row: &NewObject<'_>) -> Result<()> {
    let sql = "insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
               values ($1, $2, $3::text::uuid, $4, $5, $6, $7)";
    let inserted = session
        .execute_cached(
            sql,
            &[
                &row.bucket,
                &row.name,
                &owner_uuid(row.owner),
                &row.owner,
                &row.version,
                &row.metadata,
                &row.user_metadata,
            ],
        )
        .await;
    inserted
        .map(drop)
        .map_err(|error| as_key_error(error.into()))
}

/// Inserts a row.
pub(crate) async fn insert(session: &Session, row: &NewObject<'_>) -> Result<Object> {
    let columns = columns("objects");
    let sql = format!(
        "insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
         values ($1, $2, $3::text::uuid, $4, $5, $6, $7) returning {columns}"
    );
    let inserted = session
        .query_one_cached(
            &sql,
            &[
                &row.bucket,
                &row.name,
                &owner_uuid(row.owner),
                &row.owner,
                &row.version,
                &row.metadata,
                &row.user_metadata,
            ],
        )
        .await;
    match inserted.map_err(StorageError::from) {
        Ok(row) => read(&row),
        Err(error) => Err(as_key_error(error)),
    }
}

/// Inserts or replaces a row, as the caller; policies for both have to allow it.
pub(crate) async fn upsert(session: &Session, row: &NewObject<'_>) -> Result<Object> {
    let columns = columns("objects");
    let sql = format!(
        "insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
         values ($1, $2, $3::text::uuid, $4, $5, $6, $7)
         on conflict (bucket_id, name) do update set
           owner = excluded.owner, owner_id = excluded.owner_id, version = excluded.version,
           metadata = excluded.metadata, user_metadata = excluded.user_metadata
         returning {columns}"
    );
    let written = session
        .query_one_cached(
            &sql,
            &[
                &row.bucket,
                &row.name,
                &owner_uuid(row.owner),
                &row.owner,
                &row.version,
                &row.metadata,
                &row.user_metadata,
            ],
        )
        .await;
    match written.map_err(StorageError::from) {
        Ok(row) => read(&row),
        Err(error) => Err(as_key_error(error)),
    }
}

/// Takes turns with everyone else who writes this name, until the transaction's end.
pub(crate) async fn lock(session: &Session, bucket: &str, name: &str) -> Result<Option<Object>> {
    const TURN: &str = "select pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 7238))";
    let columns = columns("objects");
    let sql = format!(
        "select {columns} from storage.objects where bucket_id = $1 and name = $2 for update"
    );
    // Once per connection; then both are sent before the first is answered, and the second sees
    // what was committed while the first waited.
    session.prepare_cached(TURN).await?;
    let parameters: [&(dyn ToSql + Sync); 2] = [&bucket, &name];
    let (turn, found) = future::join(
        session.execute_cached(TURN, &parameters),
        session.query_opt_cached(&sql, &parameters),
    )
    .await;
    turn?;
    found?.as_ref().map(read).transpose()
}

/// Replaces a locked row's content.
pub(crate) async fn replace(session: &Session, id: &str, row: &NewObject<'_>) -> Result<Object> {
    let columns = columns("objects");
    let sql = format!(
        "update storage.objects set
           bucket_id = $2, name = $3, owner = $4::text::uuid, owner_id = $5, version = $6,
           metadata = $7, user_metadata = $8
         where id = $1::text::uuid returning {columns}"
    );
    let row = session
        .query_one_cached(
            &sql,
            &[
                &id,
                &row.bucket,
                &row.name,
                &owner_uuid(row.owner),
                &row.owner,
                &row.version,
                &row.metadata,
                &row.user_metadata,
            ],
        )
        .await
        .map_err(|error| as_key_error(error.into()))?;
    read(&row)
}

/// Gives an object another name, as the caller; `NoSuchKey` where there is none that may be
/// changed.
pub(crate) async fn rename(
    session: &Session,
    from: (&str, &str),
    to: (&str, &str),
    version: &str,
    owner: Option<&str>,
) -> Result<Object> {
    let columns = columns("objects");
    let sql = format!(
        "update storage.objects set
           bucket_id = $3, name = $4, version = $5,
           owner = coalesce($6::text::uuid, owner), owner_id = coalesce($7, owner_id)
         where bucket_id = $1 and name = $2 returning {columns}"
    );
    let renamed = session
        .query_opt_cached(
            &sql,
            &[
                &from.0,
                &from.1,
                &to.0,
                &to.1,
                &version,
                &owner_uuid(owner),
                &owner,
            ],
        )
        .await
        .map_err(|error| as_key_error(error.into()))?;
    read(&renamed.ok_or_else(StorageError::no_such_key)?)
}

/// Deletes those of some names that the caller may see and delete.
pub(crate) async fn delete(
    session: &Session,
    bucket: &str,
    names: &[String],
) -> Result<Vec<Object>> {
    let columns = columns("objects");
    let sql = format!(
        "delete from storage.objects where bucket_id = $1 and name = any($2) returning {columns}"
    );
    let rows = session.query_cached(&sql, &[&bucket, &names]).await?;
    rows.iter().map(read).collect()
}

/// The ids of some objects of a bucket that the caller may see, always the same ones first: who
/// deletes them takes turns with others who do.
pub(crate) async fn some_ids(session: &Session, bucket: &str, limit: i64) -> Result<Vec<String>> {
    let sql = "select id::text from storage.objects where bucket_id = $1 order by name limit $2";
    let rows = session.query_cached(sql, &[&bucket, &limit]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Deletes those of some ids that the caller may delete.
pub(crate) async fn delete_ids(session: &Session, ids: &[String]) -> Result<Vec<Object>> {
    let columns = columns("objects");
    let sql = format!(
        "delete from storage.objects where id = any($1::text[]::uuid[]) returning {columns}"
    );
    let rows = session.query_cached(&sql, &[&ids]).await?;
    rows.iter().map(read).collect()
}

/// Whether the caller sees any of some ids.
pub(crate) async fn sees_any(session: &Session, ids: &[String]) -> Result<bool> {
    let sql = "select exists (select from storage.objects where id = any($1::text[]::uuid[]))";
    Ok(session.query_one_cached(sql, &[&ids]).await?.try_get(0)?)
}

/// Which of some contents no row has: their places in the arrays.
pub(crate) async fn orphans(
    session: &Session,
    buckets: &[&str],
    names: &[&str],
    versions: &[&str],
) -> Result<Vec<usize>> {
    let rows = session
        .query_cached(
            "select blob.at from unnest($1::text[], $2::text[], $3::text[])
               with ordinality as blob (bucket, name, version, at)
             where not exists (
               select from storage.objects o
               where o.bucket_id = blob.bucket and o.name = blob.name and o.version = blob.version
             )",
            &[&buckets, &names, &versions],
        )
        .await?;
    places(&rows)
}

/// One-based places as indices.
pub(super) fn places(rows: &[Row]) -> Result<Vec<usize>> {
    let place = |row: &Row| {
        let at: i64 = row.try_get(0)?;
        Ok(usize::try_from(at - 1).unwrap_or_default())
    };
    rows.iter().map(place).collect()
}

fn as_key_error(error: StorageError) -> StorageError {
    match error.status() {
        409 => StorageError::key_already_exists(),
        404 => StorageError::no_such_bucket(),
        _ => error,
    }
}
