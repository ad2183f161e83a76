//! Stored connections as handlers use them: from a caller's access and an identifier to a live
//! pool, with the audit log, the cache and the metrics on the way.

mod cache;
mod limiter;
mod nodes;
pub mod secrets;
pub(crate) mod stored;
pub(crate) mod trial;

use std::{collections::HashMap, fmt, future::Future, ops::Deref, sync::Arc, time::Duration};

use bunbun_core::{
    Classify, Code,
    encryption::MasterKeys,
    id::{ConnectionId, ProjectRef},
    task,
};
use bunbun_databases::{
    Database, DatabaseType, Error, Settings,
    postgres::Postgres,
    registry::{PoolKey, Registry},
};
use bunbun_http::ApiError;
use bunbun_store::{
    Store,
    database_connections::{self as rows, DatabaseConnection, Status},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use self::{
    cache::{Cache, Key},
    limiter::Limiter,
    nodes::Nodes,
    secrets::Secrets,
};
use crate::{
    access::{Permission, ProjectAccess},
    state::Databases,
};

/// What the composition root hands over.
pub struct ConnectionsParts {
    /// The control plane.
    pub store: Store,
    /// The pools.
    pub registry: Registry,
    /// The master keys; without them no password can be stored.
    pub master_keys: Option<MasterKeys>,
    /// The projects' own databases.
    pub databases: Arc<dyn Databases>,
    /// Most trials of a project's connections in a minute.
    pub tests_per_minute: usize,
}

/// The stored connections of all projects. Clones share everything.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    store: Store,
    registry: Registry,
    secrets: Secrets,
    databases: Arc<dyn Databases>,
    cache: Cache,
    trials: Limiter,
    /// How many changes went through each connection, where there were any: everything but schemas
    /// is believed until the next one only.
    changes: Mutex<HashMap<ConnectionId, u64>>,
    /// The same for the schemas of a project's databases: several connections may lead to one.
    schemas: Mutex<HashMap<ProjectRef, u64>>,
    nodes: Nodes,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections")
            .field(&self.0.registry)
            .finish()
    }
}

/// A live pool, and which stored connection it belongs to. Derefs to the engine.
#[derive(Debug)]
pub struct Connected<D> {
    database: Arc<D>,
    /// The project.
    pub project: ProjectRef,
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

    /// A project's own database, which needs no stored connection.
    #[must_use]
    pub fn own<P: Permission>(access: &ProjectAccess<P>, database: Arc<D>) -> Self {
        Self {
            database,
            project: access.project().clone(),
            id: None,
            version: 0,
            fresh: access.wants_fresh(),
        }
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
    /// Schemas: 10 minutes, or until a statement may have changed them.
    Schemas,
    /// What a sample of a collection looks like: 10 minutes.
    Samples,
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
            Self::Schemas | Self::Samples => 600,
            Self::ServerInfo => 30,
        })
    }

    /// The label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Databases => "databases",
            Self::Schemas => "schemas",
            Self::Samples => "samples",
            Self::ServerInfo => "server_info",
        }
    }
}

impl Connections {
    /// The connections around a store and a registry. Nothing connects yet.
    #[must_use]
    pub fn new(parts: ConnectionsParts) -> Self {
        Self(Arc::new(Inner {
            secrets: Secrets::new(parts.master_keys),
            store: parts.store,
            registry: parts.registry,
            databases: parts.databases,
            cache: Cache::new(),
            trials: Limiter::new(parts.tests_per_minute, Duration::from_secs(60)),
            changes: Mutex::default(),
            schemas: Mutex::default(),
            nodes: Nodes::default(),
        }))
    }

