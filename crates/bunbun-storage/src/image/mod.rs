//! Rendering of images: what is asked (`options`), how it is made (`render`), and how often at
//! once.

mod options;
mod render;

use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;
use tokio::sync::Semaphore;

pub(crate) use self::options::{Format, Options};
use self::render::Failure;
use crate::error::{Code, Result, StorageError};

/// Bytes of rendered images that are kept.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Renderings that wait for their turn; more are refused.
const MAX_WAITING: usize = 256;

/// A rendered image.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    pub(crate) bytes: Bytes,
    pub(crate) mimetype: &'static str,
}

/// Renders images on the blocking pool, as many at once as there are cores, and remembers them.
pub(crate) struct Renderer {
    max_pixels: u64,
    working: Arc<Semaphore>,
    waiting: Semaphore,
    cache: Cache<String, Rendered>,
}

impl Renderer {
    pub(crate) fn new(max_pixels: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let weigh = |key: &String, image: &Rendered| {
            u32::try_from(key.len() + image.bytes.len()).unwrap_or(u32::MAX)
        };
        Self {
            max_pixels,
            working: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(MAX_WAITING),
            cache: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(weigh)
                .build(),
        }
    }

    /// A rendering that is there already, or a new one; several who ask for the same wait for one.
    pub(crate) async fn render(
        &self,
        key: String,
        options: &Options,
        format: Format,
        source: impl Future<Output = Result<Bytes>> + Send,
    ) -> Result<Rendered> {
        if let Some(known) = self.cache.get(&key).await {
            return Ok(known);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| {
            StorageError::new(
                Code::ResourceLocked,
                503,
                "Too many images are being rendered; try again",
            )
        })?;
        let rendering = async {
            let permit = Arc::clone(&self.working)
                .acquire_owned()
                .await
                .map_err(StorageError::internal)?;
            let bytes = source.await?;
            let (options, max_pixels) = (options.clone(), self.max_pixels);
            let work = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                render::render(&bytes, &options, format, max_pixels)
            });
            work.await
                .map_err(StorageError::internal)?
                .map_err(StorageError::from)
        };
        let rendered = self.cache.try_get_with(key, rendering).await;
        rendered.map_err(|error: Arc<StorageError>| (*error).clone())
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        let message = match &failure {
            Failure::NoImage(_) => "The source is no image that can be rendered",
            Failure::TooManyPixels => "The source image has too many pixels",
            Failure::TooLong => "A side of the source image is longer than 65535 pixels",
            Failure::Encoding(_) => return Self::internal(failure),
        };
        Self::new(Code::InvalidRequest, 422, message).because(failure)
    }
}
