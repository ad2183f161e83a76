//! What the handlers work with: the seams to the rest of the process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bunbun_core::{Code, config::DatabaseConfig, id::ProjectRef, shutdown::Shutdown};
use bunbun_databases::postgres::pool::Pool;
use bunbun_http::{
    ApiError,
    explain::Explain,
    slots::{SlotCall, SlotMode, SlotProbes},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use crate::{
    backups::Backups,
    cached::Cached,
    clients::{OnBehalf, auth, storage},
    connections::Connections,
    routes::health::services::Report,
};
use bytes::Bytes;

/// Most uploads whose file waits on disk for the fields behind it.
const MAX_SPOOLED: usize = 16;

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

/// Shows the mails that `bunbun dev` keeps instead of sending them.
pub trait DevMailbox: Send + Sync + 'static {
    /// `{"mails": […]}`, the latest first.
    fn mails(&self) -> serde_json::Value;
}

impl<F: Fn() -> serde_json::Value + Send + Sync + 'static> DevMailbox for F {
    fn mails(&self) -> serde_json::Value {
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
    /// Calls the services behind the slots.
    pub calls: Arc<dyn SlotCall>,
    /// URL under which clients reach BunBun; `None`: as the request has it.
    pub public_url: Option<Url>,
    /// Largest file of an upload, in bytes.
    pub file_size_limit: u64,
    /// Where files of uploads may wait; made when it is needed.
    pub spool_directory: PathBuf,
    /// The metrics.
    pub metrics: Arc<dyn MetricsText>,
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// Explains what the gateway decides.
    pub explain: Arc<dyn Explain>,
    /// Backups; `None` where their place cannot be used.
    pub backups: Option<Backups>,
    /// Stored connections to databases; `None` where there is no control plane.
    pub connections: Option<Connections>,
    /// The mailbox of `bunbun dev`; `None` elsewhere.
    pub mailbox: Option<Arc<dyn DevMailbox>>,
    /// Given when the process begins to drain.
    pub shutdown: Shutdown,
}

/// The state of the router.
pub struct ApiState {
    /// What the composition root handed over.
    pub(crate) parts: ApiParts,
    /// The description of all endpoints, as it is served; made when it is first asked for.
    pub(crate) document: OnceLock<Bytes>,
    /// When the process started.
    pub(crate) started: Instant,
    /// The last look at all services.
    pub(crate) services: Cached<Report>,
    /// The last look at PostgreSQL for `/readyz`.
    pub(crate) postgres_answers: Cached<bool>,
    /// Room for files that wait on disk.
    spool: Arc<Semaphore>,
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
            spool: Arc::new(Semaphore::new(MAX_SPOOLED)),
        })
    }

    /// The auth service, on behalf of a caller.
    pub(crate) fn auth<'a>(&'a self, behalf: &'a OnBehalf) -> auth::Client<'a> {
        auth::Client::new(&self.parts.calls, behalf)
    }

    /// The storage service, on behalf of a caller.
    pub(crate) fn storage<'a>(&'a self, behalf: &'a OnBehalf) -> storage::Client<'a> {
        storage::Client::new(&self.parts.calls, behalf)
    }

    /// URL under which clients reach BunBun, where it is configured.
    pub(crate) fn public_url(&self) -> Option<&Url> {
        self.parts.public_url.as_ref()
    }

    /// Largest file of an upload, in bytes.
    pub(crate) fn file_size_limit(&self) -> u64 {
        self.parts.file_size_limit
    }

    /// Where files of uploads may wait.
    pub(crate) fn spool_directory(&self) -> &Path {
        &self.parts.spool_directory
    }

    /// Room for one more file that waits on disk.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` where enough wait already.
    pub(crate) fn room_to_spool(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.spool).try_acquire_owned().map_err(|_| {
            let message = "Too many files wait for the fields behind them; send bucket and path \
                           before the file.";
            ApiError::new(Code::ServiceUnavailable, message)
        })
    }

    /// The stored connections.
    ///
    /// # Errors
    /// `SERVICE_UNAVAILABLE` where there is no control plane.
    pub fn connections(&self) -> Result<&Connections, ApiError> {
        self.parts.connections.as_ref().ok_or_else(|| {
            let message = "This installation keeps no connections: set DATABASE_URL or \
                           PLATFORM_DATABASE_URL.";
            ApiError::new(Code::ServiceUnavailable, message)
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
