//! `DELETE /keys/{key}` and `POST /keys/bulk-delete`: UNLINK, which frees memory in a thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::Pipeline;

use super::scan::{Filter, MAX_COUNT, Scanner, total};
use crate::{
    Error,
    redis::{Redis, error::checked, reply, router::Repeat},
};

/// One step's share of the servers' time; afterwards they rest as long.
const STEP: Duration = Duration::from_millis(50);
/// Keys per UNLINK, so that each command is short.
const AT_ONCE: usize = 100;
/// Names that a step shows.
const SAMPLE: usize = 10;

impl Redis {
    /// Deletes a key; false when there was none.
    ///
    /// # Errors
    /// No server.
    pub async fn delete_key(&self, key: &[u8]) -> Result<bool, Error> {
        let mut command = redis::cmd("UNLINK");
        command.arg(key);
        let answer = self.router.command(key, command, Repeat::Never).await?;
        Ok(reply::count(&answer) > 0)
    }
}

/// Deletes, or only counts, what matches a pattern.
pub struct BulkDelete {
    redis: Arc<Redis>,
    dry_run: bool,
    scanner: Scanner,
    rest: Duration,
}

/// What one step did; numbers are to be added to those of the steps before.
#[derive(Debug, Clone, Default)]
pub struct BulkProgress {
    /// Keys that matched.
    pub matched: u64,
    /// Keys that were deleted: none in a dry run.
    pub deleted: u64,
    /// Keys looked at, about.
    pub scanned: u64,
    /// Keys that there are altogether.
    pub total: u64,
    /// Some of the names.
    pub sample: Vec<Vec<u8>>,
    /// Continues behind this step; `None` at the end.
    pub cursor: Option<String>,
}

impl BulkDelete {
    /// Starts, or continues at a cursor of the same pattern.
    ///
    /// # Errors
    /// An unknown cursor.
    pub fn new(
        redis: Arc<Redis>,
        pattern: Vec<u8>,
        value_type: Option<String>,
        dry_run: bool,
        cursor: Option<&str>,
    ) -> Result<Self, Error> {
        let purpose = if dry_run { "count" } else { "delete" };
        let filter = Filter::new(Some(pattern), value_type);
        let scanner = Scanner::new(&redis.router, purpose, filter, cursor)?;
        Ok(Self {
            redis,
            dry_run,
            scanner,
            rest: Duration::ZERO,
        })
    }

    /// The next step; `None` when every key has been seen.
    ///
    /// # Errors
    /// When a server cannot be asked. What earlier steps deleted stays deleted.
    pub async fn step(&mut self) -> Result<Option<BulkProgress>, Error> {
        if self.scanner.is_finished() {
            return Ok(None);
        }
        tokio::time::sleep(self.rest).await;
        let mut progress = BulkProgress {
            total: total(&self.redis.router).await?,
            ..BulkProgress::default()
        };
        let started = Instant::now();
        while !self.scanner.is_finished() && started.elapsed() < STEP {
            let batch = self.scanner.batch(MAX_COUNT).await?;
            progress.scanned += batch.examined;
            progress.matched += batch.keys.len() as u64;
            let room = SAMPLE - progress.sample.len();
            progress
                .sample
                .extend(batch.keys.iter().take(room).cloned());
            if !self.dry_run {
                progress.deleted += self.delete(&batch.keys).await?;
            }
            if self.scanner.server_done() {
                self.scanner.next_server();
            }
        }
        progress.scanned = progress.scanned.min(progress.total);
        self.rest = started.elapsed();
        self.scanner.rest();
        progress.cursor = self.scanner.cursor();
        Ok(Some(progress))
    }

    async fn delete(&mut self, keys: &[Vec<u8>]) -> Result<u64, Error> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut commands = Pipeline::new();
        if self.redis.is_cluster() {
            // Keys of one command have to be in one slot.
            for key in keys {
                commands.cmd("UNLINK").arg(key.as_slice());
            }
        } else {
            for some in keys.chunks(AT_ONCE) {
                commands.cmd("UNLINK").arg(some);
            }
        }
        let mut deleted = 0;
        for answer in self.scanner.own().await?.send_all(&commands).await? {
            deleted += reply::count(&checked(answer)?);
        }
        Ok(deleted)
    }
}
