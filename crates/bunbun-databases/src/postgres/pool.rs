//! The connections to one PostgreSQL database, shared by everything that uses it.
//!
//! Two kinds of connection live under one limit: [`Client`]s (`tokio-postgres`, for statements of
//! ours and for scripts) and the query connections of [`super::query`], which speak the protocol
//! themselves. A permit is taken before either, so `size` bounds the work in hand, and the number
//! of those who wait for a permit is bounded too. One more connection, outside of the limit, is
//! kept for [`super::health`]: a busy pool is not a dead database.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::managed::{Object, PoolError};
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use bunbun_postgres::Target;

use super::{
    error::Error,
    origin::{Dialer, Origin},
    query::{Lease, Texts},
    rows::Shapes,
    running::Running,
    wire::Connection,
};

/// How a pool is made.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// `postgres://user:password@host:port/database`; `?host=/path` for a Unix socket.
    pub url: SecretString,
    /// Most connections in use at once, at least 1.
    pub size: usize,
    /// Longest wait for one attempt to connect.
    pub connect_timeout: Duration,
    /// Longest wait for a free connection.
    pub wait_timeout: Duration,
    /// Most callers who wait for a free connection; further ones are refused at once.
    pub max_waiting: usize,
    /// The session's `statement_timeout` of query connections.
    pub statement_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl PoolConfig {
    /// The defaults: 10 connections, 5 s to connect, 10 s to wait, 1 000 waiting, 30 s statements.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            size: 10,
            connect_timeout: Duration::from_secs(5),
            wait_timeout: Duration::from_secs(10),
            max_waiting: 1_000,
            statement_timeout: Duration::from_secs(30),
            application_name: "bunbun".to_owned(),
        }
    }
}

/// The state of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Most connections in use at once.
    pub size: usize,
    /// Connections in use.
    pub in_use: usize,
    /// Open connections that wait for work.
    pub idle: usize,
    /// Callers who wait for a connection.
    pub waiting: usize,
}

/// The connections to one database. Clones share them.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    clients: deadpool::managed::Pool<Dialer>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Query connections at rest; the last one rested least.
    #[expect(
        clippy::vec_box,
        reason = "a connection passes through many hands: a pointer is moved, not all of it"
    )]
    queries: Mutex<Vec<Box<Connection>>>,
    /// What is known of the texts that were run lately.
    texts: Texts,
    /// What is known of the tables whose rows were asked for lately.
    shapes: Shapes,
    /// When a statement last ran that may have changed tables.
    changed_at: Mutex<Option<Instant>>,
    /// Statements that can be cancelled by their ids.
    running: Running,
    /// Query connections that are open, at rest or not.
    open_queries: AtomicUsize,
    origin: Arc<Origin>,
    config: PoolConfig,
    /// One migration of this process at a time, so that those who wait for PostgreSQL's advisory
    /// lock do not hold the connections that queries need.
    migrating: tokio::sync::Mutex<()>,
    /// The connection of health checks, between two of them.
    probe: tokio::sync::Mutex<Option<tokio_postgres::Client>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

