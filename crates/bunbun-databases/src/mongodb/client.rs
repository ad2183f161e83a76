//! The connections to one user's MongoDB: bounded, timed, and renewed when the server moves.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::egress::Egress;
use futures_util::StreamExt as _;
use mongodb::{
    bson::{Document, raw::cstr},
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{
    command::Command,
    connect::{self, Live},
    document::Condition,
    fault,
};
use crate::{Error, Limits, PoolStatus, Settings, TlsMode};

/// A server gets so much longer than it was told to take before its answer is not waited for.
const GRACE: Duration = Duration::from_millis(500);
/// How soon after a failed attempt to find the server the next one may begin.
const REDIAL: Duration = Duration::from_millis(500);

/// Connections to one server or replica set. Cheap to clone.
#[derive(Clone)]
pub struct Mongodb {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    egress: Egress,
    limits: Limits,
    live: Mutex<Option<Arc<Live>>>,
    /// Held by whoever looks for the server; the time of the last failure.
    dialling: AsyncMutex<Option<Instant>>,
    /// Whether the server that is connected has to be looked for again.
    stale: AtomicBool,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many [`Condition`]s the server does not know.
    unknown_conditions: AtomicUsize,
    /// Whether the server does not know all types in `$type`.
    lacks_rare_types: AtomicBool,
}

impl Mongodb {
    /// Connects and asks the server for a sign of life.
    pub(super) async fn dial(
        settings: &Settings,
        egress: &Egress,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let live = connect::dial(settings, egress, limits).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings: settings.clone(),
                egress: egress.clone(),
                limits: *limits,
                live: Mutex::new(Some(Arc::new(live))),
                dialling: AsyncMutex::new(None),
                stale: AtomicBool::new(false),
                permits: Arc::new(Semaphore::new(limits.max_connections)),
                waiting: AtomicUsize::new(0),
                unknown_conditions: AtomicUsize::new(0),
                lacks_rare_types: AtomicBool::new(false),
            }),
        })
    }

    /// Runs a command that answers with one document; once.
    pub(super) async fn run(&self, database: &str, command: Command) -> Result<Document, Error> {
        let _permit = self.permit().await?;
        self.attempt(database, command).await
    }

    /// Runs a command that changes nothing; a second time where the connection broke.
    pub(super) async fn read(&self, database: &str, command: Command) -> Result<Document, Error> {
        let _permit = self.permit().await?;
        match self.attempt(database, command.clone()).await {
            Err(error) if self.is_stale() && fault::is_lost(&error) => {
                self.attempt(database, command).await
            }
            other => other,
        }
    }

    async fn attempt(&self, database: &str, command: Command) -> Result<Document, Error> {
        let live = self.live().await?;
        let database = live.client.database(database);
        let timed = self.timed(command.clone());
        let work = async {
            match database.run_raw_command(timed.into_document()).await {
                // Some servers do not know it everywhere. They have done nothing yet, and we do
                // not wait for longer than it says.
                Err(error) if fault::is_unknown_limit(&error) => {
                    database.run_raw_command(command.into_document()).await
                }
                other => other,
            }
        };
        self.within(work).await
    }

    /// Opens a cursor for a command that changes nothing; a second time where the connection broke.
    pub(super) async fn open(&self, database: &str, command: Command) -> Result<Batches, Error> {
        let permit = self.permit().await?;
        let cursor = match self.cursor(database, command.clone()).await {
            Err(error) if self.is_stale() && fault::is_lost(&error) => {
                self.cursor(database, command).await?
            }
            other => other?,
        };
        Ok(self.batches(cursor, permit))
    }

    /// Opens a cursor for a command that may write; once.
    pub(super) async fn open_once(
        &self,
        database: &str,
        command: Command,
    ) -> Result<Batches, Error> {
        let permit = self.permit().await?;
        let cursor = self.cursor(database, command).await?;
        Ok(self.batches(cursor, permit))
    }

    fn batches(
        &self,
        (cursor, live): (RawBatchCursor, Arc<Live>),
        permit: OwnedSemaphorePermit,
    ) -> Batches {
        Batches {
            cursor,
            _live: live,
            mongodb: self.clone(),
            deadline: Instant::now() + self.shared.limits.operation_timeout + GRACE,
            _permit: permit,
        }
    }

    async fn cursor(
        &self,
        database: &str,
        command: Command,
    ) -> Result<(RawBatchCursor, Arc<Live>), Error> {
        let live = self.live().await?;
        let database = live.client.database(database);
        let command = self.timed(command).into_document();
        let cursor = self
            .within(async { database.run_raw_cursor_command(command).batch().await })
            .await?;
        Ok((cursor, live))
    }

    fn timed(&self, command: Command) -> Command {
        let milliseconds = self.shared.limits.operation_timeout.as_millis();
        command.set(
            cstr!("maxTimeMS"),
            i32::try_from(milliseconds).unwrap_or(i32::MAX),
        )
    }

    /// Waits for the driver as long as an operation may take.
    async fn within<T>(
        &self,
        work: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Error> {
        let outcome = timeout(self.shared.limits.operation_timeout + GRACE, work).await;
        self.noted(
            outcome
                .map_err(|_| Error::timeout())
                .and_then(|done| done.map_err(fault::from_driver)),
        )
    }

    /// Remembers that the server has to be looked for again.
    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &outcome
            && fault::is_lost(error)
        {
            self.shared.stale.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn is_stale(&self) -> bool {
        self.shared.stale.load(Ordering::Relaxed)
    }

    /// A place among the operations at once; refused where too many wait already.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let shared = &self.shared;
        if let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::new(&shared.waiting, shared.limits.max_waiting)?;
        let acquired = timeout(
            shared.limits.connect_timeout,
            Arc::clone(&shared.permits).acquire_owned(),
        )
        .await;
        match acquired {
            Ok(Ok(permit)) => Ok(permit),
            // Closed by `close`.
            Ok(Err(_)) => Err(fault::closed()),
            Err(_) => Err(fault::exhausted()),
        }
    }

    /// The client of the server, found again where it was lost.
    async fn live(&self) -> Result<Arc<Live>, Error> {
        let shared = &self.shared;
        if !self.is_stale()
            && let Some(live) = shared.live.lock().clone()
        {
            return Ok(live);
        }
        let mut failed = shared.dialling.lock().await;
        // Somebody else may have found it while we waited.
        if !self.is_stale()
            && let Some(live) = shared.live.lock().clone()
        {
            return Ok(live);
        }
        if failed.is_some_and(|at| at.elapsed() < REDIAL) {
            return Err(Error::connection_failed(
                "the server was not found a moment ago",
            ));
        }
        if shared.permits.is_closed() {
            return Err(fault::closed());
        }
        match connect::dial(&shared.settings, &shared.egress, &shared.limits).await {
            Ok(live) => {
                let live = Arc::new(live);
                *failed = None;
                let old = shared.live.lock().replace(Arc::clone(&live));
                shared.stale.store(false, Ordering::Relaxed);
                drop(old);
                Ok(live)
            }
            Err(error) => {
                *failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    /// Closes everything; later operations are refused.
    pub(super) async fn close(&self) {
        self.shared.permits.close();
        self.shared.stale.store(true, Ordering::Relaxed);
        let live = self.shared.live.lock().take();
        if let Some(live) = live {
            live.client.clone().shutdown().immediate(true).await;
        }
    }

    pub(super) fn uses_tls(&self) -> bool {
        self.shared.settings.tls != TlsMode::Disable
    }

    pub(super) fn pool_status(&self) -> PoolStatus {
        let shared = &self.shared;
        let in_use = shared.limits.max_connections - shared.permits.available_permits();
        let open = shared
            .live
            .lock()
            .as_ref()
            .map_or(0, |live| live.open_connections());
        PoolStatus {
            size: shared.limits.max_connections,
            in_use,
            idle: open.saturating_sub(in_use),
            waiting: shared.waiting.load(Ordering::Relaxed),
        }
    }

    pub(super) fn knows_rare_types(&self) -> bool {
        !self.shared.lacks_rare_types.load(Ordering::Relaxed)
    }

    pub(super) fn without_rare_types(&self) {
        self.shared.lacks_rare_types.store(true, Ordering::Relaxed);
    }

    /// The most exact condition that the server has not refused.
    pub(super) fn condition(&self) -> Condition {
        let unknown = self.shared.unknown_conditions.load(Ordering::Relaxed);
        Condition::ALL[unknown.min(Condition::ALL.len() - 1)]
    }

    /// The server does not know this condition.
    pub(super) fn without(&self, condition: Condition) {
        let known = Condition::ALL.iter().position(|other| *other == condition);
        self.shared
            .unknown_conditions
            .fetch_max(known.unwrap_or_default() + 1, Ordering::Relaxed);
    }
}

/// One more that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, most: usize) -> Result<Self, Error> {
        let counted = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(fault::exhausted());
        }
        Ok(counted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Batches of documents from a cursor. Dropping it closes the cursor on the server.
pub(super) struct Batches {
    cursor: RawBatchCursor,
    /// The relay goes with it, and the cursor's connection with the relay.
    _live: Arc<Live>,
    mongodb: Mongodb,
    deadline: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Batches {
    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RawBatch>, Error> {
        let next = timeout_at(self.deadline, self.cursor.next()).await;
        let next = next
            .map_err(|_| Error::timeout())
            .and_then(|batch| batch.transpose().map_err(fault::from_driver));
        self.mongodb.noted(next)
    }
}
