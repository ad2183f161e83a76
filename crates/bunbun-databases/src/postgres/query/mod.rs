//! One statement of a caller: `POST /api/db/query`.
//!
//! [`run`] answers with one JSON document, [`stream`] with rows as they come. Any statement that
//! PostgreSQL accepts is run, except copies from and to the client. A text of several statements
//! runs through the simple protocol: without parameters, not read-only, not streamed; the answer
//! is that of the last statement that returned rows.

mod classify;
mod data_type;
mod execute;
mod lease;
mod output;
pub mod parameters;
mod script;
mod statements;
mod streaming;
mod texts;
pub mod values;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

pub use data_type::{Conversion, DataType};
pub(crate) use lease::Lease;
pub use parameters::Parameter;
pub(crate) use statements::Statements;
pub use streaming::{RowFormat, RowStream, stream};
pub(crate) use streaming::{described, stream_with};
pub(crate) use texts::Texts;

use super::{error::Error, pool::Pool, wire::Session};
use classify::Text;

/// How much longer than the statement's timeout we wait for the server to say so itself.
const GRACE: Duration = Duration::from_secs(3);

/// A connection that died at rest says so at once. One that is lost later was ended in the middle of
/// the statement, maybe on purpose: repeating it would undo that.
const DIED_AT_REST: Duration = Duration::from_millis(500);

/// A statement of a caller.
#[derive(Debug, Clone)]
pub struct Request {
    /// The SQL text.
    pub sql: String,
    /// The values of `$1`, `$2`, ….
    pub params: Vec<Parameter>,
    /// Longest run of the statement; of a text of several: of all together.
    pub timeout: Duration,
    /// Whether PostgreSQL is to refuse every write.
    pub read_only: bool,
    /// Whether what it did is undone at its end. A text of several statements cannot be.
    pub roll_back: bool,
    /// Most rows of a buffered answer.
    pub max_rows: u64,
    /// Size of a buffered answer's rows after which no further row is added.
    pub max_bytes: usize,
}

impl Request {
    /// A statement without parameters: 30 s, 10 000 rows, 64 MiB.
    #[must_use]
    pub fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            params: Vec::new(),
            timeout: Duration::from_secs(30),
            read_only: false,
            roll_back: false,
            max_rows: 10_000,
            max_bytes: 64 * 1024 * 1024,
        }
    }

    /// What begins the transaction that the statement runs in, where it needs one of ours.
    fn begin(&self) -> Option<&'static str> {
        match (self.read_only, self.roll_back) {
            (true, _) => Some("BEGIN TRANSACTION READ ONLY"),
            (false, true) => Some("BEGIN"),
            (false, false) => None,
        }
    }
}

/// A buffered answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `{rows, rowCount, fields, command, durationMs, truncated?}` as finished JSON.
    pub body: Vec<u8>,
    /// Rows returned or written.
    pub row_count: u64,
    /// The command as PostgreSQL names it, for example `SELECT` or `CREATE TABLE`.
    pub command: Cow<'static, str>,
    /// Whether rows were left out.
    pub is_truncated: bool,
    /// From the statement's start to its end, without the wait for a connection.
    pub duration: Duration,
}

/// Runs a statement and answers with one JSON document.
///
/// Dropping the future cancels the statement in PostgreSQL.
///
/// # Errors
/// [`Error::Sql`] when PostgreSQL refuses it, [`Error::Invalid`] for parameters that do not fit
/// and texts that cannot be run here, [`Error::StatementTimeout`], [`Error::Unavailable`].
pub async fn run(pool: &Pool, request: &Request) -> Result<Answer, Error> {
    let text = check(pool, request)?;
    loop {
        let mut lease = pool.query_connection(text.may_repeat()).await?;
        lease.expect_effects(text.effects);
        let mut progress = Progress::new();
        let work = async {
            if text.statements > 1 {
                script::run(&mut lease, request).await
            } else {
                execute::run(&mut lease, request, &text, &mut progress).await
            }
        };
        let result = tokio::time::timeout(request.timeout.saturating_add(GRACE), work)
            .await
            .unwrap_or(Err(Error::StatementTimeout));
        match result {
            // A connection of before a restart of PostgreSQL; a new one is not retried.
            Err(Error::Unavailable(_)) if lease.was_reused && progress.may_retry(&text) => {}
            result => {
                let answer = result?;
                refuse_open_transaction(&lease)?;
                return Ok(answer);
            }
        }
    }
}

/// A transaction that is left open is rolled back with its session: that must not look like
/// success.
fn refuse_open_transaction(lease: &Lease) -> Result<(), Error> {
    // Where rows were left out the statement still runs; it is not the one that opens.
    if lease.is_busy() || lease.session() == Session::Idle {
        return Ok(());
    }
    Err(Error::invalid(
        "The request left a transaction open, which was rolled back: a transaction begins and ends \
         within one request. Add COMMIT.",
    ))
}

/// Whether a statement may change what the catalogue says.
#[must_use]
pub fn may_change_catalogue(pool: &Pool, request: &Request) -> bool {
    !request.read_only && pool.texts().of(&request.sql).changes_everything()
}

/// How far the run of a statement came.
#[derive(Debug)]
struct Progress {
    /// When there was a connection.
    began: Instant,
    /// The server may have begun to execute it.
    was_sent: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            was_sent: false,
        }
    }

    /// Whether running it once more cannot do anything twice.
    fn may_retry(&self, text: &Text) -> bool {
        let died_at_rest = self.began.elapsed() < DIED_AT_REST;
        text.may_repeat() && died_at_rest || text.statements == 1 && !self.was_sent
    }
}

/// Refuses what cannot be run here, before a connection is taken.
fn check(pool: &Pool, request: &Request) -> Result<Arc<Text>, Error> {
    let text = pool.texts().of(&request.sql);
    if text.statements == 0 {
        return Err(Error::invalid("The SQL contains no statement."));
    }
    if text.copies_to_client {
        return Err(Error::invalid(
            "COPY from STDIN and to STDOUT cannot be run here; insert rows with parameters, and \
             read many rows as NDJSON or CSV.",
        ));
    }
    if text.statements > 1 && !request.params.is_empty() {
        return Err(Error::invalid(
            "A text of several statements cannot have parameters.",
        ));
    }
    if text.statements > 1 && request.begin().is_some() {
        return Err(Error::invalid(
            "A text of several statements cannot be read-only; send one statement at a time.",
        ));
    }
    Ok(text)
}
