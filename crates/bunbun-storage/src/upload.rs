//! An upload: the caller's right is proven with a row that is rolled back; then the bytes are
//! taken and made durable; then the real row is committed. Whatever happens in between leaves
//! bytes without a row, which the sweeper removes, and never a row without bytes.

use bunbun_core::{clock::Clock, task};
use bunbun_postgres::Transaction;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

use crate::{
    blobs::{BlobKey, Digests, Writer, Written},
    conditions,
    database::{
        buckets::{self, Bucket},
        objects::{self, Content, NewObject, Object},
    },
    error::{Result, StorageError},
    identity::Identity,
    mime, names,
    request::Session,
};

/// What is uploaded, beside its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) name: String,
    /// A new version: the bytes' key.
    pub(crate) version: String,
    /// Whose rights decide.
    pub(crate) who: Identity,
    pub(crate) owner: Option<String>,
    pub(crate) upsert: bool,
    /// Entity tags of which the object that is replaced must have one: `If-Match`.
    pub(crate) if_match: Option<String>,
    pub(crate) mimetype: String,
    pub(crate) cache_control: String,
    pub(crate) user_metadata: Option<Value>,
}

impl Upload {
    /// The key of its bytes.
    pub(crate) fn key(&self, session: &Session) -> BlobKey {
        BlobKey::object(
            session.project_ref(),
            &self.bucket,
            &self.name,
            Some(&self.version),
        )
    }

    fn row<'u>(&'u self, metadata: Option<&'u Value>) -> NewObject<'u> {
        NewObject {
            bucket: &self.bucket,
            name: &self.name,
            owner: self.owner.as_deref(),
            version: &self.version,
            metadata,
            user_metadata: self.user_metadata.as_ref(),
        }
    }
}

/// A version that no content has.
pub(crate) fn new_version() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A version of content that an upload in pieces brought: it tells which, by its first half, and
/// is another one each time, so that two who finish one upload do not share bytes.
pub(crate) fn version_of(upload: &str) -> String {
    let mut version = uuid::Uuid::new_v4().into_bytes();
    if let Ok(upload) = uuid::Uuid::try_parse(upload) {
        version[..8].copy_from_slice(&upload.as_bytes()[..8]);
    }
    uuid::Uuid::from_bytes(version).to_string()
}

/// Whether an upload in pieces brought the content of this version.
pub(crate) fn is_version_of(version: &str, upload: &str) -> bool {
    let half = |id: &str| uuid::Uuid::try_parse(id).map(|id| id.as_u64_pair().0);
    matches!((half(version), half(upload)), (Ok(a), Ok(b)) if a == b)
}

/// The bucket that an upload goes to, whoever may see it.
pub(crate) async fn bucket(session: &Session, id: &str) -> Result<Bucket> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    buckets::get(&transaction, id).await
}

/// The largest object that a bucket takes.
pub(crate) fn limit(session: &Session, bucket: &Bucket) -> u64 {
    let project = session.service.0.settings.file_size_limit;
    let own = bucket
        .file_size_limit
        .and_then(|limit| u64::try_from(limit).ok());
    own.filter(|limit| *limit > 0)
        .map_or(project, |limit| limit.min(project))
}

/// Proves that somebody may upload this: their row is written and rolled back.
pub(crate) async fn prove(session: &Session, upload: &Upload, declared: Option<u64>) -> Result<()> {
    names::new_key(&upload.name)?;
    if upload.upsert && upload.who.is_service() {
        return Ok(());
    }
    let metadata = serde_json::json!({
        "mimetype": upload.mimetype, "size": declared, "contentLength": declared,
    });
    let row = upload.row(Some(&metadata));
    let mut client = session.database.client().await?;
    let transaction = session.database.begin(&mut client, &upload.who).await?;
    if upload.upsert {
        objects::upsert(&transaction, &row).await.map(drop)
    } else {
        objects::insert_unseen(&transaction, &row).await
    }
}

/// Proves that somebody may replace what is there now, in the transaction that does it. A proof
/// before the body came is none: the object may be new since then, or another's.
async fn prove_replacement(
    session: &Session,
    transaction: &mut Transaction<'_>,
    upload: &Upload,
    row: &NewObject<'_>,
) -> Result<()> {
    if upload.who.is_service() {
        return Ok(());
    }
    let savepoint = transaction.savepoint().await?;
    session.database.assume(&savepoint, &upload.who).await?;
    objects::upsert(&savepoint, row).await?;
    savepoint.rollback().await?;
    Ok(())
}

