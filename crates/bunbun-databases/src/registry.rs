//! The pools of all stored connections, one per connection and version of its settings.
//!
//! A pool is opened by its first user; the others wait for that one attempt, and get its failure if
//! it fails, instead of each trying in turn. A change or removal of a connection retires its pool at
//! once: new callers get a new one, work in hand ends on the old one. A sweep closes pools that
//! nobody used for a while and replaces those that do not answer. A project has a bounded number of
//! pools; the one that rested longest makes room.

mod driver;

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bunbun_core::{
    Classify as _,
    egress::Egress,
    id::{ConnectionId, ProjectRef},
    shutdown::Shutdown,
    task,
};
use parking_lot::Mutex;

use crate::{Database, DatabaseType, Error, Limits, PoolStatus, ServerInfo, Settings};
use driver::{Driver, Engine, Pooled};

/// When to try again where a bound was reached.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest wait for all pools to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds of the registry.
#[derive(Debug, Clone, Copy)]
pub struct RegistryLimits {
    /// Of each pool.
    pub pool: Limits,
    /// Most pools of one project.
    pub pools_per_project: usize,
    /// How long a pool, and a connection in one, may rest.
    pub idle_timeout: Duration,
    /// How often the sweep looks.
    pub sweep_interval: Duration,
    /// Longest wait for a pool's answer to the sweep.
    pub health_timeout: Duration,
    /// Longest trial of a connection, and the time after which every failed one is told.
    pub test_timeout: Duration,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            pool: Limits::default(),
            pools_per_project: 20,
            idle_timeout: Duration::from_secs(300),
            sweep_interval: Duration::from_secs(60),
            health_timeout: Duration::from_secs(5),
            test_timeout: Duration::from_secs(5),
        }
    }
}

/// Which stored connection, in which version of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKey {
    /// Whose it is.
    pub project: ProjectRef,
    /// The connection.
    pub id: ConnectionId,
    /// The version.
    pub version: i64,
}

/// A trial that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// One round trip.
    pub latency: Duration,
    /// What the server says of itself.
    pub server: ServerInfo,
}

/// The pools. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    drivers: HashMap<DatabaseType, Arc<dyn Driver>>,
    egress: Egress,
    limits: RegistryLimits,
    slots: Mutex<HashMap<ConnectionId, Arc<Slot>>>,
    /// Versions that were changed or removed lately, and when: a caller who read the connection
    /// before that must not open it again.
    past: Mutex<HashMap<ConnectionId, (i64, Instant)>>,
    /// Versions whose server answered once. Failures of others are told as late as a trial's.
    reached: Mutex<HashMap<ConnectionId, i64>>,
}

/// The place of one pool.
struct Slot {
    key: PoolKey,
    database_type: DatabaseType,
    /// Held while somebody opens the pool.
    state: tokio::sync::Mutex<State>,
    /// The pool, once it is there, for those who only look.
    open: Mutex<Option<Pooled>>,
    waiting: AtomicUsize,
    is_retired: AtomicBool,
    last_used: Mutex<Instant>,
}

#[derive(Default)]
struct State {
    pool: Option<Pooled>,
    failure: Option<(Instant, Error)>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("pools", &self.0.slots.lock().len())
            .finish_non_exhaustive()
    }
}

/// Makes a [`Registry`].
pub struct Builder {
    drivers: HashMap<DatabaseType, Arc<dyn Driver>>,
    egress: Egress,
    limits: RegistryLimits,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.drivers.keys().collect();
        f.debug_tuple("Builder").field(&kinds).finish()
    }
}

impl Builder {
    /// Adds an engine.
    #[must_use]
    pub fn with<D: Database>(mut self) -> Self {
        self.drivers.insert(D::TYPE, Arc::new(Engine::<D>::new()));
        self
    }

