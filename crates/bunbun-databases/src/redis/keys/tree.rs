//! `GET /keys/tree`: the folders below a prefix and how many keys each has, bit by bit.
//!
//! Counting everything takes as long as there are keys. So it is done in steps: each brings what
//! it found since the one before, nothing is kept, and between two steps the server rests.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::scan::{Filter, MAX_COUNT, Scanner, total};
use crate::{
    Error,
    redis::{Redis, text::beginning_with},
};

/// One step's share of the servers' time; afterwards they rest as long.
const STEP: Duration = Duration::from_millis(50);
/// Keys that stand directly below the prefix are named in a step up to this number.
const NAMED: usize = 1000;

/// A walk over the keys below a prefix.
pub struct KeyTree {
    redis: Arc<Redis>,
    prefix: Vec<u8>,
    delimiter: Vec<u8>,
    scanner: Scanner,
    rest: Duration,
}

/// What one step found. Counts are to be added to those of the steps before.
#[derive(Debug, Clone, Default)]
pub struct TreeProgress {
    /// Folders, without the prefix and the delimiter, and how many keys more are in each.
    pub folders: Vec<(Vec<u8>, u64)>,
    /// Keys directly below the prefix, whole names; at most 1000.
    pub keys: Vec<Vec<u8>>,
    /// How many keys more are directly below the prefix.
    pub key_count: u64,
    /// Keys looked at in this step, about.
    pub scanned: u64,
    /// Keys that there are altogether.
    pub total: u64,
    /// Continues behind this step; `None` at the end.
    pub cursor: Option<String>,
}

impl KeyTree {
    /// Starts, or continues at a cursor of the same tree.
    ///
    /// # Errors
    /// An unknown cursor, or an empty delimiter.
    pub fn new(
        redis: Arc<Redis>,
        prefix: Vec<u8>,
        delimiter: Vec<u8>,
        cursor: Option<&str>,
    ) -> Result<Self, Error> {
        if delimiter.is_empty() {
            return Err(crate::redis::error::invalid("The delimiter is empty."));
        }
        let filter = Filter::new(Some(beginning_with(&prefix)), None);
        let scanner = Scanner::new(&redis.router, "tree", filter, cursor)?;
        Ok(Self {
            redis,
            prefix,
            delimiter,
            scanner,
            rest: Duration::ZERO,
        })
    }

    /// The next step; `None` when every key has been seen.
    ///
    /// # Errors
    /// When a server cannot be asked.
    pub async fn step(&mut self) -> Result<Option<TreeProgress>, Error> {
        if self.scanner.is_finished() {
            return Ok(None);
        }
        tokio::time::sleep(self.rest).await;
        let mut progress = TreeProgress {
            total: total(&self.redis.router).await?,
            ..TreeProgress::default()
        };
        let mut folders = HashMap::new();
        let started = Instant::now();
        while !self.scanner.is_finished() && started.elapsed() < STEP {
            let batch = self.scanner.batch(MAX_COUNT).await?;
            progress.scanned += batch.examined;
            for key in batch.keys {
                match self.folder_of(&key) {
                    Some(length) => {
                        let folder = key[self.prefix.len()..][..length].to_vec();
                        *folders.entry(folder).or_insert(0_u64) += 1;
                    }
                    None => {
                        progress.key_count += 1;
                        if progress.keys.len() < NAMED {
                            progress.keys.push(key);
                        }
                    }
                }
            }
            if self.scanner.server_done() {
                self.scanner.next_server();
            }
        }
        // The last steps through a table are shorter than was asked for.
        progress.scanned = progress.scanned.min(progress.total);
        self.rest = started.elapsed();
        self.scanner.rest();
        progress.folders = folders.into_iter().collect();
        progress.folders.sort();
        progress.cursor = self.scanner.cursor();
        Ok(Some(progress))
    }

    /// The length of the folder's name behind the prefix, if the key is in one.
    fn folder_of(&self, key: &[u8]) -> Option<usize> {
        let rest = key.get(self.prefix.len()..)?;
        memchr::memmem::find(rest, &self.delimiter)
    }
}
