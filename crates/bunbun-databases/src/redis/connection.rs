//! One connection to one server: RESP3 over a [`Stream`](super::stream::Stream).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bunbun_core::{
    egress::{Egress, EgressError},
    error::chain,
    task,
};
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, ProtocolVersion, PushInfo, RedisConnectionInfo, Value,
    aio::MultiplexedConnection,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    error::{Fault, checked},
    stream::{self, Address, Budget, DialFailure},
};
use crate::Error;

/// What every connection of one stored connection has in common.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) egress: Egress,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) database: i64,
    pub(super) connect_timeout: Duration,
    pub(super) operation_timeout: Duration,
}

/// Receives what the server sends unasked: messages of subscriptions.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Whether to sign in. Sentinels often have no password where their servers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignIn {
    Yes,
    No,
}

/// An open connection. Any number of callers may send at once; answers come in order.
pub(super) struct Connection {
    inner: MultiplexedConnection,
    budget: Arc<Budget>,
    broken: AtomicBool,
    driver: JoinHandle<()>,
    /// When it last went back to its pool.
    pub(super) rested_at: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialer {
    /// Opens a connection and signs in, all within the connect timeout.
    pub(super) async fn dial(
        &self,
        address: &Address,
        sign_in: SignIn,
        on_push: Option<OnPush>,
    ) -> Result<Connection, DialFailure> {
        let started = Instant::now();
        let stream = stream::open(
            address,
            self.tls.as_ref(),
            &self.egress,
            self.connect_timeout,
        )
        .await?;
        let left = self.connect_timeout.saturating_sub(started.elapsed());
        let budget = stream.budget();
        let guard = Arc::clone(&budget);
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.operation_timeout))
            .set_connection_timeout(None);
        if let Some(on_push) = on_push {
            config = config.set_push_sender(move |push: PushInfo| {
                // A subscription has no end; each message may be as large as an answer.
                guard.refill();
                on_push(push);
                Ok::<(), ()>(())
            });
        }
        let info = self.connection_info(sign_in);
        let opened = MultiplexedConnection::new_with_config(&info, stream, config);
        let (inner, driver) = timeout(left, opened)
            .await
            .map_err(|_| DialFailure::Timeout)?
            .map_err(|error| DialFailure::Failed(Arc::new(error)))?;
        Ok(Connection {
            inner,
            budget,
            broken: AtomicBool::new(false),
            driver: task::spawn_quiet(driver),
            rested_at: Instant::now(),
        })
    }

    fn connection_info(&self, sign_in: SignIn) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("bunbun", env!("CARGO_PKG_VERSION"));
        if sign_in == SignIn::Yes {
            info = info.set_db(self.database);
            if let Some(username) = &self.username {
                info = info.set_username(username);
            }
            if let Some(password) = &self.password {
                info = info.set_password(password.expose_secret());
            }
        }
        info
    }
}

impl Connection {
    /// Whether nobody should use it again.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.driver.is_finished()
    }

    /// Sends one command. An error of the server is an `Err`.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Fault> {
        self.budget.refill();
        let result = self.inner.clone().send_packed_command(command).await;
        checked(self.note(result)?)
    }

    /// Sends all commands at once. Errors of the server are in the answers.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.budget.refill();
        let count = commands.len();
        let (skip, expected) = if commands.is_transaction() {
            (count + 1, 1)
        } else {
            (0, count)
        };
        let result = self
            .inner
            .clone()
            .send_packed_commands(commands, skip, expected)
            .await;
        self.note(result)
    }

    /// Subscribes and the like; returns when the server has confirmed each name.
    pub(super) async fn subscribe(&self, names: &[Vec<u8>], patterns: bool) -> Result<(), Fault> {
        let mut inner = self.inner.clone();
        let result = if patterns {
            inner.psubscribe(names).await
        } else {
            inner.subscribe(names).await
        };
        self.note(result)
    }

    /// The opposite of [`Self::subscribe`].
    pub(super) async fn unsubscribe(&self, names: &[Vec<u8>], patterns: bool) -> Result<(), Fault> {
        let mut inner = self.inner.clone();
        let result = if patterns {
            inner.punsubscribe(names).await
        } else {
            inner.unsubscribe(names).await
        };
        self.note(result)
    }

    /// Remembers when a failure leaves the connection in an unknown state.
    fn note<T>(&self, result: redis::RedisResult<T>) -> Result<T, Fault> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                if error.is_unrecoverable_error() || error.is_io_error() || error.is_timeout() {
                    self.broken.store(true, Ordering::Relaxed);
                }
                if self.budget.exhausted() {
                    self.broken.store(true, Ordering::Relaxed);
                    return Err(Fault::ReplyTooLarge);
                }
                Err(Fault::Redis(error))
            }
        }
    }
}

impl From<DialFailure> for Error {
    fn from(failure: DialFailure) -> Self {
        match failure {
            DialFailure::NotAllowed { host, address } => {
                EgressError::NotAllowed { host, address }.into()
            }
            // One sentence for whatever kept us from getting there.
            DialFailure::Timeout => Self::connection_failed("no connection in time"),
            DialFailure::Failed(cause) => match cause.downcast_ref::<redis::RedisError>() {
                Some(error) => Fault::Redis(error.clone()).into(),
                None => Self::connection_failed(chain(&*cause)),
            },
        }
    }
}