    /// The registry. Nothing connects yet.
    #[must_use]
    pub fn build(self) -> Registry {
        Registry(Arc::new(Inner {
            drivers: self.drivers,
            egress: self.egress,
            limits: self.limits,
            slots: Mutex::default(),
            past: Mutex::default(),
            reached: Mutex::default(),
        }))
    }
}

impl Registry {
    /// Begins a registry whose engines connect where `egress` lets them.
    #[must_use]
    pub fn builder(egress: Egress, limits: RegistryLimits) -> Builder {
        Builder {
            drivers: HashMap::new(),
            egress,
            limits,
        }
    }

    /// Whether this installation knows the kind.
    #[must_use]
    pub fn knows(&self, database_type: DatabaseType) -> bool {
        self.0.drivers.contains_key(&database_type)
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &RegistryLimits {
        &self.0.limits
    }

    /// The guard of hosts.
    #[must_use]
    pub fn egress(&self) -> &Egress {
        &self.0.egress
    }

    /// The pool of a stored connection, opened if it is not; `settings` is asked only then.
    ///
    /// # Errors
    /// What keeps the engine from connecting, after [`RegistryLimits::test_timeout`] where it never
    /// did; `POOL_EXHAUSTED` where too many wait for that or the
    /// project has too many pools in use; `CONNECTION_NOT_FOUND` where the connection was changed or
    /// removed after the caller read it: read it again.
    pub async fn get<D: Database>(
        &self,
        key: &PoolKey,
        settings: impl Future<Output = Result<Settings, Error>> + Send,
    ) -> Result<Arc<D>, Error> {
        let slot = self.slot(key, D::TYPE)?;
        *slot.last_used.lock() = Instant::now();
        let open = slot.open.lock().clone();
        let pool = match open {
            Some(pool) => pool,
            None => Box::pin(self.open(&slot, settings)).await?,
        };
        (pool.database as Arc<dyn Any + Send + Sync>)
            .downcast::<D>()
            .map_err(|_| Error::internal("a pool of another kind"))
    }

    async fn open(
        &self,
        slot: &Arc<Slot>,
        settings: impl Future<Output = Result<Settings, Error>> + Send,
    ) -> Result<Pooled, Error> {
        let arrived = Instant::now();
        let waiting = Waiting::enter(&slot.waiting, self.0.limits.pool.max_waiting)
            .ok_or_else(|| Error::pool_exhausted(RETRY_AFTER))?;
        let mut state = slot.state.lock().await;
        drop(waiting);
        if slot.is_retired.load(Ordering::SeqCst) {
            return Err(Error::not_found("connection"));
        }
        if let Some(pool) = &state.pool {
            return Ok(pool.clone());
        }
        // Whoever waited for an attempt has its outcome; trying one after the other would make the
        // last of them wait for all.
        if let Some((ended, failure)) = &state.failure
            && *ended >= arrived
        {
            return Err(failure.repeat());
        }
        let driver = self.driver(slot.database_type)?;
        let reached = self.0.reached.lock().get(&slot.key.id).copied();
        let is_known = reached == Some(slot.key.version);
        let limit = if is_known {
            self.0.limits.pool.connect_timeout.saturating_mul(2)
        } else {
            self.0.limits.test_timeout
        };
        let deadline = tokio::time::Instant::now() + limit;
        let attempt = async {
            let settings = settings.await?;
            driver
                .connect(&settings, &self.0.egress, &self.0.limits.pool)
                .await
        };
        let outcome = tokio::time::timeout_at(deadline, attempt)
            .await
            .unwrap_or_else(|elapsed| Err(Error::connection_failed(elapsed)));
        let outcome = match outcome {
            Err(error) if !is_known => Err(told_late(error, deadline).await),
            other => other,
        };
        match outcome {
            Ok(pool) => {
                let mut reached = self.0.reached.lock();
                reached.insert(slot.key.id, slot.key.version);
                drop(reached);
                tracing::debug!(connection = %slot.key.id, kind = %slot.database_type, "opened a pool");
                state.failure = None;
                let mut open = slot.open.lock();
                if slot.is_retired.load(Ordering::SeqCst) {
                    // Changed while it was opened.
                    close_later(pool);
                    return Err(Error::not_found("connection"));
                }
                state.pool = Some(pool.clone());
                *open = Some(pool.clone());
                Ok(pool)
            }
            Err(error) => {
                count_failure(slot.database_type, &error);
                let repeated = error.repeat();
                state.failure = Some((Instant::now(), error));
                Err(repeated)
            }
        }
    }

    fn driver(&self, database_type: DatabaseType) -> Result<&Arc<dyn Driver>, Error> {
        self.0.drivers.get(&database_type).ok_or_else(|| {
            Error::not_supported(format!("This installation does not know {database_type}."))
        })
    }

    /// The slot of this key; an older version's is retired.
    fn slot(&self, key: &PoolKey, database_type: DatabaseType) -> Result<Arc<Slot>, Error> {
        let mut slots = self.0.slots.lock();
        let past = self.0.past.lock().get(&key.id).copied();
        if past.is_some_and(|(version, _)| key.version <= version) {
            return Err(Error::not_found("connection"));
        }
        if let Some(slot) = slots.get(&key.id) {
            // Of two who know different versions the newer one is right.
            if slot.key.version >= key.version && slot.key.project == key.project {
                return Ok(Arc::clone(slot));
            }
            if let Some(old) = slots.remove(&key.id) {
                old.retire();
            }
        }
        let own = slots
            .values()
            .filter(|slot| slot.key.project == key.project);
        if own.count() >= self.0.limits.pools_per_project {
            let resting = slots
                .values()
                .filter(|slot| slot.key.project == key.project && !slot.is_in_use())
                .min_by_key(|slot| *slot.last_used.lock())
                .map(|slot| slot.key.id)
                .ok_or_else(|| Error::pool_exhausted(RETRY_AFTER))?;
            if let Some(old) = slots.remove(&resting) {
                old.retire();
            }
        }
        let slot = Arc::new(Slot {
            key: key.clone(),
            database_type,
            state: tokio::sync::Mutex::default(),
            open: Mutex::default(),
            waiting: AtomicUsize::new(0),
            is_retired: AtomicBool::new(false),
            last_used: Mutex::new(Instant::now()),
        });
        slots.insert(key.id, Arc::clone(&slot));
        Ok(slot)
    }

    /// Retires the pool of a connection that was changed or removed: nobody gets this version, or
    /// one before it, any more.
    pub fn retire(&self, id: ConnectionId, version: i64) {
        let mut slots = self.0.slots.lock();
        self.0.past.lock().insert(id, (version, Instant::now()));
        self.0.reached.lock().remove(&id);
        let is_old = |slot: &Arc<Slot>| slot.key.version <= version;
        let slot = match slots.get(&id).is_some_and(is_old) {
            true => slots.remove(&id),
            false => None,
        };
        drop(slots);
        if let Some(slot) = slot {
            slot.retire();
        }
    }

    /// Tells that work on a pool failed because its connection was lost, so that the next caller
    /// gets a new pool, whose hosts are resolved and checked again.
    pub fn failed(&self, key: &PoolKey) {
        let mut slots = self.0.slots.lock();
        if slots
            .get(&key.id)
            .is_some_and(|slot| slot.key == *key && slot.open.lock().is_some())
            && let Some(slot) = slots.remove(&key.id)
        {
            drop(slots);
            slot.retire();
        }
    }

    /// A connection's pool, if it is open.
    #[must_use]
    pub fn opened<D: Database>(&self, project: &ProjectRef, id: ConnectionId) -> Option<Arc<D>> {
        let slot = self.0.slots.lock().get(&id).cloned()?;
        let pool = slot.open.lock().clone()?;
        (slot.key.project == *project)
            .then(|| {
                (pool.database as Arc<dyn Any + Send + Sync>)
                    .downcast()
                    .ok()
            })
            .flatten()
    }

    /// A connection's pool at this moment; `None` where it has none.
    #[must_use]
    pub fn status(&self, id: ConnectionId) -> Option<PoolStatus> {
        let slot = self.0.slots.lock().get(&id).cloned()?;
        let open = slot.open.lock();
        open.as_ref().map(|pool| pool.handle.status())
    }

    /// Tries to connect, asks the server what it is, and leaves. A failure to get through is told
    /// after [`RegistryLimits::test_timeout`], whatever it was and however soon it was known, so
    /// that nobody can tell a closed port from a filtered one.
    ///
    /// # Errors
    /// Whatever keeps the engine from the server.
    pub async fn test(&self, settings: &Settings) -> Result<Trial, Error> {
        let driver = self.driver(settings.database_type)?;
        let limit = self.0.limits.test_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let limits = Limits {
            max_connections: 1,
            connect_timeout: limit,
            operation_timeout: limit,
            ..self.0.limits.pool
        };
        let trial = async {
            let pool = driver.connect(settings, &self.0.egress, &limits).await?;
            let begun = Instant::now();
            let answered = pool.handle.ping().await;
            let latency = begun.elapsed();
            let server = match answered {
                Ok(()) => pool.handle.info().await,
                Err(error) => Err(error),
            };
            pool.handle.disconnect().await;
            Ok(Trial {
                latency,
                server: server?,
            })
        };
        let outcome = tokio::time::timeout_at(deadline, trial)
            .await
            .unwrap_or_else(|elapsed| Err(Error::connection_failed(elapsed)));
        match outcome {
            Err(error) => Err(told_late(error, deadline).await),
            trial => trial,
        }
    }

    /// Sweeps until the shutdown begins. Requests may still need their pools then: [`Self::close`]
    /// comes after them.
    pub async fn run(self, shutdown: Shutdown) {
        let interval = self.0.limits.sweep_interval;
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(interval) => self.sweep().await,
            }
        }
    }

    /// Closes everything, and waits for it for a while: what an engine leaves behind ends badly when
    /// the process does.
    pub async fn close(&self) {
        let slots: Vec<_> = self.0.slots.lock().drain().map(|(_, slot)| slot).collect();
        let pools = slots.iter().filter_map(|slot| slot.take());
        let closed = pools.map(|pool| async move { pool.handle.disconnect().await });
        let closed = futures_util::future::join_all(closed);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }

    /// One sweep: pools at rest are closed, the others are asked whether they live.
    pub async fn sweep(&self) {
        let idle = self.0.limits.idle_timeout;
        let slots: Vec<_> = self.0.slots.lock().values().cloned().collect();
        let checks = slots.into_iter().map(|slot| async move {
            let rested = slot.last_used.lock().elapsed();
            let open = slot.open.lock().clone();
            let Some(pool) = open else {
                // Nobody got in for a while: its failure needs no keeping.
                if rested >= idle {
                    self.remove(&slot);
                }
                return;
            };
            if rested >= idle && !slot.is_in_use_beside(1) {
                self.remove(&slot);
                return;
            }
            pool.handle.close_idle(idle).await;
            let alive = tokio::time::timeout(self.0.limits.health_timeout, pool.handle.ping()).await;
            let failure = match alive {
                Ok(Ok(())) => return,
                // All connections are at work: it lives.
                Ok(Err(error)) if !error.is_connection_failed() => return,
                Ok(Err(error)) => error,
                // A pool whose connections are all in use cannot answer in time.
                Err(_) if pool.handle.status().in_use > 0 => return,
                Err(elapsed) => Error::connection_failed(elapsed),
            };
            let error = bunbun_core::error::chain(&failure);
            tracing::info!(connection = %slot.key.id, kind = %slot.database_type, error, "replacing a broken pool");
            count_failure(slot.database_type, &failure);
            self.remove(&slot);
        });
        futures_util::future::join_all(checks).await;
        // Longer than anyone keeps what was read.
        let kept = idle.max(Duration::from_secs(600));
        self.0
            .past
            .lock()
            .retain(|_, (_, since)| since.elapsed() < kept);
        self.publish();
    }

    /// Removes this slot, not a newer one of the same connection.
    fn remove(&self, slot: &Arc<Slot>) {
        let mut slots = self.0.slots.lock();
        if slots
            .get(&slot.key.id)
            .is_some_and(|current| Arc::ptr_eq(current, slot))
        {
            slots.remove(&slot.key.id);
        }
        drop(slots);
        slot.retire();
    }

    /// Sets the gauges `bunbun_database_pools` and `bunbun_database_pool_connections`.
    pub fn publish(&self) {
        let mut sums: HashMap<DatabaseType, (usize, PoolStatus)> = self
            .0
            .drivers
            .keys()
            .map(|kind| (*kind, Default::default()))
            .collect();
        for slot in self.0.slots.lock().values() {
            let (pools, sum) = sums.entry(slot.database_type).or_default();
            if let Some(pool) = &*slot.open.lock() {
                let status = pool.handle.status();
                *pools += 1;
                sum.size += status.size;
                sum.in_use += status.in_use;
                sum.idle += status.idle;
                sum.waiting += status.waiting;
            }
        }
        for (kind, (pools, sum)) in sums {
            let kind = kind.as_str();
            gauge("bunbun_database_pools", kind, None, pools);
            for (state, count) in [
                ("size", sum.size),
                ("in_use", sum.in_use),
                ("idle", sum.idle),
                ("waiting", sum.waiting),
            ] {
                gauge("bunbun_database_pool_connections", kind, Some(state), count);
            }
        }
    }
}

