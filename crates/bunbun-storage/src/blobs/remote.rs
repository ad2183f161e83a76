//! S3, Google Cloud Storage or Azure through the crate `object_store`. An object of a cloud is
//! visible only when it is complete, so content is written to its key at once.

use std::{ops::Range, sync::Arc, time::SystemTime};

use bunbun_http::{Body, BoxError};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use http_body_util::{BodyExt as _, StreamBody};
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
    path::Path as RemotePath,
};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::{BlobError, BlobKey, Digests, Found, Written, key::PARTS_PREFIX};

/// Bytes of one part of an upload: S3 wants 5 MiB at least and 10 000 parts at most. Parts grow
/// with the upload, so that 5 TiB fit.
const FIRST_PART: usize = 8 * 1024 * 1024;
/// Parts after which the next ones are twice as large.
const GROWS_AFTER: usize = 1000;
/// Parts of one upload that are under way at once, besides the one being filled.
const CONCURRENT_PARTS: usize = 2;

/// The object store.
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: RemotePath,
}

impl Remote {
    pub(super) fn open(url: &str) -> Result<Self, BlobError> {
        let place = |message: String| BlobError::Place(message);
        let parsed = Url::parse(url).map_err(|_| place("STORAGE_BACKEND is no URL.".to_owned()))?;
        if parsed.password().is_some()
            || !parsed.username().is_empty() && parsed.scheme() != "abfss"
        {
            let message = "STORAGE_BACKEND holds credentials; set them in the environment instead.";
            return Err(place(message.to_owned()));
        }
        let built: Result<Arc<dyn ObjectStore>, object_store::Error> = match parsed.scheme() {
            "s3" | "s3a" => AmazonS3Builder::from_env()
                .with_url(url)
                .build()
                .map(|s| Arc::new(s) as _),
            "gs" => GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .build()
                .map(|s| Arc::new(s) as _),
            "az" | "azure" | "abfs" | "abfss" => MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .build()
                .map(|s| Arc::new(s) as _),
            _ => {
                let message = "STORAGE_BACKEND is neither a directory nor a file://, s3://, gs:// or az:// URL.";
                return Err(place(message.to_owned()));
            }
        };
        let prefix = RemotePath::from_url_path(parsed.path())
            .map_err(|_| place("The path of STORAGE_BACKEND cannot be used.".to_owned()))?;
        let store =
            built.map_err(|error| place(format!("STORAGE_BACKEND cannot be used: {error}")))?;
        Ok(Self { store, prefix })
    }

    pub(super) const fn new(store: Arc<dyn ObjectStore>, prefix: RemotePath) -> Self {
        Self { store, prefix }
    }

    pub(super) fn path(&self, key: &BlobKey) -> RemotePath {
        self.below(&key.remote_path())
    }

    fn below(&self, path: &str) -> RemotePath {
        let whole = if self.prefix.as_ref().is_empty() {
            path.to_owned()
        } else {
            format!("{}/{path}", self.prefix)
        };
        // Names are checked, so this parses; else the encoded form is a key of its own, too.
        RemotePath::parse(&whole).unwrap_or_else(|_| RemotePath::from(whole))
    }

    pub(super) async fn size(&self, path: &RemotePath) -> Result<u64, BlobError> {
        Ok(self.store.head(path).await?.size)
    }