    /// The control plane.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The pools.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The pool of a stored connection of this kind: the one of this identifier, or the primary
    /// one. With `ProjectAccess<Write>` the request is in the audit log when this returns.
    ///
    /// # Errors
    /// `CONNECTION_NOT_FOUND`, `CONNECTION_FAILED`, `AUTHENTICATION_FAILED`, `HOST_NOT_ALLOWED`,
    /// `POOL_EXHAUSTED`, and the store's.
    pub async fn database<D: Database, P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        identifier: Option<&str>,
    ) -> Result<Connected<D>, ApiError> {
        let kind = D::TYPE.as_str();
        let row = self
            .row(access, kind, identifier, access.wants_fresh())
            .await?;
        if P::WRITES {
            let key = pool_key(access.project(), &row);
            access.attempt().works_on(self, key);
            access.attempt().record(access, self).await?;
        }
        // Boxed: an engine's attempt to connect is large, and most callers find a pool.
        match Box::pin(self.pool(access, row)).await {
            // Changed in the meantime: what was kept of it is old.
            Err(error) if error.code() == Code::ConnectionNotFound => {
                let row = self.row(access, kind, identifier, true).await?;
                Ok(Box::pin(self.pool(access, row)).await?)
            }
            other => Ok(other?),
        }
    }

    async fn pool<D: Database, P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        row: Arc<DatabaseConnection>,
    ) -> Result<Connected<D>, Error> {
        let key = pool_key(access.project(), &row);
        access.attempt().works_on(self, key.clone());
        let settings = self.opened(&key.project, D::TYPE, &row);
        let outcome = self.0.registry.get::<D>(&key, settings).await;
        self.note(access.project(), &row, outcome.as_ref().err());
        Ok(Connected {
            database: outcome?,
            project: key.project,
            id: Some(row.id),
            version: row.version,
            fresh: access.wants_fresh(),
        })
    }

    /// A stored connection's settings with its password.
    async fn opened(
        &self,
        project: &ProjectRef,
        kind: DatabaseType,
        row: &DatabaseConnection,
    ) -> Result<Settings, Error> {
        let key = self
            .0
            .secrets
            .key_for(&self.0.store, project, &row.settings);
        let key = key.await.map_err(Error::classified)?;
        secrets::open(project, kind, row, key.as_deref())
    }

    /// The stored connection, as it was up to five minutes ago.
    async fn row<P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        kind: &'static str,
        identifier: Option<&str>,
        fresh: bool,
    ) -> Result<Arc<DatabaseConnection>, ApiError> {
        let project = access.project();
        let key = Key {
            project: project.clone(),
            place: None,
            what: Cacheable::Connection,
            key: format!("{kind}/{}", identifier.unwrap_or_default()).into(),
        };
        let read = async move {
            let client = self.0.store.client().await?;
            rows::find_by_identifier(&client, project, kind, identifier)
                .await?
                .ok_or_else(|| not_found(kind, identifier))
        };
        self.0.cache.get(key, fresh, read).await
    }

    /// Keeps in the store how a connection is, where that is news.
    fn note(&self, project: &ProjectRef, row: &DatabaseConnection, failure: Option<&Error>) {
        let (status, message) = match failure {
            None => (Status::Active, None),
            Some(error) => match error.code() {
                // Internal: the stored password cannot be opened.
                Code::ConnectionFailed
                | Code::AuthenticationFailed
                | Code::HostNotAllowed
                | Code::Internal => (
                    Status::Error,
                    error.public_message().map(std::borrow::Cow::into_owned),
                ),
                _ => return,
            },
        };
        if row.status == status && row.last_error == message {
            return;
        }
        let (connections, project) = (self.clone(), project.clone());
        let (id, version) = (row.id, row.version);
        task::spawn_quiet(async move {
            let write = async {
                let client = connections.0.store.client().await?;
                let message = message.as_deref();
                rows::update_status(&client, &project, id, version, status, message).await
            };
            if let Err(error) = write.await {
                let error = bunbun_core::error::chain(&error);
                tracing::warn!(%id, error, "the status of a connection is not stored");
            }
            connections
                .0
                .cache
                .forget(&project, None, Cacheable::Connection);
        });
    }

    /// The PostgreSQL connection of this identifier, the primary one, or, where none is stored, the
    /// project's own database.
    ///
    /// # Errors
    /// As [`Connections::database`].
    pub async fn postgres<P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        identifier: Option<&str>,
    ) -> Result<Connected<Postgres>, ApiError> {
        match self.database(access, identifier).await {
            Err(error) if identifier.is_none() && error.code() == Code::ConnectionNotFound => {
                if P::WRITES {
                    access.attempt().record(access, self).await?;
                }
                let pool = self.0.databases.pool(access.project())?;
                Ok(Connected::own(access, Arc::new(Postgres::new(pool))))
            }
            other => other,
        }
    }

    /// Names what a request changes, in the audit log: an action such as `redis.key.delete` and its
    /// target (never a value). Writes the row where it is not there yet.
    ///
    /// # Errors
    /// The store's; then nothing may be changed.
    pub async fn audit<P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        action: &'static str,
        target: &str,
    ) -> Result<(), ApiError> {
        access.attempt().name(action, target);
        access.attempt().record(access, self).await
    }

    /// A value of a connection from the cache, or made by `make`: one caller makes it, the others
    /// wait. `Cache-Control: no-cache` makes it anew. Failures are not kept.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn cached<'a, D, T, E>(
        &'a self,
        connected: &Connected<D>,
        what: Cacheable,
        key: &str,
        make: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> BoxFuture<'a, Result<Arc<T>, ApiError>>
    where
        T: Send + Sync + 'static,
        E: Classify + Send + Sync + 'static,
    {
        let changes = match (what, connected.id) {
            (Cacheable::Schemas, _) => self.0.schemas.lock().get(&connected.project).copied(),
            (_, Some(id)) => self.0.changes.lock().get(&id).copied(),
            _ => None,
        };
        let key = Key {
            project: connected.project.clone(),
            place: Some((connected.id, connected.version)),
            what,
            key: format!("{key}/{}", changes.unwrap_or_default()).into(),
        };
        let make = async { make.await.map_err(ApiError::from) };
        self.0.cache.get(key, connected.fresh, make)
    }

    /// A change went through a connection: what was kept of what it may have changed is old.
    pub(crate) fn wrote(&self, id: ConnectionId) {
        *self.0.changes.lock().entry(id).or_default() += 1;
    }
}

fn pool_key(project: &ProjectRef, row: &DatabaseConnection) -> PoolKey {
    PoolKey {
        project: project.clone(),
        id: row.id,
        version: row.version,
    }
}

fn not_found(kind: &str, identifier: Option<&str>) -> ApiError {
    let message = match identifier {
        Some(_) => format!("There is no {kind} connection with this identifier."),
        None => format!(
            "The project has no primary {kind} connection: store one at \
             /api/platform/{kind}/REF/connections, or name one by ?connection=IDENTIFIER."
        ),
    };
    ApiError::new(Code::ConnectionNotFound, message)
}