/// A failure to get through to a host, at the deadline and as if it were always the same one;
/// others as they are.
async fn told_late(error: Error, deadline: tokio::time::Instant) -> Error {
    let is_slow = matches!(error.code(), bunbun_core::Code::Timeout);
    if is_slow || error.is_connection_failed() {
        tokio::time::sleep_until(deadline).await;
    }
    if is_slow {
        return Error::connection_failed(error);
    }
    error
}

fn gauge(name: &'static str, kind: &'static str, state: Option<&'static str>, count: usize) {
    #[expect(clippy::cast_precision_loss, reason = "pools are small")]
    let count = count as f64;
    match state {
        Some(state) => {
            metrics::gauge!(name, "database_type" => kind, "state" => state).set(count);
        }
        None => metrics::gauge!(name, "database_type" => kind).set(count),
    }
}

fn count_failure(database_type: DatabaseType, error: &Error) {
    metrics::counter!(
        "bunbun_database_errors_total",
        "database_type" => database_type.as_str(),
        "operation" => "connect",
        "code" => error.code().as_str(),
    )
    .increment(1);
}

impl Slot {
    /// Whether a caller holds the pool.
    fn is_in_use(&self) -> bool {
        self.is_in_use_beside(0)
    }

    /// Whether a caller holds the pool, beside so many of us.
    fn is_in_use_beside(&self, own: usize) -> bool {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return true;
        }
        let open = self.open.lock();
        // The slot's own two, and the state's.
        open.as_ref()
            .is_some_and(|pool| Arc::strong_count(&pool.database) > Pooled::SHARES * (2 + own))
    }

    fn retire(&self) {
        if let Some(pool) = self.take() {
            close_later(pool);
        }
    }

    /// Takes the pool out; nobody gets it, or another one in this place, any more.
    fn take(&self) -> Option<Pooled> {
        let mut open = self.open.lock();
        self.is_retired.store(true, Ordering::SeqCst);
        open.take()
    }
}

/// Closes a pool without making anyone wait.
fn close_later(pool: Pooled) {
    if tokio::runtime::Handle::try_current().is_ok() {
        task::spawn("close pool", async move { pool.handle.disconnect().await });
    }
}

/// Counts a caller who waits, also when it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::SeqCst) < limit).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