/// A permit to use one connection.
#[derive(Debug)]
pub(crate) struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Pool {
    /// Makes a pool. Nothing connects yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that cannot be understood.
    pub fn new(config: &PoolConfig) -> Result<Self, Error> {
        let target = Target::parse(
            &config.url,
            config.connect_timeout,
            &config.application_name,
        )?;
        Self::to(Origin::Fixed(Arc::new(target)), config)
    }

    /// Makes a pool of connections to wherever an origin leads. The URL of `config` is not used.
    pub(crate) fn to(origin: Origin, config: &PoolConfig) -> Result<Self, Error> {
        let origin = Arc::new(origin);
        let size = config.size.max(1);
        let clients = deadpool::managed::Pool::builder(Dialer(Arc::clone(&origin)))
            .max_size(size)
            .build()
            .map_err(Error::internal)?;
        Ok(Self(Arc::new(Inner {
            clients,
            permits: Arc::new(Semaphore::new(size)),
            waiting: AtomicUsize::new(0),
            queries: Mutex::new(Vec::new()),
            texts: Texts::default(),
            shapes: Shapes::default(),
            changed_at: Mutex::default(),
            running: Running::default(),
            open_queries: AtomicUsize::new(0),
            origin,
            config: PoolConfig {
                size,
                ..config.clone()
            },
            migrating: tokio::sync::Mutex::new(()),
            probe: tokio::sync::Mutex::new(None),
        })))
    }

    /// A connection for statements of ours or for a script. Waits a bounded time for its turn.
    ///
    /// The session goes to the next caller as it is: who runs a *user's* SQL on it must call
    /// [`Client::close`] afterwards, or reset the session.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when none is free in time, [`Error::Unavailable`] when PostgreSQL cannot
    /// be reached.
    pub async fn get(&self) -> Result<Client, Error> {
        let permit = self.permit().await?;
        let status = self.0.clients.status();
        let open = status.size + self.0.open_queries.load(Ordering::Relaxed);
        if status.available == 0 && open >= self.0.config.size {
            // Room on the server for the one that is opened now.
            drop(self.0.queries.lock().pop());
        }
        // Idle connections that died are dropped and replaced inside this call.
        let limit = self.0.config.connect_timeout.saturating_mul(2);
        let object = tokio::time::timeout(limit, self.0.clients.get())
            .await
            .map_err(|_| Error::unavailable("connecting took too long"))?
            .map_err(|error| match error {
                PoolError::Backend(error) => error,
                other => Error::unavailable(other),
            })?;
        Ok(Client { object, permit })
    }

    /// A connection for a statement of a caller. Of a statement that may be sent again, the answer
    /// tells whether the connection lives; for others the socket is asked before.
    pub(crate) async fn query_connection(&self, may_repeat: bool) -> Result<Lease, Error> {
        let permit = self.permit().await?;
        while let Some(mut connection) = self.rested_query_connection() {
            if let Some(changed_at) = *self.0.changed_at.lock() {
                connection.statements.believe_from(changed_at);
            }
            if connection.is_silent() && (may_repeat || connection.is_alive()) {
                return Ok(Lease::new(connection, self.clone(), permit, true));
            }
        }
        let open = self.0.clients.status().size + self.0.open_queries.load(Ordering::Relaxed);
        if open >= self.0.config.size {
            let mut is_first = true;
            // Room on the server: one idle client goes.
            self.0.clients.retain(|_, _| !std::mem::take(&mut is_first));
        }
        let opened = Opened::new(self);
        // On the heap: what it takes to connect is large, and most callers do not.
        let mut connection = Box::pin(async {
            let target = self.0.origin.target().await?;
            Connection::open(&target, self.0.config.statement_timeout).await
        })
        .await?;
        connection.counted = Some(opened);
        let connection = Box::new(connection);
        Ok(Lease::new(connection, self.clone(), permit, false))
    }

    /// A query connection at rest, of this runtime if there is one.
    fn rested_query_connection(&self) -> Option<Box<Connection>> {
        let here = Handle::current().id();
        let mut connection = {
            let mut rested = self.0.queries.lock();
            match rested.iter().rposition(|one| one.home() == here) {
                Some(at) => return Some(rested.remove(at)),
                None => rested.pop()?,
            }
        };
        connection.move_here().ok()?;
        Some(connection)
    }

    /// What is known of SQL texts.
    pub(crate) fn texts(&self) -> &Texts {
        &self.0.texts
    }

    /// What is known of tables.
    pub(crate) fn shapes(&self) -> &Shapes {
        &self.0.shapes
    }

    /// Forgets what is known of tables, and of statements that were prepared for them.
    pub(crate) fn tables_changed(&self) {
        self.shapes().forget();
        *self.0.changed_at.lock() = Some(Instant::now());
    }

    /// Statements that can be cancelled by their ids.
    pub(crate) fn running(&self) -> &Running {
        &self.0.running
    }

    /// Takes back a connection that is clean.
    pub(crate) fn put_query_connection(&self, mut connection: Box<Connection>) {
        if self.0.permits.is_closed() {
            return;
        }
        connection.shrink();
        connection.rested_at = Instant::now();
        self.0.queries.lock().push(connection);
    }

    /// Closes what rests, and the rest when it comes back. Nobody gets a connection any more.
    pub(crate) fn close(&self) {
        self.0.permits.close();
        self.0.clients.close();
        self.0.queries.lock().clear();
        if let Ok(mut probe) = self.0.probe.try_lock() {
            *probe = None;
        }
    }

    /// Closes connections that have rested for longer than this.
    pub(crate) fn close_idle(&self, longer_than: Duration) {
        self.0
            .clients
            .retain(|_, metrics| metrics.last_used() < longer_than);
        self.0
            .queries
            .lock()
            .retain(|one| one.rested_at.elapsed() < longer_than);
        if let Ok(mut probe) = self.0.probe.try_lock() {
            *probe = None;
        }
    }

    /// The state at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let in_use = self.0.config.size - self.0.permits.available_permits();
        Status {
            size: self.0.config.size,
            in_use,
            idle: self.0.clients.status().available + self.0.queries.lock().len(),
            waiting: self.0.waiting.load(Ordering::Relaxed),
        }
    }

    /// How the pool was made.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.0.config
    }

    /// Where the database is, for connections that are made outside of the pool under a permit.
    pub(crate) async fn target(&self) -> Result<Arc<Target>, Error> {
        self.0.origin.target().await
    }

    /// Held while a migration runs in this process.
    pub(crate) fn migrating(&self) -> &tokio::sync::Mutex<()> {
        &self.0.migrating
    }

    /// The connection of health checks; who holds it takes it out and puts it back if it is well.
    pub(crate) fn probe(&self) -> &tokio::sync::Mutex<Option<tokio_postgres::Client>> {
        &self.0.probe
    }

    pub(crate) async fn permit(&self) -> Result<Permit, Error> {
        let permits = Arc::clone(&self.0.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let exhausted = || Error::Exhausted {
            in_use: self.0.config.size,
            size: self.0.config.size,
        };
        let waiting =
            Waiting::enter(&self.0.waiting, self.0.config.max_waiting).ok_or_else(exhausted)?;
        let permit = tokio::time::timeout(self.0.config.wait_timeout, permits.acquire_owned())
            .await
            .map_err(|_| exhausted())?
            .map_err(|_| Error::unavailable("the pool was closed"))?;
        drop(waiting);
        Ok(Permit(permit))
    }
}

/// Counts a query connection for as long as it is open.
pub(crate) struct Opened(Weak<Inner>);

impl Opened {
    fn new(pool: &Pool) -> Self {
        pool.0.open_queries.fetch_add(1, Ordering::Relaxed);
        Self(Arc::downgrade(&pool.0))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.open_queries.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counts a caller who waits, also when it gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A `tokio-postgres` client from the pool, which takes it back on drop.
pub struct Client {
    object: Object<Dialer>,
    // Declared last: the permit is given back after the connection.
    permit: Permit,
}

impl Client {
    /// Closes the connection instead of giving it back, with everything its session holds.
    pub fn close(self) {
        let Self { object, permit } = self;
        drop(Object::take(object));
        drop(permit);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Deref for Client {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.object
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.object
    }
}
