//! A directory of this machine. Content is written to `tmp/`, flushed to the disk, and renamed to
//! its place below `data/`; then the directory is flushed, too. Only then is it said to be there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{BlobError, BlobKey, Digests, Found, Written};

/// Bytes that are gathered before they are handed to the disk's thread.
const BATCH: usize = 512 * 1024;
/// How often a directory that somebody else just removed is made again.
const ATTEMPTS: usize = 8;

/// The directory.
pub struct Local {
    data: PathBuf,
    temporary: PathBuf,
    fsync: bool,
}

impl Local {
    pub(super) fn open(root: &Path, fsync: bool) -> Result<Self, BlobError> {
        let failed = |error: io::Error| {
            BlobError::Place(format!(
                "{} cannot be used for files: {error}",
                root.display()
            ))
        };
        let root = std::path::absolute(root).map_err(failed)?;
        let local = Self {
            data: root.join("data"),
            temporary: root.join("tmp"),
            fsync,
        };
        for directory in [&local.data, &local.temporary] {
            make_directories(directory, false).map_err(failed)?;
        }
        Ok(local)
    }

    fn place(&self, key: &BlobKey) -> PathBuf {
        self.data.join(key.local_path())
    }

    pub(super) fn open_blob(&self, key: &BlobKey) -> Result<(File, u64), BlobError> {
        // One look at a directory entry: cheaper than the way to another thread.
        let file = File::open(self.place(key))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    pub(super) async fn link(
        self: &Arc<Self>,
        from: &BlobKey,
        to: &BlobKey,
    ) -> Result<(), BlobError> {
        let (local, from, to) = (Arc::clone(self), self.place(from), self.place(to));
        blocking(move || {
            // Contents never change, so two names may share one.
            match local.publish(&to, |to| fs::hard_link(&from, to)) {
                Err(error)
                    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) =>
                {
                    // A file system without links, or one that has enough of them.
                    let mut copy = Temporary::create(&local)?;
                    io::copy(&mut File::open(&from)?, &mut copy.file)?;
                    copy.publish_at(&local, &to)
                }
                other => other,
            }
        })
        .await
    }

    pub(super) async fn delete(self: &Arc<Self>, keys: Vec<BlobKey>) -> Result<(), BlobError> {
        let local = Arc::clone(self);
        blocking(move || {
            let mut failure = None;
            for key in keys {
                let path = local.place(&key);
                match fs::remove_file(&path) {
                    Ok(()) => local.prune(&path),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => failure = Some(error),
                }
            }
            failure.map_or(Ok(()), Err)
        })
        .await
    }

    /// Removes directories that became empty, up to the bucket's.
    fn prune(&self, path: &Path) {
        let mut directory = path.parent();
        while let Some(path) = directory.filter(|path| *path != self.data) {
            if fs::remove_dir(path).is_err() {
                return;
            }
            directory = path.parent();
        }
    }

    /// Makes content visible and the fact durable.
    fn publish(&self, path: &Path, put: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        let mut attempt = 0;
        loop {
            make_directories(parent, self.fsync)?;
            match put(path) {
                // Whoever removed the last content may have removed the directory meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        if self.fsync {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    pub(super) async fn concat(
        self: &Arc<Self>,
        parts: Vec<BlobKey>,
        to: BlobKey,
    ) -> Result<u64, BlobError> {
        let local = Arc::clone(self);
        blocking(move || {
            let mut into = Temporary::create(&local)?;
            let mut size = 0;
            for part in &parts {
                // The kernel copies, and file systems that can share the blocks.
                size += io::copy(&mut File::open(local.place(part))?, &mut into.file)?;
            }
            into.publish(&local, &to)?;
            Ok(size)
        })
        .await
    }

    pub(super) fn list(
        &self,
        project: &str,
        older_than: SystemTime,
    ) -> BoxStream<'static, Result<Found, BlobError>> {
        let anywhere = BlobKey::object(project, "b", "n", None).local_path();
        let first = anywhere
            .components()
            .next()
            .map(|c| c.as_os_str().to_owned());
        let root = self.data.join(first.unwrap_or_default());
        let walk = Walk {
            root: self.data.clone(),
            pending: vec![root],
            older_than,
        };
        // One directory after another, each on the blocking pool.
        let steps = stream::unfold(walk, |mut walk| async move {
            if walk.pending.is_empty() {
                return None;
            }
            let step = spawn_blocking(move || {
                let found = walk.step();
                (walk, found)
            });
            match step.await {
                Ok((walk, Ok(found))) => {
                    Some((found.into_iter().map(Ok).collect::<Vec<_>>(), walk))
                }
                Ok((mut walk, Err(error))) => {
                    walk.pending.clear();
                    Some((vec![Err(error.into())], walk))
                }
                Err(_) => None,
            }
        });
        steps.flat_map(stream::iter).boxed()
    }

    pub(super) async fn sweep_temporary(
        self: &Arc<Self>,
        older_than: SystemTime,
    ) -> Result<u64, BlobError> {
        let local = Arc::clone(self);
        blocking(move || {
            let mut removed = 0;
            for entry in fs::read_dir(&local.temporary)? {
                let entry = entry?;
                let old = entry.metadata()?.modified()? < older_than;
                if old && fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await
    }
}

/// A walk through the directories of a project.
struct Walk {
    root: PathBuf,
    pending: Vec<PathBuf>,
    older_than: SystemTime,
}

impl Walk {
    fn step(&mut self) -> io::Result<Vec<Found>> {
        let Some(directory) = self.pending.pop() else {
            return Ok(Vec::new());
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.pending.push(entry.path());
                continue;
            }
            let path = entry.path();
            let below = path.strip_prefix(&self.root).ok();
            let pieces = below.into_iter().flat_map(Path::components);
            let pieces: Option<Vec<_>> = pieces.map(|c| c.as_os_str().to_str()).collect();
            // A file that is not ours stays.
            let Some(key) = pieces.and_then(BlobKey::from_local) else {
                continue;
            };
            // When it got this name: a link to old content is new, and its row may be under way.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            if modified < self.older_than {
                found.push(Found { key, modified });
            }
        }
        Ok(found)
    }
}

/// Makes directories that only we may enter; with `fsync` their entries are durable.
fn make_directories(path: &Path, fsync: bool) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directories(parent, fsync)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) if fsync => File::open(parent)?.sync_all()?,
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // Removed in between by whoever emptied it: once more from above.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_directories(parent, fsync)?;
                DirBuilder::new().mode(0o700).create(path)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    spawn_blocking(work)
        .await
        .map_err(|_| BlobError::Task)?
        .map_err(Into::into)
}

