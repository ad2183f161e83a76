//! Where the bytes lie: a local directory, or S3, Google Cloud Storage or Azure through the crate
//! `object_store`. Every content has a key of its own that is never written twice, so whoever
//! reads one reads it to its end, whatever is written meanwhile.

mod digest;
mod file;
mod key;
mod local;
mod remote;

use std::{ops::Range, path::Path, sync::Arc, time::SystemTime};

use bunbun_http::{Body, BoxError};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use url::Url;

pub(crate) use self::{digest::of_parts, key::EMPTY_SEGMENT};
pub use self::{
    digest::{Algorithm, Digests, Sums},
    key::{BlobKey, Found},
};
use self::{local::Local, remote::Remote};

/// The place of all bytes of an installation.
#[derive(Clone)]
pub enum Blobs {
    /// A directory of this machine.
    Local(Arc<Local>),
    /// A cloud's object storage.
    Remote(Arc<Remote>),
}

/// Why bytes cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The configured place cannot be used.
    #[error("{0}")]
    Place(String),
    /// There is nothing under the key.
    #[error("there are no bytes under the key")]
    NotFound,
    /// No space is left.
    #[error("no space is left for the bytes")]
    Full(#[source] BoxError),
    /// The file system failed.
    #[error("the file system failed")]
    Io(#[source] std::io::Error),
    /// The object store failed.
    #[error("the object store failed")]
    Store(#[source] object_store::Error),
    /// A blocking task panicked or was cancelled.
    #[error("a task of the storage broke off")]
    Task,
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(Box::new(error))
            }
            _ => Self::Io(error),
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Store(other),
        }
    }
}

impl From<BlobError> for crate::error::StorageError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound => Self::no_such_key(),
            BlobError::Full(_) => {
                let message = "No space is left for the object";
                Self::new(crate::error::Code::InternalError, 507, message).because(error)
            }
            other => Self::internal(other),
        }
    }
}

/// Content that was written to its end.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its size in bytes.
    pub size: u64,
    /// Its checksums.
    pub sums: Sums,
}

/// Content to read.
pub struct Blob {
    /// Its size in bytes.
    pub size: u64,
    source: Source,
}

enum Source {
    File(std::fs::File),
    Remote(Arc<Remote>, object_store::path::Path),
}

impl Blobs {
    /// Opens the place: a directory, `file://`, `s3://bucket/prefix`, `gs://…` or `az://…`; without
    /// a URL the directory `storage` below the data directory. Credentials of clouds come from the
    /// environment, as their own tools read them.
    ///
    /// # Errors
    /// When the place cannot be used, with what to set.
    pub fn open(url: Option<&str>, data_directory: &Path, fsync: bool) -> Result<Self, BlobError> {
        let local =
            |path: &Path| Local::open(path, fsync).map(|local| Self::Local(Arc::new(local)));
        match url {
            None => local(&data_directory.join("storage")),
            Some(url) if url.starts_with("file://") => {
                let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
                let message = "STORAGE_BACKEND is no file:// URL of an absolute path.";
                local(&path.ok_or_else(|| BlobError::Place(message.to_owned()))?)
            }
            Some(url) if url.contains("://") => Ok(Self::Remote(Arc::new(Remote::open(url)?))),
            Some(path) => local(Path::new(path)),
        }
    }

    /// An object store that was made elsewhere.
    #[must_use]
    pub fn of_store(store: Arc<dyn object_store::ObjectStore>, prefix: &str) -> Self {
        Self::Remote(Arc::new(Remote::new(store, prefix.into())))
    }

    /// Begins to write content under a key. Nothing is visible before [`Writer::finish`], and a writer that is
    /// dropped leaves nothing.
    #[must_use]
    pub fn writer(&self, key: &BlobKey, digests: Digests) -> Writer {
        match self {
            Self::Local(local) => Writer::Local(Box::new(local::Writer::new(
                Arc::clone(local),
                key.clone(),
                digests,
            ))),
            Self::Remote(remote) => Writer::Remote(Box::new(remote::Writer::new(
                Arc::clone(remote),
                key,
                digests,
            ))),
        }
    }

    /// Opens content.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] and failures of the place.
    pub async fn read(&self, key: &BlobKey) -> Result<Blob, BlobError> {
        match self {
            Self::Local(local) => {
                let (file, size) = local.open_blob(key)?;
                Ok(Blob {
                    size,
                    source: Source::File(file),
                })
            }
            Self::Remote(remote) => {
                let path = remote.path(key);
                let size = remote.size(&path).await?;
                Ok(Blob {
                    size,
                    source: Source::Remote(Arc::clone(remote), path),
                })
            }
        }
    }

