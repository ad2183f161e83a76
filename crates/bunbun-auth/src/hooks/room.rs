//! How many connections hooks may keep busy. A hook runs within the transaction that it decides
//! about; a slow one must not take the connections of those who need no hook, nor one kind of hook
//! those of the other.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use bunbun_postgres::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Hooks;
use crate::error::{AuthError, Code, Result};

/// The longest wait for a turn.
const WAIT: Duration = Duration::from_secs(10);

/// Which hooks a request may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calls {
    /// It may create a user.
    Users,
    /// It makes a token.
    Tokens,
    /// It may do both.
    Both,
}

/// The turns of a project's database.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    users: Arc<Semaphore>,
    tokens: Arc<Semaphore>,
}

impl Room {
    /// A third of the connections for each kind; the rest is for everybody else.
    pub(crate) fn of(connections: usize) -> Self {
        let share = (connections / 3).max(1);
        Self {
            users: Arc::new(Semaphore::new(share)),
            tokens: Arc::new(Semaphore::new(share)),
        }
    }

    /// Waits for a turn, before a connection is taken. Without a hook there is nothing to wait for.
    /// One turn is one connection: whoever may do both has one of those who create users.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit`.
    pub(crate) async fn enter(&self, hooks: &Hooks, calls: Calls) -> Result<Turn> {
        let turns = if hooks.has_before_user_created() && calls != Calls::Tokens {
            &self.users
        } else if hooks.has_access_token() && calls != Calls::Users {
            &self.tokens
        } else {
            return Ok(Turn(None));
        };
        let turn = tokio::time::timeout(WAIT, Arc::clone(turns).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(|| {
            AuthError::too_many(
                Code::OverRequestRateLimit,
                "Too many requests wait for a hook; try again",
                5,
            )
        })?;
        Ok(Turn(Some(turn)))
    }
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] Option<OwnedSemaphorePermit>);

/// A connection for a request that may call hooks.
pub(crate) struct HookedClient {
    client: Client,
    // Declared last: the turn ends after the connection is given back.
    _turn: Turn,
}

impl HookedClient {
    pub(crate) const fn new(client: Client, turn: Turn) -> Self {
        Self {
            client,
            _turn: turn,
        }
    }
}

impl Deref for HookedClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for HookedClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
