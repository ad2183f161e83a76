//! The connections of the embedded services to one project's database.
//!
//! Requests run on one single-threaded runtime per core (ADR 001), and a `tokio-postgres`
//! connection is served by a task of the runtime that opened it. Used from another thread it works,
//! but each statement wakes both threads. So a connection is given to callers of its own runtime
//! first; a runtime that has fewer connections than its share takes one over by opening it anew.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::task;
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde::Serialize;
use tokio::{
    runtime::{Handle, Id},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{Client, Error, Session, Target};

/// Longest silence of ours within a transaction: its locks must not outlive a caller that hangs.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(60);

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
    /// The session's `statement_timeout`; a [`Scope`](crate::scope::Scope) has its own.
    pub statement_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl PoolConfig {
    /// The defaults for a service such as `auth`: 10 connections, 5 s to connect, 10 s to wait,
    /// 1 000 waiting, 30 s statements, and the name `bunbun-auth`.
    #[must_use]
    pub fn new(url: SecretString, service: &str) -> Self {
        Self {
            url,
            size: 10,
            connect_timeout: Duration::from_secs(5),
            wait_timeout: Duration::from_secs(10),
            max_waiting: 1_000,
            statement_timeout: Duration::from_secs(30),
            application_name: format!("bunbun-{service}"),
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
    target: Target,
    config: PoolConfig,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    /// At rest; the last one rested least.
    rested: Vec<Session>,
    /// The runtime of every open connection, at rest or not.
    homes: Vec<Id>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.status()).finish()
    }
}

/// A permit to use one connection.
pub(crate) struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Pool {
    /// Makes a pool. Nothing connects yet.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn new(config: &PoolConfig) -> Result<Self, Error> {
        let target = Target::parse(
            &config.url,
            config.connect_timeout,
            &config.application_name,
        )?;
        let size = config.size.max(1);
        Ok(Self(Arc::new(Inner {
            target,
            config: PoolConfig {
                size,
                ..config.clone()
            },
            permits: Arc::new(Semaphore::new(size)),
            waiting: AtomicUsize::new(0),
            connections: Mutex::default(),
        })))
    }

    /// A connection. Waits a bounded time for its turn; dropped, it goes back.
    ///
    /// A connection of before a restart of PostgreSQL may come out of here when the news has not
    /// arrived yet: [`Client::transaction`] and [`scope::begin`](crate::scope::begin) replace it
    /// unseen, a single statement fails with [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::Exhausted`] when none is free in time, [`Error::Unavailable`] when PostgreSQL cannot
    /// be reached.
    pub async fn get(&self) -> Result<Client, Error> {
        let permit = self.permit().await?;
        let session = match self.check_out() {
            Ok(session) => session,
            Err(place) => self.open(place).await?,
        };
        Ok(Client::new(session, self.clone(), permit))
    }

    /// The state at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let size = self.0.config.size;
        Status {
            size,
            in_use: size - self.0.permits.available_permits(),
            idle: self.0.connections.lock().rested.len(),
            waiting: self.0.waiting.load(Ordering::Relaxed),
        }
    }

    /// How the pool was made.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.0.config
    }

    /// Where the database is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Forgets the statements that connections at rest have prepared: after a migration a cached
    /// plan may have another result type.
    pub(crate) fn forget_statements(&self) {
        for session in &self.0.connections.lock().rested {
            session.statement_cache.clear();
        }
    }

    /// Takes back a connection whose transaction has ended.
    pub(crate) fn put(&self, session: Session) {
        if !session.is_closed() {
            self.0.connections.lock().rested.push(session);
        }
    }

    /// Opens a connection on this runtime.
    pub(crate) async fn open(&self, place: Place) -> Result<Session, Error> {
        let config = &self.0.config;
        let hosts = self.0.target.config.get_hosts().len().max(1);
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
        let opening = async {
            let connector = self.0.target.connector();
            let (client, connection) = self
                .0
                .target
                .config
                .connect(connector)
                .await
                .map_err(Error::cannot_connect)?;
            let task = task::spawn_quiet(async move {
                if let Err(error) = connection.await {
                    let cause = bunbun_core::error::chain(&error);
                    tracing::debug!(cause, "a connection was lost");
                }
            });
            let session = Session::new(ClientWrapper::new(client, task), place);
            let limit = config.statement_timeout.as_millis().max(1);
            let idle_limit = IDLE_IN_TRANSACTION.as_millis();
            session
                .batch_execute(&format!(
                    "set statement_timeout = {limit}; \
                     set idle_in_transaction_session_timeout = {idle_limit}"
                ))
                .await?;
            Ok(session)
        };
        // Whatever the reason, a caller can only wait: also a wrong password is the operator's.
        tokio::time::timeout(config.connect_timeout.saturating_mul(hosts), opening)
            .await
            .map_err(|_| Error::unavailable("connecting took too long"))?
    }

    /// Room for a connection in place of one that died in the hands of its user.
    pub(crate) fn place(&self) -> Place {
        Place::take(&self.0, &mut self.0.connections.lock())
    }

    /// A live connection at rest, of this runtime if there is one; else room for a new one.
    fn check_out(&self) -> Result<Session, Place> {
        let here = Handle::current().id();
        // Dropped after the lock, which their places need.
        let mut closing = Vec::new();
        let mut connections = self.0.connections.lock();
        let Connections { rested, homes } = &mut *connections;
        // Noticed by the connection's task: no system call of ours.
        closing.extend(rested.extract_if(.., |session| session.is_closed()));
        if let Some(at) = rested.iter().rposition(|session| session.home() == here) {
            return Ok(rested.remove(at));
        }
        let open = homes.len().saturating_sub(closing.len());
        if open >= self.0.config.size
            && let Some(foreign) = rested.pop()
        {
            let mine = homes.iter().filter(|home| **home == here).count();
            let runtimes: HashSet<&Id> = homes.iter().chain([&here]).collect();
            if mine >= self.0.config.size / runtimes.len() {
                return Ok(foreign);
            }
            closing.push(foreign);
        }
        let place = Place::take(&self.0, &mut connections);
        drop(connections);
        Err(place)
    }

    async fn permit(&self) -> Result<Permit, Error> {
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
            .map_err(Error::internal)?;
        drop(waiting);
        Ok(Permit(permit))
    }
}

/// Counts an open connection, or one that is being opened, for its runtime.
pub(crate) struct Place {
    home: Id,
    pool: Weak<Inner>,
}

impl Place {
    fn take(pool: &Arc<Inner>, connections: &mut Connections) -> Self {
        let home = Handle::current().id();
        connections.homes.push(home);
        Self {
            home,
            pool: Arc::downgrade(pool),
        }
    }

    /// The runtime that serves the connection.
    pub(crate) const fn home(&self) -> Id {
        self.home
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let homes = &mut pool.connections.lock().homes;
            if let Some(at) = homes.iter().position(|home| *home == self.home) {
                homes.swap_remove(at);
            }
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