    /// The same content under another key: a hard link, or the cloud's own copy.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] and failures of the place.
    pub async fn copy(&self, from: &BlobKey, to: &BlobKey) -> Result<(), BlobError> {
        match self {
            Self::Local(local) => local.link(from, to).await,
            Self::Remote(remote) => remote.copy(from, to).await,
        }
    }

    /// Removes contents; those that are gone already are no failure.
    ///
    /// # Errors
    /// Failures of the place; what could be removed is.
    pub async fn delete(&self, keys: Vec<BlobKey>) -> Result<(), BlobError> {
        match self {
            Self::Local(local) => local.delete(keys).await,
            Self::Remote(remote) => remote.delete(keys).await,
        }
    }

    /// Everything of a project that is older than a moment, in no order.
    pub fn list(
        &self,
        project: &str,
        older_than: SystemTime,
    ) -> BoxStream<'static, Result<Found, BlobError>> {
        match self {
            Self::Local(local) => local.list(project, older_than),
            Self::Remote(remote) => remote.list(project, older_than),
        }
    }

    /// Removes what broken-off writes left outside of any key, older than a moment; how many.
    ///
    /// # Errors
    /// Failures of the place.
    pub async fn sweep_temporary(&self, older_than: SystemTime) -> Result<u64, BlobError> {
        match self {
            Self::Local(local) => local.sweep_temporary(older_than).await,
            // A cloud shows no parts; its lifecycle rules end broken-off uploads.
            Self::Remote(_) => Ok(0),
        }
    }

    /// Writes the contents of some keys one after another under a new one.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] and failures of the place.
    pub async fn concat(&self, parts: &[BlobKey], to: &BlobKey) -> Result<u64, BlobError> {
        if let Self::Local(local) = self {
            return local.concat(parts.to_vec(), to.clone()).await;
        }
        let mut writer = self.writer(to, Digests::none());
        for part in parts {
            let blob = self.read(part).await?;
            let size = blob.size;
            let mut body = blob.body(0..size);
            while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
                let frame = frame.map_err(|error| BlobError::Io(std::io::Error::other(error)))?;
                if let Ok(bytes) = frame.into_data() {
                    writer.write(bytes).await?;
                }
            }
        }
        Ok(writer.finish().await?.size)
    }
}

impl Blob {
    /// A part of the content as a body, read ahead while it is sent.
    #[must_use]
    pub fn body(self, range: Range<u64>) -> Body {
        match self.source {
            Source::File(file) => Body::new(file::FileBody::new(file, range)),
            Source::Remote(remote, path) => remote.body(path, range),
        }
    }

    /// The content whole, where it is small enough.
    ///
    /// # Errors
    /// Failures of the place.
    pub async fn bytes(self) -> Result<Bytes, BlobError> {
        let size = self.size;
        let collected = http_body_util::BodyExt::collect(self.body(0..size)).await;
        collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| BlobError::Io(std::io::Error::other(error)))
    }
}

/// Content on its way in.
pub enum Writer {
    /// Into a file.
    Local(Box<local::Writer>),
    /// Into a cloud.
    Remote(Box<remote::Writer>),
}

impl Writer {
    /// Takes more; waits while the place is behind.
    ///
    /// # Errors
    /// Failures of the place.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        match self {
            Self::Local(writer) => writer.write(bytes).await,
            Self::Remote(writer) => writer.write(bytes).await,
        }
    }

    /// How many bytes it has taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Local(writer) => writer.size(),
            Self::Remote(writer) => writer.size(),
        }
    }

    /// Gives up and waits until nothing is left of it; a writer that is only dropped leaves nothing
    /// either, but a moment later.
    pub async fn abort(self) {
        match self {
            Self::Local(writer) => writer.abort().await,
            Self::Remote(writer) => drop(writer),
        }
    }

    /// Makes the content durable and then visible.
    ///
    /// # Errors
    /// Failures of the place; nothing is visible then.
    pub async fn finish(self) -> Result<Written, BlobError> {
        match self {
            Self::Local(writer) => writer.finish().await,
            Self::Remote(writer) => writer.finish().await,
        }
    }
}
