//! Uploads that come in pieces, whatever protocol brings them: each piece is content of its own,
//! and the last step writes them one after another.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_core::task;

use crate::{
    blobs::{BlobKey, Digests, Writer, Written, of_parts},
    database::{
        objects::Object,
        uploads::{self, Part, Upload},
    },
    error::{Code, Result, StorageError},
    identity::Identity,
    request::Session,
    upload::{self, new_version},
};

/// Most parts of an upload, as in S3.
pub(crate) const MAX_PARTS: i32 = 10_000;

/// Which part is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// This one; it replaces what was there.
    Number(i32),
    /// The one that begins at this offset, after all others.
    Offset(u64),
}

/// An upload of this id.
pub(crate) async fn find(session: &Session, id: &str) -> Result<Upload> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    uploads::get(&transaction, id).await
}

/// Some of an upload's parts, in order.
pub(crate) async fn list(session: &Session, id: &str, after: i32, limit: i64) -> Result<Vec<Part>> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    uploads::parts(&transaction, id, after, limit).await
}

/// How many bytes an upload has without one of its parts.
pub(crate) async fn size_without(session: &Session, id: &str, number: i32) -> Result<u64> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    uploads::size_without(&transaction, id, number).await
}

/// Begins to write a part; the version is its key.
pub(crate) fn writer(session: &Session, upload: &Upload, digests: Digests) -> (Writer, String) {
    let version = new_version();
    let key = BlobKey::part(session.project_ref(), &upload.id, &version);
    (session.service.0.blobs.writer(&key, digests), version)
}

/// Makes a part durable and notes it, where `check` finds nothing wrong with its checksums. Runs
/// to its end even when the client goes away. All parts together are at most so many bytes.
pub(crate) async fn add<T: Send + 'static>(
    session: &Session,
    upload: &Upload,
    place: Place,
    writer: Writer,
    version: String,
    most: u64,
    check: impl FnOnce(&Written) -> Result<T> + Send + 'static,
) -> Result<(Part, T)> {
    let (session, upload) = (session.clone(), upload.clone());
    let adding = task::spawn("add part", async move {
        let written = writer.finish().await?;
        let key = BlobKey::part(session.project_ref(), &upload.id, &version);
        let noted = match check(&written) {
            Ok(checked) => {
                let part = Part {
                    number: 0,
                    size: i64::try_from(written.size).unwrap_or(i64::MAX),
                    etag: format!("\"{}\"", written.sums.md5()),
                    version,
                    created_at: upload::iso(session.service.0.clock.now()),
                };
                let noted = note(&session, &upload.id, place, part, most).await;
                noted.map(|(part, replaced)| (part, replaced, checked))
            }
            Err(error) => Err(error),
        };
        match noted {
            Ok((part, replaced, checked)) => {
                let keys = replaced
                    .iter()
                    .map(|v| BlobKey::part(session.project_ref(), &upload.id, v));
                upload::discard(&session, keys.collect()).await;
                Ok((part, checked))
            }
            Err(error) => {
                upload::discard(&session, vec![key]).await;
                Err(error)
            }
        }
    });
    adding.await.map_err(StorageError::internal)?
}

async fn note(
    session: &Session,
    id: &str,
    place: Place,
    mut part: Part,
    most: u64,
) -> Result<(Part, Vec<String>)> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let locked = uploads::lock(&transaction, id).await?;
    part.number = match place {
        Place::Number(number) => number,
        Place::Offset(offset) => {
            if u64::try_from(locked.size) != Ok(offset) {
                return Err(StorageError::tus(409, "Upload-Offset conflict"));
            }
            uploads::last_part(&transaction, id).await? + 1
        }
    };
    let replaced = uploads::put_part(&transaction, &locked, &part, most).await?;
    transaction.commit().await?;
    Ok((part, replaced))
}

/// Writes the parts one after another as the object, commits its row, and forgets the upload.
/// Runs to its end even when the client goes away.
pub(crate) async fn complete(
    session: &Session,
    who: &Identity,
    if_match: Option<String>,
    upload: Upload,
    parts: Vec<Part>,
) -> Result<Object> {
    let bucket = upload::bucket(session, &upload.bucket).await?;
    let sizes = parts
        .iter()
        .map(|part| u64::try_from(part.size).unwrap_or(0));
    if sizes.sum::<u64>() > upload::limit(session, &bucket) {
        return Err(StorageError::too_large());
    }
    let (session, who) = (session.clone(), who.clone());
    let completing = task::spawn("complete upload", async move {
        let project = session.project_ref().to_owned();
        let keys: Vec<_> = parts
            .iter()
            .map(|part| BlobKey::part(&project, &upload.id, &part.version))
            .collect();
        let new = upload::Upload {
            bucket: upload.bucket.clone(),
            name: upload.key.clone(),
            version: upload::version_of(&upload.id),
            who,
            owner: upload.owner.clone(),
            upsert: upload.terms.upsert,
            if_match,
            mimetype: upload
                .terms
                .content_type
                .clone()
                .unwrap_or_else(|| crate::mime::OCTET_STREAM.to_owned()),
            cache_control: upload
                .terms
                .cache_control
                .clone()
                .unwrap_or_else(|| "no-cache".to_owned()),
            user_metadata: upload.user_metadata.clone(),
        };
        let size = match &keys[..] {
            [only] => {
                session
                    .service
                    .0
                    .blobs
                    .copy(only, &new.key(&session))
                    .await
                    .map_err(gone)?;
                parts
                    .iter()
                    .map(|part| u64::try_from(part.size).unwrap_or(0))
                    .sum()
            }
            keys => session
                .service
                .0
                .blobs
                .concat(keys, &new.key(&session))
                .await
                .map_err(gone)?,
        };
        let object = upload::commit(&session, new, size, &etag(&parts)).await?;
        abandon(&session, &upload.id).await?;
        Ok(object)
    });
    completing.await.map_err(StorageError::internal)?
}

fn gone(error: crate::blobs::BlobError) -> StorageError {
    match error {
        crate::blobs::BlobError::NotFound => StorageError::no_such_upload(),
        other => other.into(),
    }
}

/// The entity tag of content in parts; of one part alone it is that part's.
fn etag(parts: &[Part]) -> String {
    if let [only] = parts {
        return only.etag.trim_matches('"').to_owned();
    }
    let sums: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| from_hex(part.etag.trim_matches('"')))
        .collect();
    of_parts(sums.iter().map(Vec::as_slice))
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Forgets an upload and removes its parts.
pub(crate) async fn abandon(session: &Session, id: &str) -> Result<()> {
    let mut client = session.database.client().await?;
    let transaction = session.database.begin_service(&mut client).await?;
    let parts = uploads::parts(&transaction, id, 0, i64::from(MAX_PARTS) + 1).await?;
    if !uploads::delete(&transaction, id).await? {
        return Err(StorageError::no_such_upload());
    }
    transaction.commit().await?;
    let keys = parts
        .iter()
        .map(|part| BlobKey::part(session.project_ref(), id, &part.version));
    upload::discard(session, keys.collect()).await;
    Ok(())
}

/// Compares a checksum that a client sent, in base64, with the content's.
pub(crate) fn check_sum(expected: &str, actual: Option<&[u8]>) -> Result<()> {
    let expected = BASE64_STANDARD.decode(expected.trim()).ok();
    if expected.is_some() && expected.as_deref() == actual {
        return Ok(());
    }
    let message = "The checksum of the content is not the one that was sent";
    Err(StorageError::new(Code::InvalidChecksum, 400, message))
}
