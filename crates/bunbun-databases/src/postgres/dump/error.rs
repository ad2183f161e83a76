//! What can go wrong with a dump.

use std::{borrow::Cow, error::Error as StdError, io, time::Duration};

use bunbun_core::{Classify, Code};
use tokio_postgres::error::SqlState;

/// A failed dump or restore, or operation on a database as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `pg_dump` and `pg_restore` on this machine.
    #[error("pg_dump and pg_restore are not installed")]
    ToolsMissing,
    /// The server is newer than the newest tools on this machine, which then refuse.
    #[error("the server is PostgreSQL {server}, the newest pg_dump here is {tools}")]
    ToolsTooOld {
        /// Major version of the server.
        server: u32,
        /// Major version of the newest tools.
        tools: u32,
    },
    /// A tool failed.
    #[error("{tool} failed: {message}")]
    Tool {
        /// Which one.
        tool: &'static str,
        /// What it said, without what nobody needs to know; public.
        message: String,
    },
    /// A tool could not be run or talked to.
    #[error("{tool} cannot be run")]
    Run {
        /// Which one.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The dump that was to be restored could not be read to its end.
    #[error("the dump cannot be read")]
    Input(#[source] Box<dyn StdError + Send + Sync>),
    /// No name of a database in PostgreSQL.
    #[error("a database's name is 1 to 63 bytes long, without NUL")]
    InvalidName,
    /// The target exists.
    #[error("the database '{0}' exists already")]
    DatabaseExists(String),
    /// The database does not exist.
    #[error("there is no database '{0}'")]
    DatabaseMissing(String),
    /// Sessions that our role may not end keep the database from being replaced.
    #[error("the database '{0}' is in use")]
    InUse(String),
    /// Our role may not do that.
    #[error("the database role may not {action}")]
    NotPermitted {
        /// What it may not; public.
        action: String,
        /// PostgreSQL's own words.
        source: tokio_postgres::Error,
    },
    /// PostgreSQL is down, or refused a statement of ours.
    #[error(transparent)]
    Database(#[from] crate::postgres::Error),
}

impl Error {
    /// Classifies the failure of a statement of ours about the database `name`.
    pub(super) fn about(name: &str, action: &str, error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::NotPermitted {
                action: action.to_owned(),
                source: error,
            },
            Some(&SqlState::DUPLICATE_DATABASE | &SqlState::UNIQUE_VIOLATION) => {
                Self::DatabaseExists(name.to_owned())
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => Self::DatabaseMissing(name.to_owned()),
            Some(&SqlState::OBJECT_IN_USE) => Self::InUse(name.to_owned()),
            _ => Self::Database(crate::postgres::Error::from_own_statement(error)),
        }
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::ToolsMissing | Self::ToolsTooOld { .. } => Code::ServiceUnavailable,
            Self::InvalidName => Code::InvalidRequest,
            Self::DatabaseExists(_) => Code::DatabaseExists,
            Self::NotPermitted { .. } => Code::Forbidden,
            Self::InUse(_) => Code::BackupNotReady,
            Self::Tool { .. } | Self::Run { .. } | Self::Input(_) | Self::DatabaseMissing(_) => {
                Code::Internal
            }
            Self::Database(error) => error.code(),
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::ToolsMissing => {
                "pg_dump and pg_restore are not installed beside BunBun; install \
                 PostgreSQL's client programs."
                    .into()
            }
            Self::ToolsTooOld { server, tools } => format!(
                "The server is PostgreSQL {server}, but the newest pg_dump beside BunBun is \
                 {tools}; install PostgreSQL {server}'s client programs."
            )
            .into(),
            Self::Tool { tool, message } => format!("{tool} failed: {message}").into(),
            Self::Run { tool, .. } => format!("{tool} could not be run.").into(),
            Self::Input(_) => "The dump could not be read to its end.".into(),
            Self::InvalidName => "A database's name is 1 to 63 bytes long, without NUL.".into(),
            Self::DatabaseExists(name) => format!("The database '{name}' exists already.").into(),
            Self::DatabaseMissing(name) => format!("There is no database '{name}'.").into(),
            Self::InUse(name) => format!(
                "The database '{name}' has sessions that BunBun's role may not end, so it cannot \
                 be replaced."
            )
            .into(),
            Self::NotPermitted { action, .. } => {
                format!("BunBun's role in PostgreSQL may not {action}.").into()
            }
            Self::Database(error) => return error.public_message(),
        })
    }

    fn details(&self) -> Option<serde_json::Value> {
        match self {
            Self::Database(error) => error.details(),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Database(error) => error.retry_after(),
            _ => None,
        }
    }
}
