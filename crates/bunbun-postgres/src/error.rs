//! What can go wrong between a service and a project's PostgreSQL.

use std::{borrow::Cow, error::Error as StdError, fmt, io, time::Duration};

use bunbun_core::{Classify, Code};
use tokio_postgres::error::{DbError, SqlState};

use crate::InvalidUrl;

/// Any cause.
pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// A failed operation on a project's database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The project has no database: `DATABASE_URL` is not set, or the project is unknown.
    #[error("the project has no database: set DATABASE_URL")]
    NoDatabase,
    /// The URL cannot be used.
    #[error(transparent)]
    InvalidUrl(#[from] InvalidUrl),
    /// PostgreSQL cannot be reached, is starting or shutting down, or has no connection left.
    #[error("PostgreSQL is not available")]
    Unavailable(#[source] Source),
    /// All connections of the pool are in use; PostgreSQL itself may be well.
    #[error("no free connection: {in_use} of {size} are in use")]
    Exhausted {
        /// Connections in use.
        in_use: usize,
        /// Most connections in use at once.
        size: usize,
    },
    /// A statement ran longer than its timeout, or waited too long for a lock.
    #[error("a statement ran longer than its timeout")]
    Timeout(#[source] Refusal),
    /// PostgreSQL refused a statement.
    #[error("PostgreSQL refused a statement")]
    Statement(#[source] Refusal),
    /// A value could not be converted, or an answer was not as expected: a fault of ours.
    #[error("a fault in the use of the database")]
    Internal(#[source] Source),
    /// A caller's role that is no role of callers: the database's role `authenticator` must be a
    /// member of it, and so must ours.
    #[error("'{0}' is not a role that callers may have")]
    RoleNotAllowed(String),
    /// Our role lacks a right that only a superuser can give. Holds the SQL that gives it.
    #[error(
        "the database is not prepared and our role may not do so; run as its superuser, in the \
         project's database:\n{sql}"
    )]
    NeedsSuperuser {
        /// What to run.
        sql: String,
    },
    /// A migration failed and was rolled back.
    #[error("migration {version} ({name}) of the schema {schema} failed")]
    Migration {
        /// The schema.
        schema: &'static str,
        /// The number of the migration.
        version: i64,
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<Self>,
    },
}

/// PostgreSQL's refusal of a statement. What it shows holds no values of the statement's: details
/// such as `Key (token)=(…) already exists` stay out of logs.
pub struct Refusal(tokio_postgres::Error);

impl Refusal {
    /// PostgreSQL's whole report, with values of the statement's. Not for logs.
    #[must_use]
    pub fn report(&self) -> Option<&DbError> {
        self.0.as_db_error()
    }

    /// Five characters, as of appendix A of PostgreSQL's manual.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.0.code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(report) = self.report() else {
            return f.write_str(&bunbun_core::error::chain(&self.0));
        };
        write!(f, "{} ({})", report.message(), report.code().code())?;
        if let Some(constraint) = report.constraint() {
            write!(f, ", constraint {constraint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({self})")
    }
}

impl StdError for Refusal {}

impl Error {
    /// PostgreSQL cannot serve now.
    #[must_use]
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }

    /// Nobody lets us in: whatever the reason, a caller can only wait.
    pub(crate) fn cannot_connect(error: tokio_postgres::Error) -> Self {
        Self::Unavailable(Refusal(error).into())
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    /// PostgreSQL's refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Statement(refusal) | Self::Timeout(refusal) => Some(refusal),
            Self::Migration { source, .. } => source.refusal(),
            _ => None,
        }
    }

    /// The SQLSTATE of a refused statement.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.refusal()?.sqlstate()
    }

    /// The constraint that a refused statement violates.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.refusal()?.report()?.constraint()
    }

    /// Whether nothing was wrong but the connection, or PostgreSQL's state.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            let is_io = error.source().is_some_and(<dyn StdError>::is::<io::Error>);
            return if error.is_closed() || is_io {
                Self::Unavailable(error.into())
            } else {
                Self::Internal(error.into())
            };
        };
        // 08: connection exceptions. 57P: shutdown and start-up, of the session or the server.
        if state.code().starts_with("08")
            || state.code().starts_with("57P")
            || *state == SqlState::TOO_MANY_CONNECTIONS
        {
            Self::Unavailable(Refusal(error).into())
        } else if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(state) {
            Self::Timeout(Refusal(error))
        } else {
            Self::Statement(Refusal(error))
        }
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::NoDatabase | Self::InvalidUrl(_) | Self::NeedsSuperuser { .. } => {
                Code::ServiceUnavailable
            }
            Self::Unavailable(_) | Self::Exhausted { .. } => Code::DatabaseUnavailable,
            Self::Timeout(_) => Code::StatementTimeout,
            Self::Statement(_) | Self::Internal(_) => Code::Internal,
            Self::RoleNotAllowed(_) => Code::Forbidden,
            Self::Migration { source, .. } => source.code(),
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::NoDatabase => "The project has no database: set DATABASE_URL.".into(),
            Self::InvalidUrl(error) => {
                format!("The database URL cannot be used: {}.", error.reason()).into()
            }
            Self::Unavailable(_) => "The database is not available at the moment.".into(),
            Self::Exhausted { in_use, size } => {
                format!("No free connection: {in_use} of {size} are in use.").into()
            }
            Self::Timeout(_) => "A statement ran longer than its timeout.".into(),
            Self::RoleNotAllowed(role) => format!("The role '{role}' may not be used.").into(),
            Self::NeedsSuperuser { .. } => {
                "The project's database is not prepared; the log says what to run.".into()
            }
            Self::Statement(_) | Self::Internal(_) => return None,
            Self::Migration { source, .. } => return source.public_message(),
        })
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(_) | Self::Exhausted { .. } => Some(Duration::from_secs(2)),
            Self::Migration { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}
