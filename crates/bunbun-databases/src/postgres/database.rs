//! One stored PostgreSQL connection: `/api/platform/postgres/{ref}`.
//!
//! The pool of one connection, what is known of its tables, and what runs on it. Hosts are looked
//! up and checked for each connection that is made, and connected to by the address that was
//! checked. No session is shared dirty: whatever a statement may have left is cleaned before the
//! next caller has the connection.

use std::{error::Error as _, time::Duration};

use bunbun_core::{Classify, Code, egress::Egress};
use bunbun_postgres::{Encryption, Target};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio_postgres::config::{Config, TargetSessionAttrs};

use super::{
    activity::{self, End},
    catalog::{self, Items, List, Page},
    error::{Error as PostgresError, SqlError},
    explain::{self, Explain, Plan},
    migrate::{self, MigrationOutcome, MigrationRequest},
    origin::{Checked, Origin, Resolve},
    pool::{Pool, PoolConfig},
    query::{self, Answer, Request, RowFormat, RowStream},
    rows::{self, Insert, ListRows, Row, Rows, TableName, Values},
    stats::{self, Stats},
};
use crate::{
    Error,
    connection::{
        Database, DatabaseType, Limits, Options, PoolStatus, ServerInfo, Settings, TlsMode,
        options::{PostgresOptions, TargetSession},
    },
};

/// Longest wait for statements of ours. The server ends them in time (`catalog::BEGIN`); this is for
/// a server that is gone without a word.
pub(super) const OWN_LIMIT: Duration = Duration::from_secs(40);

/// Work of ours on the database, for as long as it may take.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    tokio::time::timeout(OWN_LIMIT, work)
        .await
        .unwrap_or(Err(PostgresError::StatementTimeout))
}

/// One PostgreSQL database of a project.
pub struct Postgres {
    pool: Pool,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Around a pool that is there already: the project's own database.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// The connections.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs a statement that can be cancelled by its id.
    ///
    /// # Errors
    /// `QUERY_INVALID`, `QUERY_CANCELLED`, `QUERY_EXISTS`, `TIMEOUT`, and what keeps us from the
    /// database.
    pub async fn run(&self, id: &str, request: &Request) -> Result<Answer, Error> {
        let answer = self.pool.running().run(id, &self.pool, request).await;
        Ok(answer?)
    }