/// Takes a body up to a limit.
pub(crate) async fn receive(
    mut writer: Writer,
    body: impl Stream<Item = Result<Bytes>>,
    limit: u64,
) -> Result<Writer> {
    match fill(&mut writer, body, limit).await {
        Ok(()) => Ok(writer),
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

async fn fill(
    writer: &mut Writer,
    body: impl Stream<Item = Result<Bytes>>,
    limit: u64,
) -> Result<()> {
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if writer.size() + chunk.len() as u64 > limit {
            return Err(StorageError::too_large());
        }
        writer.write(chunk).await?;
    }
    Ok(())
}

/// An upload of one body, from the proof to the commit.
pub(crate) async fn whole(
    session: &Session,
    upload: Upload,
    bucket: &Bucket,
    declared: Option<u64>,
    body: impl Stream<Item = Result<Bytes>>,
) -> Result<Object> {
    mime::check(&upload.mimetype, bucket.allowed_mime_types.as_deref())?;
    let limit = limit(session, bucket);
    if declared.is_some_and(|size| size > limit) {
        return Err(StorageError::too_large());
    }
    prove(session, &upload, declared).await?;
    let writer = session
        .service
        .0
        .blobs
        .writer(&upload.key(session), Digests::etag());
    let writer = receive(writer, body, limit).await?;
    let (object, ()) = complete_checked(session, upload, writer, |_| Ok(())).await?;
    Ok(object)
}

/// Makes the bytes durable and commits the row. Runs to its end even when the client goes away.
/// `check` looks at the bytes' checksums before anything is visible.
pub(crate) async fn complete_checked<T: Send + 'static>(
    session: &Session,
    upload: Upload,
    writer: Writer,
    check: impl FnOnce(&Written) -> Result<T> + Send + 'static,
) -> Result<(Object, T)> {
    let session = session.clone();
    let completing = task::spawn("complete upload", async move {
        let written = writer.finish().await?;
        match check(&written) {
            Ok(checked) => {
                let object = commit(&session, upload, written.size, &written.sums.md5()).await?;
                Ok((object, checked))
            }
            Err(error) => {
                discard(&session, vec![upload.key(&session)]).await;
                Err(error)
            }
        }
    });
    completing.await.map_err(StorageError::internal)?
}

/// Commits the row of bytes that are durable under their key; without success they are removed.
pub(crate) async fn commit(
    session: &Session,
    upload: Upload,
    size: u64,
    etag: &str,
) -> Result<Object> {
    let key = upload.key(session);
    match write_row(session, &upload, size, etag).await {
        Ok((object, previous)) => {
            if let Some(previous) = previous.filter(|previous| *previous != key) {
                discard(session, vec![previous]).await;
            }
            Ok(object)
        }
        Err(error) => {
            discard(session, vec![key]).await;
            Err(error)
        }
    }
}

async fn write_row(
    session: &Session,
    upload: &Upload,
    size: u64,
    etag: &str,
) -> Result<(Object, Option<BlobKey>)> {
    let metadata = content(
        &upload.mimetype,
        &upload.cache_control,
        size,
        etag,
        session.service.0.clock.as_ref(),
    )?;
    let row = upload.row(Some(&metadata));
    let mut client = session.database.client().await?;
    let mut transaction = session.database.begin_service(&mut client).await?;
    let known = objects::lock(&transaction, &upload.bucket, &upload.name).await?;
    if let Some(list) = &upload.if_match {
        let known = known.as_ref().ok_or_else(StorageError::no_such_key)?;
        conditions::check_match(list, &known.etag())?;
    }
    let written = match &known {
        Some(_) if !upload.upsert => return Err(StorageError::key_already_exists()),
        Some(known) => {
            prove_replacement(session, &mut transaction, upload, &row).await?;
            objects::replace(&transaction, &known.id, &row).await?
        }
        None => objects::insert(&transaction, &row).await?,
    };
    transaction.commit().await?;
    let previous = known.map(|known| blob_key(session, &known));
    Ok((written, previous))
}

/// The column `metadata`.
pub(crate) fn content(
    mimetype: &str,
    cache_control: &str,
    size: u64,
    etag: &str,
    clock: &dyn Clock,
) -> Result<Value> {
    let content = Content {
        e_tag: format!("\"{etag}\""),
        size,
        mimetype: mimetype.to_owned(),
        cache_control: cache_control.to_owned(),
        last_modified: iso(clock.now()),
        content_length: size,
        http_status_code: 200,
    };
    serde_json::to_value(content).map_err(StorageError::internal)
}

/// A moment as the original's JSON has it.
pub(crate) fn iso(moment: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment
        .to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}

/// The key of an object's bytes.
pub(crate) fn blob_key(session: &Session, object: &Object) -> BlobKey {
    BlobKey::object(
        session.project_ref(),
        &object.bucket_id,
        &object.name,
        object.version.as_deref(),
    )
}

/// Removes bytes that no row has any more. What cannot be removed now, the sweeper will.
pub(crate) async fn discard(session: &Session, keys: Vec<BlobKey>) {
    if let Err(error) = session.service.0.blobs.delete(keys).await {
        let error = bunbun_core::error::chain(&error);
        tracing::warn!(
            error,
            "bytes without a row could not be removed; the sweeper will"
        );
    }
}