    pub(super) fn body(self: Arc<Self>, path: RemotePath, range: Range<u64>) -> Body {
        if range.is_empty() {
            return bunbun_http::body::empty();
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let opening = async move {
            let content = self.store.get_opts(&path, options).await?.into_stream();
            Ok::<_, object_store::Error>(content)
        };
        let frames = stream::once(opening)
            .try_flatten()
            .map_ok(http_body::Frame::data)
            .map_err(|error| Box::new(error) as BoxError);
        StreamBody::new(frames).boxed_unsync()
    }

    pub(super) async fn copy(&self, from: &BlobKey, to: &BlobKey) -> Result<(), BlobError> {
        Ok(self.store.copy(&self.path(from), &self.path(to)).await?)
    }

    pub(super) async fn delete(&self, keys: Vec<BlobKey>) -> Result<(), BlobError> {
        let paths = stream::iter(
            keys.iter()
                .map(|key| Ok(self.path(key)))
                .collect::<Vec<_>>(),
        );
        let mut deleting = self.store.delete_stream(paths.boxed());
        let mut failure = None;
        while let Some(deleted) = deleting.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    pub(super) fn list(
        &self,
        project: &str,
        older_than: SystemTime,
    ) -> BoxStream<'static, Result<Found, BlobError>> {
        let places = [project.to_owned(), format!("{PARTS_PREFIX}/{project}")];
        let lists = places.map(|place| self.store.list(Some(&self.below(&place))));
        let prefix = self.prefix.clone();
        stream::iter(lists)
            .flatten()
            .filter_map(move |listed| {
                let found = match listed {
                    Ok(meta) => {
                        let whole = meta.location.as_ref();
                        let below = whole.strip_prefix(prefix.as_ref()).unwrap_or(whole);
                        let modified = SystemTime::from(meta.last_modified);
                        BlobKey::from_remote(below.trim_start_matches('/'))
                            .filter(|_| modified < older_than)
                            .map(|key| Ok(Found { key, modified }))
                    }
                    Err(error) => Some(Err(error.into())),
                };
                std::future::ready(found)
            })
            .boxed()
    }
}

/// Writes content: small content at once, larger content in parts.
pub struct Writer {
    remote: Arc<Remote>,
    digests: Option<Digests>,
    hashing: Option<JoinHandle<Digests>>,
    unhashed: Vec<Bytes>,
    buffer: BytesMut,
    path: RemotePath,
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    count: usize,
    size: u64,
}

impl Writer {
    pub(super) fn new(remote: Arc<Remote>, key: &BlobKey, digests: Digests) -> Self {
        Self {
            path: remote.path(key),
            remote,
            digests: Some(digests),
            hashing: None,
            unhashed: Vec::new(),
            buffer: BytesMut::new(),
            upload: None,
            parts: JoinSet::new(),
            count: 0,
            size: 0,
        }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(&bytes);
        self.unhashed.push(bytes);
        let part = FIRST_PART << (self.count / GROWS_AFTER);
        if self.buffer.len() >= part {
            self.hash().await?;
            let ready = self.buffer.split().freeze();
            self.send(ready).await?;
        }
        Ok(())
    }

    /// Checksums are made on the blocking pool: an MD5 of megabytes would hold up the reactor.
    async fn hash(&mut self) -> Result<(), BlobError> {
        if let Some(hashing) = self.hashing.take() {
            self.digests = Some(hashing.await.map_err(|_| BlobError::Task)?);
        }
        let mut digests = self.digests.take().ok_or(BlobError::Task)?;
        let chunks = std::mem::take(&mut self.unhashed);
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            for chunk in &chunks {
                digests.update(chunk);
            }
            digests
        }));
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), BlobError> {
        while self.parts.len() >= CONCURRENT_PARTS {
            self.settle_one().await?;
        }
        if self.upload.is_none() {
            self.upload = Some(self.remote.store.put_multipart(&self.path).await?);
        }
        if let Some(upload) = &mut self.upload {
            self.parts
                .spawn(upload.put_part(PutPayload::from_bytes(part)));
            self.count += 1;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), BlobError> {
        match self.parts.join_next().await {
            Some(Ok(sent)) => Ok(sent?),
            Some(Err(_)) => Err(BlobError::Task),
            None => Ok(()),
        }
    }

    pub(super) async fn finish(mut self) -> Result<Written, BlobError> {
        self.hash().await?;
        let rest = self.buffer.split().freeze();
        if self.upload.is_none() {
            self.remote
                .store
                .put(&self.path, PutPayload::from_bytes(rest))
                .await?;
        } else {
            if !rest.is_empty() {
                self.send(rest).await?;
            }
            while !self.parts.is_empty() {
                self.settle_one().await?;
            }
            if let Some(mut upload) = self.upload.take() {
                upload.complete().await?;
            }
        }
        let hashing = self.hashing.take().ok_or(BlobError::Task)?;
        let digests = hashing.await.map_err(|_| BlobError::Task)?;
        Ok(Written {
            size: self.size,
            sums: digests.finish(),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.parts.abort_all();
        if let Some(mut upload) = self.upload.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            bunbun_core::task::spawn("abort upload", async move {
                let _ = upload.abort().await;
            });
        }
    }
}
