//! A query connection in the hands of one caller, and what happens to it afterwards.
//!
//! A session is cleaned before anyone else gets it, after the answer is ready: transaction ended,
//! settings, locks, cursors, temporary tables and prepared statements gone. A statement that still
//! runs when its caller has gone away is cancelled, and the connection comes back only when the
//! server has confirmed that it is idle, so that the cancel cannot hit anyone else.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use super::{
    super::{
        error::Error,
        pool::{Permit, Pool},
        wire::{Connection, Session},
    },
    classify::Effects,
};

/// Everything that [`Effects::Session`] may leave, without losing our prepared statements.
const CLEAN_SESSION: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                             SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; \
                             DISCARD SEQUENCES";

/// Longest wait for one step of cleaning up; a connection that takes longer is closed.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// How often a running statement is asked to stop: a cancel that arrives between two statements
/// of one text is lost on the server.
const CANCEL_ATTEMPTS: usize = 3;

/// A connection that is used by one caller.
pub(crate) struct Lease {
    inner: Option<Leased>,
    /// It has served before, so that it may have died unnoticed.
    pub(crate) was_reused: bool,
    /// What is to be cleaned.
    pub(crate) effects: Effects,
}

struct Leased {
    connection: Box<Connection>,
    pool: Pool,
    // Declared last: it is given back after the connection.
    permit: Permit,
}

impl Lease {
    pub(crate) fn new(
        connection: Box<Connection>,
        pool: Pool,
        permit: Permit,
        was_reused: bool,
    ) -> Self {
        let inner = Some(Leased {
            connection,
            pool,
            permit,
        });
        Self {
            inner,
            was_reused,
            effects: Effects::None,
        }
    }

    /// Everything that the caller's statement may leave behind is cleaned.
    pub(crate) fn expect_effects(&mut self, effects: Effects) {
        self.effects = self.effects.max(effects);
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self
            .inner
            .as_ref()
            .expect("the connection is there until drop")
            .connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self
            .inner
            .as_mut()
            .expect("the connection is there until drop")
            .connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(leased) = self.inner.take() else {
            return;
        };
        if self.effects == Effects::Everything {
            leased.pool.tables_changed();
        }
        let connection = &leased.connection;
        if connection.is_broken() {
            return;
        }
        let is_settled = !connection.is_busy() && connection.session() == Session::Idle;
        if is_settled && self.effects == Effects::None {
            leased.give_back();
        } else if tokio::runtime::Handle::try_current().is_ok() {
            let effects = self.effects;
            bunbun_core::task::spawn("query-cleanup", async move {
                let mut leased = leased;
                match settle(&mut leased.connection, effects).await {
                    Ok(()) => leased.give_back(),
                    Err(error) => {
                        let cause = bunbun_core::error::chain(&error);
                        tracing::debug!(cause, "a query connection is closed");
                    }
                }
            });
        }
    }
}

impl Leased {
    fn give_back(self) {
        let Self {
            connection,
            pool,
            permit,
        } = self;
        pool.put_query_connection(connection);
        drop(permit);
    }
}

/// Stops what runs and cleans the session.
async fn settle(connection: &mut Connection, effects: Effects) -> Result<(), Error> {
    if connection.is_busy() {
        stop(connection).await?;
    }
    if connection.session() != Session::Idle {
        step(connection, "ROLLBACK").await?;
    }
    match effects {
        Effects::None => Ok(()),
        Effects::Session => step(connection, CLEAN_SESSION).await,
        Effects::Everything => {
            connection.statements.clear();
            connection.types.clear();
            step(connection, "DISCARD ALL").await
        }
    }
}

/// Cancels the running statement and waits until the server is idle.
async fn stop(connection: &mut Connection) -> Result<(), Error> {
    let key = connection.cancel_key().clone();
    connection.end_unsynced().await?;
    for _ in 0..CANCEL_ATTEMPTS {
        key.cancel(STEP_LIMIT).await?;
        if let Ok(result) = tokio::time::timeout(STEP_LIMIT, connection.drain()).await {
            return result;
        }
    }
    Err(Error::unavailable("a cancelled statement did not end"))
}

async fn step(connection: &mut Connection, sql: &str) -> Result<(), Error> {
    let limited = async |connection: &mut Connection| {
        tokio::time::timeout(STEP_LIMIT, connection.run(sql))
            .await
            .map_err(|_| Error::unavailable("cleaning a session took too long"))?
    };
    match limited(connection).await {
        // A cancel that came too late for its statement; it comes only once.
        Err(Error::StatementTimeout | Error::Sql(_)) => limited(connection).await,
        result => result,
    }
}
