//! One server and its connections: a *lane* that all short commands share, and connections that
//! one caller has to itself, for transactions and for answers whose size nobody knows before.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{Cmd, Pipeline, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    connection::{Connection, Dialer, SignIn},
    error::{Fault, checked},
    router::ask,
    stream::{Address, DialFailure},
};
use crate::{Error, PoolStatus};

/// Commands that the lane carries at once; more wait.
const LANE_COMMANDS: usize = 256;
/// A connection that rested longer is asked whether it still lives before it is used.
const TRUSTED: Duration = Duration::from_secs(5);
/// A connection that rested longer is closed.
const KEPT: Duration = Duration::from_secs(60);
/// How long a failure to connect answers everyone, so that a dead server is not dialled by all.
const REMEMBERED: Duration = Duration::from_millis(250);

/// A server.
pub(super) struct Node {
    pub(super) address: Address,
    dialer: Arc<Dialer>,
    lane: Mutex<Option<Arc<Connection>>>,
    opening: tokio::sync::Mutex<()>,
    failure: Mutex<Option<(Instant, DialFailure)>>,
    lane_slots: Semaphore,
    own: Arc<Semaphore>,
    own_size: usize,
    idle: Mutex<Vec<Connection>>,
    waiting: Arc<Queue>,
}

/// The callers who wait for anything of one stored connection, over all its servers.
pub(super) struct Queue {
    waiting: AtomicUsize,
    max: usize,
    patience: Duration,
}

impl Queue {
    pub(super) fn new(max: usize, patience: Duration) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            max,
            patience,
        }
    }

    /// Waits for `permit` if there is room among those who wait.
    async fn wait<P>(
        &self,
        permit: impl Future<Output = Result<P, tokio::sync::AcquireError>>,
    ) -> Result<P, Error> {
        struct Leaves<'a>(&'a AtomicUsize);
        impl Drop for Leaves<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _leaves = Leaves(&self.waiting);
        if before >= self.max {
            return Err(exhausted());
        }
        match timeout(self.patience, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::connection_failed("the connection was closed")),
            Err(_) => Err(exhausted()),
        }
    }
}

fn exhausted() -> Error {
    Error::pool_exhausted(Duration::from_secs(1))
}

/// The lane, for one command or pipeline.
pub(super) struct Lane<'a> {
    connection: Arc<Connection>,
    _slot: SemaphorePermit<'a>,
}

impl Deref for Lane<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Node {
    pub(super) fn new(
        address: Address,
        dialer: Arc<Dialer>,
        own_size: usize,
        waiting: Arc<Queue>,
    ) -> Self {
        Self {
            address,
            dialer,
            lane: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
            failure: Mutex::new(None),
            lane_slots: Semaphore::new(LANE_COMMANDS),
            own: Arc::new(Semaphore::new(own_size)),
            own_size,
            idle: Mutex::new(Vec::new()),
            waiting,
        }
    }

