//! What the handlers work with: the seams to the rest of the process.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bunbun_core::{Code, config::DatabaseConfig, id::ProjectRef, shutdown::Shutdown};
use bunbun_databases::postgres::pool::Pool;
use bunbun_http::{
    ApiError,
    explain::Explain,
    slots::{SlotMode, SlotProbes},
};
use bytes::Bytes;

use crate::{backups::Backups, cached::Cached, routes::health::services::Report};

/// Finds the database of a project.
pub trait Databases: Send + Sync + 'static {
    /// The pool of the project's database.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE` where the project has none, `PROJECT_NOT_FOUND` where there is no
    /// such project.
    fn pool(&self, project: &ProjectRef) -> Result<Pool, ApiError>;
}

/// The database of a single-project installation; `None` where `DATABASE_URL` is not set.
pub struct SingleDatabase(pub Option<Pool>);

impl Databases for SingleDatabase {
    fn pool(&self, project: &ProjectRef) -> Result<Pool, ApiError> {
        if project.as_str() != ProjectRef::DEFAULT {
            let message = format!("No project '{project}'.");
            return Err(ApiError::new(Code::ProjectNotFound, message));
        }
        self.0.clone().ok_or_else(|| {
            let message = "This installation has no PostgreSQL; set DATABASE_URL.";
            ApiError::new(Code::DatabaseUnavailable, message)
        })
    }
}

/// Renders the metrics in Prometheus' text format.
pub trait MetricsText: Send + Sync + 'static {
    /// The current values.
    fn render(&self) -> String;
}

impl<F: Fn() -> String + Send + Sync + 'static> MetricsText for F {
    fn render(&self) -> String {
        self()
    }
}

/// Bounds of what a caller may ask of the database.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseLimits {
    /// Longest run of one statement, unless the caller says otherwise.
    pub statement_timeout: Duration,
    /// Most rows of one buffered answer.
    pub max_rows: usize,
}

impl From<&DatabaseConfig> for DatabaseLimits {
    fn from(config: &DatabaseConfig) -> Self {
        Self {
            statement_timeout: config.statement_timeout,
            max_rows: config.max_rows,
        }
    }
}

/// What the composition root hands over.
pub struct ApiParts {
    /// BunBun's version.
    pub version: &'static str,
    /// The projects' databases.
    pub databases: Arc<dyn Databases>,
    /// Bounds of what a caller may ask of a database.
    pub database_limits: DatabaseLimits,
    /// Whether PostgreSQL is our own child (`dev`) or somebody else's.
    pub postgres_mode: SlotMode,
    /// Probes of the service slots.
    pub slots: Arc<dyn SlotProbes>,
    /// The metrics.
    pub metrics: Arc<dyn MetricsText>,
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// Explains what the gateway decides.
    pub explain: Arc<dyn Explain>,
    /// Backups; `None` where their place cannot be used.
    pub backups: Option<Backups>,
    /// Given when the process begins to drain.
    pub shutdown: Shutdown,
}

/// The state of the router.
pub struct ApiState {
    /// What the composition root handed over.
    pub(crate) parts: ApiParts,
    /// The description of all endpoints, as it is served.
    pub(crate) document: OnceLock<Bytes>,
    /// When the process started.
    pub(crate) started: Instant,
    /// The last look at all services.
    pub(crate) services: Cached<Report>,
    /// The last look at PostgreSQL for `/readyz`.
    pub(crate) postgres_answers: Cached<bool>,
}

impl ApiState {
    /// The state around the given parts. The process counts as started now.
    #[must_use]
    pub fn new(parts: ApiParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            document: OnceLock::new(),
            started: Instant::now(),
            services: Cached::new(Duration::from_secs(5)),
            postgres_answers: Cached::new(Duration::from_secs(1)),
        })
    }

    /// The backups.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` where their place cannot be used.
    pub(crate) fn backups(&self) -> Result<&Backups, ApiError> {
        self.parts.backups.as_ref().ok_or_else(|| {
            let message = "The place of backups cannot be used; the log of the start says why.";
            ApiError::new(Code::ServiceUnavailable, message)
        })
    }
}