/// A file without a key yet; gone when it is dropped.
struct Temporary {
    file: File,
    path: Option<PathBuf>,
}

impl Temporary {
    fn create(local: &Local) -> io::Result<Self> {
        let path = local.temporary.join(uuid::Uuid::new_v4().to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            path: Some(path),
        })
    }

    fn publish(self, local: &Local, key: &BlobKey) -> io::Result<()> {
        self.publish_at(local, &local.place(key))
    }

    fn publish_at(mut self, local: &Local, place: &Path) -> io::Result<()> {
        if local.fsync {
            self.file.sync_data()?;
        }
        let Some(path) = &self.path else {
            return Ok(());
        };
        local.publish(place, |to| fs::rename(path, to))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// What a thread of the blocking pool holds while it writes.
struct Open {
    local: Arc<Local>,
    file: Option<Temporary>,
    digests: Digests,
}

impl Open {
    fn write(&mut self, batch: &[Bytes]) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(Temporary::create(&self.local)?);
        }
        if let Some(open) = &mut self.file {
            write_all(&mut open.file, batch)?;
        }
        if !self.digests.is_empty() {
            for chunk in batch {
                self.digests.update(chunk);
            }
        }
        Ok(())
    }
}

/// Writes all chunks with as few system calls as can be.
fn write_all(file: &mut File, batch: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = batch.iter().map(|chunk| io::IoSlice::new(chunk)).collect();
    let mut rest = slices.as_mut_slice();
    io::IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => io::IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes content: one batch is on the disk's thread while the next one is gathered.
pub struct Writer {
    key: BlobKey,
    /// Elsewhere while a batch is written.
    open: Option<Open>,
    writing: Option<JoinHandle<io::Result<Open>>>,
    batch: Vec<Bytes>,
    gathered: usize,
    size: u64,
}

impl Writer {
    pub(super) fn new(local: Arc<Local>, key: BlobKey, digests: Digests) -> Self {
        Self {
            key,
            open: Some(Open {
                local,
                file: None,
                digests,
            }),
            writing: None,
            batch: Vec::new(),
            gathered: 0,
            size: 0,
        }
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.size += bytes.len() as u64;
        self.gathered += bytes.len();
        self.batch.push(bytes);
        if self.gathered >= BATCH {
            let mut open = self.settled().await?;
            let batch = std::mem::take(&mut self.batch);
            self.gathered = 0;
            self.writing = Some(spawn_blocking(move || {
                open.write(&batch)?;
                Ok(open)
            }));
        }
        Ok(())
    }

    /// What the disk's thread holds, once it has written its batch.
    async fn settled(&mut self) -> Result<Open, BlobError> {
        if let Some(writing) = self.writing.take() {
            return Ok(writing.await.map_err(|_| BlobError::Task)??);
        }
        self.open.take().ok_or(BlobError::Task)
    }

    pub(super) async fn abort(mut self) {
        // What is settled is dropped, and takes its file with it.
        let _ = self.settled().await;
    }

    pub(super) async fn finish(mut self) -> Result<Written, BlobError> {
        let mut open = self.settled().await?;
        let (batch, key, size) = (std::mem::take(&mut self.batch), self.key, self.size);
        blocking(move || {
            open.write(&batch)?;
            let Open {
                local,
                file,
                digests,
            } = open;
            if let Some(file) = file {
                file.publish(&local, &key)?;
            }
            Ok(Written {
                size,
                sums: digests.finish(),
            })
        })
        .await
    }
}
