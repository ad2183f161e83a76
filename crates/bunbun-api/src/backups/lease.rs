//! The lease on a database while a node is at work on it.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use bunbun_core::id::{BackupId, ProjectRef};
use bunbun_store::{Store, backups};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::error::Error;

/// How often a node says that it is at work.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// After how much silence a node is taken for dead.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// After how much time without being able to say so a node gives up, well before others take it
/// for dead and its database for free.
const OUT_OF_TOUCH: Duration = Duration::from_secs(40);

/// Longest wait for one renewal.
const RENEW_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the control plane when the work is done and is to be noted.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a node is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Backup,
    Restore,
}

/// How far a backup is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: AtomicU64,
    pub(super) tables: AtomicU32,
}

/// A lease that this node holds.
pub(super) struct Lease<'a> {
    pub(super) store: &'a Store,
    pub(super) project: &'a ProjectRef,
    pub(super) id: BackupId,
    pub(super) node: &'a str,
    pub(super) work: Work,
}

impl Lease<'_> {
    /// Renews the lease and notes the progress, on and on; answers when it is lost.
    pub(super) async fn keep(&self, progress: &Progress) -> Error {
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_touch = Instant::now();
        loop {
            ticks.tick().await;
            let error = match timeout(RENEW_TIMEOUT, self.renew(progress)).await {
                Ok(Ok(())) => {
                    in_touch = Instant::now();
                    continue;
                }
                Ok(Err(Error::LeaseLost)) => return Error::LeaseLost,
                Ok(Err(error)) => bunbun_core::error::chain(&error),
                Err(elapsed) => elapsed.to_string(),
            };
            tracing::warn!(backup = %self.id, error, "cannot renew the lease");
            if in_touch.elapsed() > OUT_OF_TOUCH {
                return Error::LeaseLost;
            }
        }
    }

    /// Renews the lease once.
    pub(super) async fn renew(&self, progress: &Progress) -> Result<(), Error> {
        let client = self.store.client().await?;
        let (project, id, node) = (self.project, self.id, self.node);
        let held = match self.work {
            Work::Backup => {
                let bytes = progress.bytes.load(Ordering::Relaxed);
                let tables = progress.tables.load(Ordering::Relaxed);
                backups::update_progress(&client, project, id, node, bytes, tables).await?
            }
            Work::Restore => backups::update_restore_heartbeat(&client, project, id, node).await?,
        };
        if held { Ok(()) } else { Err(Error::LeaseLost) }
    }

    /// Notes the end of the work, however long the control plane is away.
    pub(super) async fn settle<T, F>(&self, mut note: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let started = Instant::now();
        loop {
            match note().await {
                Err(error) if started.elapsed() < SETTLE_TIMEOUT => {
                    let error = bunbun_core::error::chain(&error);
                    tracing::warn!(backup = %self.id, error, "cannot note the end of the work");
                    sleep(Duration::from_secs(1)).await;
                }
                noted => return noted,
            }
        }
    }
}