    /// The shared connection. What is sent over it must be quick and its answer small.
    pub(super) async fn lane(&self) -> Result<Lane<'_>, Error> {
        let slot = match self.lane_slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => self.waiting.wait(self.lane_slots.acquire()).await?,
        };
        Ok(Lane {
            connection: self.shared().await?,
            _slot: slot,
        })
    }

    async fn shared(&self) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = self.living_lane() {
            return Ok(connection);
        }
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.living_lane() {
            return Ok(connection);
        }
        let connection = Arc::new(self.dial().await?);
        *self.lane.lock() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    fn living_lane(&self) -> Option<Arc<Connection>> {
        let mut lane = self.lane.lock();
        lane.take_if(|connection| connection.is_broken());
        lane.clone()
    }

    /// A connection for one caller alone. It goes back when dropped in a known state.
    pub(super) async fn own(self: &Arc<Self>) -> Result<Own, Error> {
        let permit = match Arc::clone(&self.own).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.waiting
                    .wait(Arc::clone(&self.own).acquire_owned())
                    .await?
            }
        };
        let connection = match self.rested().await {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        Ok(Own {
            connection: Some(connection),
            unsettled: false,
            watching: false,
            asking: false,
            node: Arc::clone(self),
            _permit: permit,
        })
    }

    /// An idle connection that is alive.
    async fn rested(&self) -> Option<Connection> {
        loop {
            let connection = self.idle.lock().pop()?;
            if connection.is_broken() {
                continue;
            }
            if connection.rested_at.elapsed() < TRUSTED {
                return Some(connection);
            }
            let limit = self.dialer.connect_timeout.min(Duration::from_secs(1));
            let ping = redis::cmd("PING");
            if matches!(timeout(limit, connection.send(&ping)).await, Ok(Ok(_))) {
                return Some(connection);
            }
        }
    }

    async fn dial(&self) -> Result<Connection, Error> {
        if let Some((at, failure)) = &*self.failure.lock()
            && at.elapsed() < REMEMBERED
        {
            return Err(failure.clone().into());
        }
        match self.dialer.dial(&self.address, SignIn::Yes, None).await {
            Ok(connection) => Ok(connection),
            Err(failure) => {
                *self.failure.lock() = Some((Instant::now(), failure.clone()));
                Err(failure.into())
            }
        }
    }

    fn put_back(&self, mut connection: Connection) {
        connection.rested_at = Instant::now();
        let mut idle = self.idle.lock();
        idle.retain(|other| other.rested_at.elapsed() < KEPT);
        idle.push(connection);
    }

    /// Closes everything; who waits is sent away.
    pub(super) fn close(&self) {
        self.own.close();
        self.lane_slots.close();
        self.idle.lock().clear();
        self.lane.lock().take();
    }

    /// Closes what has rested for longer.
    pub(super) fn close_idle(&self, longer_than: Duration) {
        self.idle
            .lock()
            .retain(|connection| connection.rested_at.elapsed() < longer_than);
    }

    /// Adds this server's connections to the sum.
    pub(super) fn add_status(&self, status: &mut PoolStatus) {
        let in_use = self.own_size.saturating_sub(self.own.available_permits());
        let idle = self.idle.lock().len();
        let lane = usize::from(self.lane.lock().is_some());
        let lane_busy = usize::from(self.lane_slots.available_permits() < LANE_COMMANDS);
        status.size += self.own_size + 1;
        status.in_use += in_use + lane.min(lane_busy);
        status.idle += idle + lane.saturating_sub(lane_busy);
        status.waiting = self.waiting.waiting.load(Ordering::Relaxed);
    }
}

/// A connection that one caller has to itself.
pub(super) struct Own {
    connection: Option<Connection>,
    /// A command was sent whose answer has not been read.
    unsettled: bool,
    /// Keys are watched: the next transaction depends on them.
    watching: bool,
    /// The key's slot is on its way to this server: each command has to say that it knows.
    asking: bool,
    node: Arc<Node>,
    _permit: OwnedSemaphorePermit,
}

impl Own {
    fn connection(&self) -> &Connection {
        self.connection
            .as_ref()
            .expect("it is taken in `drop` only")
    }

    /// For a key whose slot is on its way to this server.
    pub(super) const fn asking(mut self) -> Self {
        self.asking = true;
        self
    }

    /// Sends one command. An error of the server is an `Err`.
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, Fault> {
        self.unsettled = true;
        let result = if self.asking {
            let mut commands = Pipeline::with_capacity(1);
            commands.add_command(command.clone());
            let answers = ask(self.connection(), &commands).await;
            answers.and_then(|mut answers| checked(answers.pop().unwrap_or_default()))
        } else {
            self.connection().send(command).await
        };
        self.unsettled = false;
        result
    }

    /// Sends all commands at once. Errors of the server are in the answers.
    pub(super) async fn send_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.unsettled = true;
        let result = if self.asking {
            ask(self.connection(), commands).await
        } else {
            self.connection().send_all(commands).await
        };
        self.unsettled = false;
        result
    }

    /// Watches a key: [`Self::commit`] does nothing if it changes from now on.
    pub(super) async fn watch(&mut self, key: &[u8]) -> Result<(), Fault> {
        self.watching = true;
        self.send(redis::cmd("WATCH").arg(key)).await.map(drop)
    }

    /// Executes a transaction; `None` when a watched key changed.
    pub(super) async fn commit(
        &mut self,
        transaction: &Pipeline,
    ) -> Result<Option<Vec<Value>>, Fault> {
        debug_assert!(transaction.is_transaction(), "made with `atomic`");
        let answer = self.send_all(transaction).await?;
        self.watching = false;
        match answer.into_iter().next().map(checked).transpose()? {
            Some(Value::Array(values)) => Ok(Some(values)),
            _ => Ok(None),
        }
    }

    /// Gives the connection up when dropped, whatever its state.
    pub(super) fn spoil(&mut self) {
        self.unsettled = true;
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !self.unsettled
            && !self.watching
            && !connection.is_broken()
            && !self.node.own.is_closed()
        {
            self.node.put_back(connection);
        }
    }
}
