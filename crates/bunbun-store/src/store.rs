//! The control plane's database as a whole: one pool, made ready on first use.

use std::{fmt, sync::Arc, time::Duration};

use bunbun_core::config::DatabaseConfig;
use bunbun_postgres::Target;
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::sync::OnceCell;
use tokio_postgres::error::SqlState;

use crate::{Error, migrate};

/// The database that the control plane has when no other is configured.
const DEFAULT_DATABASE: &str = "bunbun";

/// Longest wait for one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shown in `pg_stat_activity`.
const APPLICATION_NAME: &str = "bunbun control plane";

/// Most connections of one node. The control plane is asked rarely.
const POOL_SIZE: usize = 5;

/// Longest wait for a connection, making one included.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The control plane's database. Clones share its connections. Nothing connects until the first
/// call that needs a connection, so a node starts without it.
#[derive(Clone)]
pub struct Store(Option<Arc<Inner>>);

struct Inner {
    pool: Pool,
    target: Target,
    /// A database of the same server that exists, where ours may be created.
    maintenance: Option<Target>,
    ready: OnceCell<()>,
}

/// The state of the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Most connections.
    pub size: usize,
    /// Connections in use.
    pub in_use: usize,
    /// Open connections that wait for work.
    pub idle: usize,
    /// Callers who wait for a connection.
    pub waiting: usize,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.status()).finish()
    }
}

impl Store {
    /// Prepares the pool for `PLATFORM_DATABASE_URL`, or else for the database `bunbun` on the
    /// server of `DATABASE_URL`. With neither, every use answers [`Error::NotConfigured`].
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn new(config: &DatabaseConfig) -> Result<Self, Error> {
        let parse = |url| Target::parse(url, CONNECT_TIMEOUT, APPLICATION_NAME);
        let project = config.url.as_ref().map(parse).transpose()?;
        let (target, maintenance) = match (&config.platform_url, project) {
            (Some(url), project) => (parse(url)?, project),
            (None, Some(project)) => (
                project.clone().with_database(DEFAULT_DATABASE),
                Some(project),
            ),
            (None, None) => return Ok(Self(None)),
        };
        // A configured database of another server is not ours to create.
        let maintenance = maintenance.filter(|other| {
            other.config.get_hosts() == target.config.get_hosts()
                && other.config.get_ports() == target.config.get_ports()
        });
        let manager = Manager::from_config(
            target.config.clone(),
            target.connector(),
            ManagerConfig {
                // One round trip per checkout, so that a restart of PostgreSQL goes unnoticed.
                recycling_method: RecyclingMethod::Verified,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(WAIT_TIMEOUT))
            .recycle_timeout(Some(WAIT_TIMEOUT))
            .build()
            .map_err(|error| Error::Unavailable(error.into()))?;
        Ok(Self(Some(Arc::new(Inner {
            pool,
            target,
            maintenance,
            ready: OnceCell::new(),
        }))))
    }

    /// A connection. The first call creates the database when it is missing, and migrates it; as
    /// long as that fails, each call tries again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when PostgreSQL cannot be reached or no connection becomes free in
    /// time; what [`migrate()`](crate::migrate()) answers with.
    pub async fn client(&self) -> Result<Client, Error> {
        let inner = self.inner()?;
        inner
            .ready
            .get_or_try_init(|| async { migrate::run(self).await.map(drop) })
            .await?;
        Ok(inner.pool.get().await?)
    }

    /// The state of the pool at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let Some(inner) = &self.0 else {
            return Status::default();
        };
        let status = inner.pool.status();
        Status {
            size: status.max_size,
            in_use: status.size.saturating_sub(status.available),
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Says that the migrations are applied.
    pub(crate) fn set_ready(&self) {
        if let Some(inner) = &self.0 {
            // Losing this race means that someone else said it.
            let _ = inner.ready.set(());
        }
    }

    /// A connection beside the pool, to a database that is created when missing and permitted.
    pub(crate) async fn connect(&self) -> Result<tokio_postgres::Client, Error> {
        let inner = self.inner()?;
        let missing = match inner.target.connect().await {
            Ok(client) => return Ok(client),
            Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => error,
            Err(error) => return Err(Error::Unavailable(error.into())),
        };
        let (Some(maintenance), Some(name)) =
            (&inner.maintenance, inner.target.config.get_dbname())
        else {
            return Err(Error::Missing(missing));
        };
        create_database(maintenance, name).await?;
        inner
            .target
            .connect()
            .await
            .map_err(|error| Error::Unavailable(error.into()))
    }

    /// A connection beside the pool that passes notifications on: their channel and payload.
    pub(crate) async fn listen(
        &self,
        told: impl FnMut(&str, &str) + Send + 'static,
    ) -> Result<tokio_postgres::Client, Error> {
        let listening = self.inner()?.target.listen(told).await;
        listening.map_err(|error| Error::Unavailable(error.into()))
    }

    fn inner(&self) -> Result<&Arc<Inner>, Error> {
        self.0.as_ref().ok_or(Error::NotConfigured)
    }
}

/// Creates the database. That another node did so in the meantime is as good.
async fn create_database(maintenance: &Target, name: &str) -> Result<(), Error> {
    let client = maintenance
        .connect()
        .await
        .map_err(|error| Error::Unavailable(error.into()))?;
    let name = format!("\"{}\"", name.replace('"', "\"\""));
    let created = client
        .batch_execute(&format!("create database {name}"))
        .await;
    match created {
        Ok(()) => {}
        Err(error) => match error.code() {
            // 42P04, or 23505 on pg_database when two nodes come at the same moment.
            Some(&SqlState::DUPLICATE_DATABASE | &SqlState::UNIQUE_VIOLATION) => return Ok(()),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => return Err(Error::Missing(error)),
            _ => return Err(error.into()),
        },
    }
    // PostgreSQL lets every role into a new database; the roles of projects have no business here.
    client
        .batch_execute(&format!("revoke all on database {name} from public"))
        .await?;
    tracing::info!("created the control plane's database");
    Ok(())
}
