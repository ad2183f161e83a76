//! Where dumps lie: a local directory or S3, through the crate `object_store`. An object is
//! visible only when it is complete.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bunbun_core::id::{BackupId, ProjectRef};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetResultPayload, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path as Key,
};
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;
use url::Url;

use super::error::Error;

/// Size of one write to a local file.
const LOCAL_PART_BYTES: usize = 1024 * 1024;

/// Smallest part of an upload to S3; S3 itself wants 5 MiB.
const S3_PART_BYTES: u64 = 8 * 1024 * 1024;

/// Parts that S3 takes at most are 10 000; a dump is rarely larger than its database.
const S3_PARTS: u64 = 5_000;

/// Parts of one upload that are under way at once, besides the one being filled.
const CONCURRENT_PARTS: usize = 2;

/// Size of one read of a local file.
const READ_BYTES: usize = 256 * 1024;

/// The object store.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    /// Of a local store.
    directory: Option<PathBuf>,
}

/// An object that is read.
pub(super) struct Object {
    /// Its size.
    pub(super) bytes: u64,
    /// Its content.
    pub(super) content: BoxStream<'static, io::Result<Bytes>>,
}

impl Objects {
    /// Understands `BACKUPS_URL`: a directory, `file://` or `s3://bucket/prefix`, the latter with
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and so on from
    /// the environment. Without it, the directory `backups` below the data directory.
    pub(super) fn open(url: Option<&str>, data_directory: &Path) -> Result<Self, Error> {
        match url {
            None => Self::local(data_directory.join("backups")),
            Some(url) if url.starts_with("s3://") => Self::s3(url),
            Some(url) if url.starts_with("file://") => {
                let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
                let message = "BACKUPS_URL is no file:// URL of an absolute path.";
                Self::local(path.ok_or_else(|| Error::InvalidPlace(message.to_owned()))?)
            }
            Some(url) if url.contains("://") => {
                let message = "BACKUPS_URL is neither a directory nor a file:// or s3:// URL.";
                Err(Error::InvalidPlace(message.to_owned()))
            }
            Some(path) => Self::local(path.into()),
        }
    }

    fn local(directory: PathBuf) -> Result<Self, Error> {
        make_private(&directory).map_err(Error::Directory)?;
        let store = LocalFileSystem::new_with_prefix(&directory)
            .map_err(Error::Objects)?
            // A backup that was reported complete must survive a power cut.
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            prefix: Key::default(),
            directory: Some(directory),
        })
    }

    fn s3(url: &str) -> Result<Self, Error> {
        let invalid = |message: &str| Error::InvalidPlace(message.to_owned());
        let parsed = Url::parse(url).map_err(|_| invalid("BACKUPS_URL is no s3:// URL."))?;
        if parsed.password().is_some() || !parsed.username().is_empty() {
            let message = "BACKUPS_URL holds credentials; set AWS_ACCESS_KEY_ID and \
                           AWS_SECRET_ACCESS_KEY instead.";
            return Err(invalid(message));
        }
        let prefix = Key::from_url_path(parsed.path())
            .map_err(|_| invalid("The path of BACKUPS_URL cannot be used."))?;
        let store = AmazonS3Builder::from_env()
            .with_url(url)
            .with_retry(RetryConfig {
                max_retries: 4,
                retry_timeout: Duration::from_secs(60),
                ..RetryConfig::default()
            })
            .build()
            .map_err(Error::Objects)?;
        Ok(Self {
            store: Arc::new(store),
            prefix,
            directory: None,
        })
    }

    /// The key of a backup's object.
    pub(super) fn key(project: &ProjectRef, id: BackupId) -> String {
        format!("{project}/{id}.dump")
    }

    /// Begins an object of about that size.
    pub(super) async fn create(&self, key: &str, estimated_bytes: u64) -> Result<Upload, Error> {
        let path = self.path(key);
        let part_bytes = match &self.directory {
            Some(directory) => {
                if let Some((folder, _)) = key.rsplit_once('/') {
                    make_private(&directory.join(folder)).map_err(Error::Directory)?;
                }
                LOCAL_PART_BYTES
            }
            None => {
                let part = S3_PART_BYTES.max(estimated_bytes / S3_PARTS);
                usize::try_from(part).unwrap_or(usize::MAX)
            }
        };
        let upload = self.store.put_multipart(&path).await?;
        Ok(Upload {
            writer: Some(WriteMultipart::new_with_chunk_size(upload, part_bytes)),
            digest: Sha256::new(),
            bytes: 0,
        })
    }

    /// Opens an object.
    pub(super) async fn read(&self, key: &str) -> Result<Object, Error> {
        let result = self.store.get(&self.path(key)).await?;
        let bytes = result.meta.size;
        let content = match result.payload {
            // The crate's own stream reads 8 KiB at a time.
            GetResultPayload::File(file, _) => {
                let file = tokio::fs::File::from_std(file);
                ReaderStream::with_capacity(file, READ_BYTES).boxed()
            }
            GetResultPayload::Stream(stream) => stream.map_err(io::Error::other).boxed(),
        };
        Ok(Object { bytes, content })
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.store.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::Objects(error)),
        }
    }

    /// Files of a local store that are not complete: `ID.dump#N`. S3 hides such, and clears them
    /// away by the bucket's rule for incomplete uploads.
    pub(super) async fn partial_files(
        &self,
        project: &ProjectRef,
    ) -> Result<Vec<(BackupId, PathBuf)>, Error> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let mut entries = match tokio::fs::read_dir(directory.join(project.as_str())).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(Error::Directory(error)),
        };
        while let Some(entry) = entries.next_entry().await.map_err(Error::Directory)? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.split_once(".dump#"));
            if let Some(id) = id.and_then(|(id, _)| id.parse().ok()) {
                found.push((id, entry.path()));
            }
        }
        Ok(found)
    }

    fn path(&self, key: &str) -> Key {
        self.prefix.parts().chain(Key::from(key).parts()).collect()
    }
}

