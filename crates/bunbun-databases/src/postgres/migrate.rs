//! Named migrations of the user: `POST /api/db/migrate`, `GET /api/db/migrations`.
//!
//! A migration is a name and SQL. It is applied at most once, under a lock, in one transaction
//! with its history row; the history is in the shape that the Supabase CLI reads
//! (`migrate/history.rs`). SQL that cannot run in a transaction goes with `transactional: false`, statement
//! by statement, under a marker that stays when it stops half-way.

pub mod checksum;
mod dry_run;
mod error;
mod execute;
mod guard;
mod history;
mod lexer;
mod plan;
mod run;
mod session;
pub mod split;
mod version;

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

pub use self::{
    error::{Error, Place},
    run::apply,
    session::Notice,
    split::{SplitError, Statement, split},
};
use super::pool::Pool;

/// Most bytes of SQL in one migration.
pub const MAX_SQL_BYTES: usize = 10 * 1024 * 1024;
/// Most characters in a name.
pub const MAX_NAME_CHARACTERS: usize = 200;
/// Most characters in an idempotency key.
pub const MAX_KEY_CHARACTERS: usize = 255;
/// Most statements that a dry run reports one by one.
const MAX_REPORTED: usize = 1_000;
/// Longest wait for a lock that a request may ask for.
pub const MAX_LOCK_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest run of one statement that a request may ask for.
pub const MAX_STATEMENT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A migration to apply.
#[derive(Debug, Clone)]
pub struct MigrationRequest {
    /// What it is called: 1 to 200 characters, none of them control characters.
    pub name: String,
    /// Its statements: at least one, at most 10 MiB.
    pub sql: String,
    /// Run, report and roll back. Nothing is recorded.
    pub dry_run: bool,
    /// All in one transaction (the rule), or each statement on its own.
    pub transactional: bool,
    /// The same key with the same request gives the first outcome again: 1 to 255 characters of
    /// printable ASCII. A key is kept with the migration that it applied.
    pub idempotency_key: Option<String>,
    /// Longest wait for a lock: for the turn of this migration, and for each object; at most
    /// [`MAX_LOCK_TIMEOUT`].
    pub lock_timeout: Duration,
    /// Longest run of each statement; at most [`MAX_STATEMENT_TIMEOUT`].
    pub statement_timeout: Duration,
}

impl MigrationRequest {
    /// A transactional migration that waits 10 s for locks and lets a statement run for 10 min.
    #[must_use]
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sql: sql.into(),
            dry_run: false,
            transactional: true,
            idempotency_key: None,
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(600),
        }
    }
}

/// An applied migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// UTC time to the second, `YYYYMMDDHHMMSS`; unique, and later for what was applied later.
    /// Rows of other tools may have any text.
    pub version: String,
    /// Its name; empty where another tool gave none.
    pub name: String,
    /// SHA-256 of its statements ([`checksum`]) in hexadecimal; empty where another tool recorded
    /// no statements.
    pub checksum: String,
    /// When; `None` where another tool applied it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub applied_at: Option<OffsetDateTime>,
    /// How long its statements ran, in milliseconds; `None` where another tool applied it.
    pub duration_ms: Option<i64>,
}

/// A `transactional: false` migration that stopped half-way, or runs at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfinishedMigration {
    /// Its name.
    pub name: String,
    /// SHA-256 of its statements.
    pub checksum: String,
    /// When it was begun, for the last time.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The statement at which it is, or stopped, from 1.
    pub statement_number: usize,
    /// PostgreSQL's message; `None` while it runs, and when the connection was lost.
    pub reason: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationOutcome {
    /// The applied migration; `None` after a dry run.
    pub migration: Option<Migration>,
    /// Whether it had been applied before this request.
    pub already_applied: bool,
    /// Whether this is the first outcome of a repeated idempotency key.
    #[serde(skip)]
    pub replayed: bool,
    /// What a dry run did before it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<DryRun>,
}

/// What a dry run did before it was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Its checksum.
    pub checksum: String,
    /// How many statements it has.
    pub statement_count: usize,
    /// Each statement, in order; the first 1 000.
    pub statements: Vec<StatementReport>,
    /// What PostgreSQL told on the way; the first 200.
    pub notices: Vec<Notice>,
    /// The strongest lock taken on each relation that existed before.
    pub locks: Vec<Lock>,
    /// How long all statements ran, in milliseconds.
    pub duration_ms: i64,
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementReport {
    /// Its number, from 1.
    pub statement_number: usize,
    /// The line of its first word, from 1.
    pub line: usize,
    /// Rows that it returned or changed.
    pub rows: u64,
    /// How long it ran, in milliseconds.
    pub duration_ms: i64,
}

/// A lock that a dry run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// The schema of the relation.
    pub schema: String,
    /// The table, index, sequence or view.
    pub relation: String,
    /// As PostgreSQL names it: `AccessExclusiveLock` keeps even readers out.
    pub mode: String,
}

/// Every applied migration, newest first; none where the history table does not exist, which is
/// not made by this.
///
/// # Errors
/// [`Error::Postgres`] when the database is not available, [`Error::History`] when the table
/// cannot be read.
pub async fn list(pool: &Pool) -> Result<Vec<Migration>, Error> {
    let client = pool.get().await?;
    let shape = history::Shape::load(&client).await?;
    shape.list(&client).await
}

/// The migration that stopped half-way, or runs at this moment without a transaction. While there
/// is one, only it can be sent.
///
/// # Errors
/// As [`list`].
pub async fn unfinished(pool: &Pool) -> Result<Option<UnfinishedMigration>, Error> {
    let client = pool.get().await?;
    let shape = history::Shape::load(&client).await?;
    Ok(shape.unfinished(&client).await?.map(|row| row.migration))
}