    /// As [`Self::run`], with rows as they come.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn stream(
        &self,
        id: &str,
        request: Request,
        format: RowFormat,
    ) -> Result<RowStream, Error> {
        Ok(self
            .pool
            .running()
            .stream(id, &self.pool, request, format)
            .await?)
    }

    /// Whether a statement of this text may change what the catalogue says.
    #[must_use]
    pub fn may_change_catalogue(&self, request: &Request) -> bool {
        query::may_change_catalogue(&self.pool, request)
    }

    /// Cancels a statement that runs.
    ///
    /// # Errors
    /// `QUERY_NOT_FOUND`.
    pub fn cancel(&self, id: &str) -> Result<(), Error> {
        Ok(self.pool.running().cancel(id)?)
    }

    /// A page of a list of the catalogue.
    ///
    /// # Errors
    /// `SCHEMA_NOT_FOUND`, `INVALID_REQUEST` for a cursor of another list.
    pub async fn list(&self, list: &List, page: &Page) -> Result<Items, Error> {
        Ok(in_time(catalog::list(&self.pool, list, page)).await?)
    }

    /// A page of a table's rows.
    ///
    /// # Errors
    /// `TABLE_NOT_FOUND`, `INVALID_REQUEST`, `QUERY_INVALID`, `TIMEOUT`.
    pub async fn list_rows(&self, request: &ListRows) -> Result<Rows, Error> {
        Ok(rows::list(&self.pool, request).await?)
    }

    /// All rows that fit, as they come.
    ///
    /// # Errors
    /// As [`Self::list_rows`].
    pub async fn stream_rows(
        &self,
        request: &ListRows,
        format: RowFormat,
    ) -> Result<RowStream, Error> {
        Ok(rows::stream(&self.pool, request, format).await?)
    }

    /// The row with a key.
    ///
    /// # Errors
    /// `ROW_NOT_FOUND`, and as [`Self::list_rows`].
    pub async fn row(&self, table: &TableName, key: &str, limit: Duration) -> Result<Row, Error> {
        Ok(rows::get(&self.pool, table, key, limit).await?)
    }

    /// Inserts rows, all or none.
    ///
    /// # Errors
    /// `ROW_EXISTS`, and as [`Self::list_rows`].
    pub async fn insert_rows(&self, request: &Insert) -> Result<Vec<Row>, Error> {
        Ok(rows::insert(&self.pool, request).await?)
    }

    /// Changes the row with a key, where it has one of the versions if any are given.
    ///
    /// # Errors
    /// `ROW_NOT_FOUND`, `PRECONDITION_FAILED`, `QUERY_NOT_ALLOWED`, and as [`Self::list_rows`].
    pub async fn update_row(
        &self,
        of: (&TableName, &str),
        values: &Values,
        versions: Option<&[String]>,
        limit: Duration,
    ) -> Result<Row, Error> {
        let (table, key) = of;
        Ok(rows::update(&self.pool, table, key, values, versions, limit).await?)
    }

    /// Deletes the row with a key, where it has one of the versions if any are given.
    ///
    /// # Errors
    /// As [`Self::update_row`].
    pub async fn delete_row(
        &self,
        of: (&TableName, &str),
        versions: Option<&[String]>,
        limit: Duration,
    ) -> Result<Row, Error> {
        let (table, key) = of;
        Ok(rows::delete(&self.pool, table, key, versions, limit).await?)
    }

    /// How a statement would run, or did.
    ///
    /// # Errors
    /// `QUERY_INVALID`, `INVALID_REQUEST`, `TIMEOUT`.
    pub async fn explain(&self, request: &Explain) -> Result<Plan, Error> {
        Ok(explain::explain(&self.pool, request).await?)
    }

    /// A page of the database's sessions.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn activity(&self, page: &Page) -> Result<Items, Error> {
        Ok(in_time(activity::list(&self.pool, page)).await?)
    }

    /// Ends what a session does.
    ///
    /// # Errors
    /// `PROCESS_NOT_FOUND`, `QUERY_INVALID` where the role may not.
    pub async fn end(&self, process: i32, end: End) -> Result<bool, Error> {
        Ok(in_time(activity::end(&self.pool, process, end)).await?)
    }

    /// Sizes and counters.
    ///
    /// # Errors
    /// What keeps us from the database.
    pub async fn stats(&self) -> Result<Stats, Error> {
        Ok(in_time(stats::read(&self.pool)).await?)
    }

    /// Applies a migration.
    ///
    /// # Errors
    /// As [`migrate::apply`].
    pub async fn migrate(
        &self,
        request: MigrationRequest,
    ) -> Result<MigrationOutcome, migrate::Error> {
        let outcome = migrate::apply(&self.pool, request).await;
        self.pool.tables_changed();
        outcome
    }
}

/// Version, whether it is a replica, and whether this session is encrypted.
const INFO: &str = "\
    select pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), \
           coalesce((select s.ssl from pg_catalog.pg_stat_ssl s \
                     where s.pid = pg_catalog.pg_backend_pid()), false)";

impl Database for Postgres {
    const TYPE: DatabaseType = DatabaseType::Postgres;

    async fn connect(settings: &Settings, egress: &Egress, limits: &Limits) -> Result<Self, Error> {
        let Options::Postgres(options) = &settings.options else {
            return Err(Error::internal("options of another kind of database"));
        };
        let target = target(settings, options, limits)?;
        let hosts = settings.hosts.iter();
        let hosts = hosts.map(|host| (host.name.clone(), host.port)).collect();
        let checked = Checked::new(target, hosts, resolve(egress))?;
        let config = PoolConfig {
            size: limits.max_connections,
            connect_timeout: limits.connect_timeout,
            max_waiting: limits.max_waiting,
            statement_timeout: limits.operation_timeout,
            ..PoolConfig::new(SecretString::default())
        };
        let this = Self::new(Pool::to(Origin::Checked(Box::new(checked)), &config)?);
        this.ping().await?;
        Ok(this)
    }