/// Makes a directory that nobody else can look into; one that exists stays as it is.
fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// An object that is being written. Unless it is finished, nothing of it remains.
pub(super) struct Upload {
    writer: Option<WriteMultipart>,
    digest: Sha256,
    bytes: u64,
}

impl Upload {
    /// Appends; waits while enough is under way.
    pub(super) async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.digest.update(&chunk);
        self.bytes += chunk.len() as u64;
        if let Some(writer) = &mut self.writer {
            writer.wait_for_capacity(CONCURRENT_PARTS).await?;
            writer.put(chunk);
        }
        Ok(())
    }

    /// Bytes so far.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Completes the object; answers with its size and SHA-256.
    pub(super) async fn finish(mut self) -> Result<(u64, [u8; 32]), Error> {
        if let Some(writer) = self.writer.take() {
            writer.finish().await?;
        }
        Ok((
            self.bytes,
            std::mem::take(&mut self.digest).finalize().into(),
        ))
    }

    /// Gives the object up.
    pub(super) async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            give_up(writer).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Cancelled: what S3 already holds would otherwise be kept, and paid for.
        if let Some(writer) = self.writer.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            bunbun_core::task::spawn("abort upload", give_up(writer));
        }
    }
}

async fn give_up(writer: WriteMultipart) {
    if let Err(error) = writer.abort().await {
        tracing::warn!(
            error = bunbun_core::error::chain(&error),
            "an incomplete upload was not cleared away"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bunbun_core::id::{BackupId, ProjectRef};
    use bytes::Bytes;
    use futures_util::TryStreamExt;

    use super::{Error, Objects};

    async fn read(objects: &Objects, key: &str) -> Vec<u8> {
        let object = objects.read(key).await.expect("an object");
        let chunks: Vec<Bytes> = object.content.try_collect().await.expect("its content");
        assert_eq!(
            chunks.iter().map(Bytes::len).sum::<usize>() as u64,
            object.bytes
        );
        chunks.concat()
    }

    #[tokio::test]
    async fn an_object_is_there_when_it_is_complete_and_not_before() {
        let data = tempfile::tempdir().expect("a directory");
        let objects = Objects::open(None, data.path()).expect("a store");
        let (project, id) = (ProjectRef::default_project(), BackupId::generate());
        let key = Objects::key(&project, id);
        let content = vec![7_u8; 3_000_000];
        let mut upload = objects.create(&key, 0).await.expect("an upload");
        for chunk in content.chunks(64 * 1024) {
            upload
                .write(Bytes::copy_from_slice(chunk))
                .await
                .expect("written");
        }
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
        assert_eq!(
            objects.partial_files(&project).await.expect("files")[0].0,
            id
        );
        let (bytes, digest) = upload.finish().await.expect("complete");
        assert_eq!(bytes, 3_000_000);
        assert_eq!(digest, bunbun_core::secret::digest(&content));
        assert_eq!(read(&objects, &key).await, content);
        assert!(
            objects
                .partial_files(&project)
                .await
                .expect("files")
                .is_empty()
        );
        for folder in ["backups", "backups/default"] {
            let mode = std::fs::metadata(data.path().join(folder)).expect("a folder");
            assert_eq!(mode.permissions().mode() & 0o777, 0o700, "{folder}");
        }
        objects.delete(&key).await.expect("deleted");
        objects.delete(&key).await.expect("deleted already");
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
    }

    #[tokio::test]
    async fn nothing_remains_of_an_upload_that_is_given_up() {
        let data = tempfile::tempdir().expect("a directory");
        let objects = Objects::open(None, data.path()).expect("a store");
        let project = ProjectRef::default_project();
        let key = Objects::key(&project, BackupId::generate());
        let mut upload = objects.create(&key, 0).await.expect("an upload");
        upload
            .write(Bytes::from(vec![1; 2_000_000]))
            .await
            .expect("written");
        upload.abort().await;
        assert!(
            objects
                .partial_files(&project)
                .await
                .expect("files")
                .is_empty()
        );
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
    }

    /// Runs where `TEST_BACKUPS_URL` names a bucket that may be written to, with `AWS_…` set.
    #[tokio::test]
    async fn a_bucket_keeps_objects_as_a_directory_does() {
        let Some(url) = std::env::var_os("TEST_BACKUPS_URL") else {
            eprintln!("SKIPPED: no TEST_BACKUPS_URL");
            return;
        };
        let objects = Objects::open(url.to_str(), "/nowhere".as_ref()).expect("a store");
        let key = Objects::key(&ProjectRef::default_project(), BackupId::generate());
        let content: Vec<u8> = (0..20_000_000_u32).map(|n| n as u8).collect();
        let mut given_up = objects.create(&key, 0).await.expect("an upload");
        given_up
            .write(Bytes::from(content.clone()))
            .await
            .expect("written");
        given_up.abort().await;
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
        let mut upload = objects.create(&key, 0).await.expect("an upload");
        for chunk in content.chunks(64 * 1024) {
            upload
                .write(Bytes::copy_from_slice(chunk))
                .await
                .expect("written");
        }
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
        upload.finish().await.expect("complete");
        assert!(read(&objects, &key).await == content, "the same comes back");
        objects.delete(&key).await.expect("deleted");
        objects.delete(&key).await.expect("deleted already");
        assert!(matches!(
            objects.read(&key).await,
            Err(Error::ObjectMissing)
        ));
    }

    #[test]
    fn places_are_understood() {
        let data = tempfile::tempdir().expect("a directory");
        let place = |url: &str| Objects::open(Some(url), data.path());
        let path = data.path().join("elsewhere").display().to_string();
        assert!(place(&path).is_ok_and(|objects| objects.directory.is_some()));
        assert!(place(&format!("file://{path}")).is_ok_and(|objects| objects.directory.is_some()));
        let bucket = place("s3://bucket/some/where").expect("a bucket");
        assert_eq!(
            bucket.path("default/x.dump").as_ref(),
            "some/where/default/x.dump"
        );
        for url in ["s3://key:hunter2@bucket", "ftp://host/x", "file://relative"] {
            let Err(error) = place(url) else {
                panic!("{url} was accepted")
            };
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