    async fn ping(&self) -> Result<(), Error> {
        // A connection at rest is asked before it is handed out; a new one has just been made.
        drop(self.pool.get().await?);
        Ok(())
    }

    async fn info(&self) -> Result<ServerInfo, Error> {
        let row = in_time(async {
            let client = self.pool.get().await?;
            let row = client.query_typed(INFO, &[]).await;
            row.map_err(PostgresError::from_own_statement)
        })
        .await?;
        let row = row
            .first()
            .ok_or_else(|| Error::internal("a statement without rows"))?;
        Ok(ServerInfo {
            version: catalog::get(row, 0)?,
            role: if catalog::get(row, 1)? {
                "replica"
            } else {
                "primary"
            }
            .to_owned(),
            tls: catalog::get(row, 2)?,
        })
    }

    async fn disconnect(&self) {
        self.pool.close();
    }

    fn status(&self) -> PoolStatus {
        self.pool.status().into()
    }

    async fn close_idle(&self, longer_than: Duration) {
        self.pool.close_idle(longer_than);
    }
}

/// Everything but the hosts.
fn target(
    settings: &Settings,
    options: &PostgresOptions,
    limits: &Limits,
) -> Result<Target, PostgresError> {
    let user = settings.username.as_deref().ok_or_else(|| {
        PostgresError::invalid("The connection names no user; PostgreSQL needs one.")
    })?;
    let mut config = Config::new();
    config
        .user(user)
        .dbname(settings.database.as_deref().unwrap_or(user))
        .connect_timeout(limits.connect_timeout)
        .application_name(options.application_name.as_deref().unwrap_or("bunbun"));
    if let Some(password) = &settings.password {
        config.password(password.expose_secret());
    }
    if options.target_session_attrs == Some(TargetSession::ReadWrite) {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let encryption = match settings.tls {
        TlsMode::Disable => Encryption::Off,
        TlsMode::Prefer => Encryption::Prefer,
        TlsMode::Require => Encryption::Require,
        TlsMode::VerifyFull => Encryption::Verify {
            authority: options.ca_certificate.clone(),
        },
    };
    Ok(Target::new(config, &encryption)?)
}

fn resolve(egress: &Egress) -> Resolve {
    let egress = egress.clone();
    Box::new(move |name, port| {
        let egress = egress.clone();
        Box::pin(async move {
            egress.resolve(&name, port).await.map_err(|error| {
                if error.code() == Code::HostNotAllowed {
                    PostgresError::HostNotAllowed(Box::new(error))
                } else {
                    PostgresError::unavailable(error)
                }
            })
        })
    })
}

impl From<PostgresError> for Error {
    fn from(error: PostgresError) -> Self {
        use PostgresError as P;
        let code = match &error {
            P::Unavailable(_) => {
                return match refusal_of_login(&error) {
                    Some(sqlstate) => {
                        Self::authentication_failed(error).details(json!({ "sqlstate": sqlstate }))
                    }
                    None => Self::connection_failed(error),
                };
            }
            P::Exhausted { .. } => {
                return Self::pool_exhausted(error.retry_after().unwrap_or(Duration::from_secs(2)));
            }
            P::StatementTimeout => return Self::timeout(),
            P::Internal(_) => return Self::internal(error),
            P::Sql(sql) if sql.sqlstate == "25006" => Code::ReadOnly,
            P::Sql(_) => Code::QueryInvalid,
            other => other.code(),
        };
        let message = error.public_message().unwrap_or_default().into_owned();
        let details = error.details().unwrap_or_default();
        Self::new(code, message).details(details)
    }
}

/// The SQLSTATE with which the server kept us out, where it was for who we are (class 28).
fn refusal_of_login(error: &PostgresError) -> Option<String> {
    let mut next = error.source();
    while let Some(cause) = next {
        let sqlstate = if let Some(sql) = cause.downcast_ref::<SqlError>() {
            Some(sql.sqlstate.clone())
        } else {
            let driver = cause.downcast_ref::<tokio_postgres::Error>();
            driver
                .and_then(tokio_postgres::Error::code)
                .map(|state| state.code().to_owned())
        };
        if let Some(state) = sqlstate.filter(|state| state.starts_with("28")) {
            return Some(state);
        }
        next = cause.source();
    }
    None
}
