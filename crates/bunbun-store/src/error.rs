//! What can go wrong between us and the control plane's database.

use std::{borrow::Cow, error::Error as StdError, io, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_postgres::InvalidUrl;
use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

/// A failed operation on the control plane's database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `PLATFORM_DATABASE_URL` nor `DATABASE_URL` is set.
    #[error("the control plane has no database")]
    NotConfigured,
    /// A URL that cannot be understood. Holds what is wrong, never the URL.
    #[error("the control plane's database URL cannot be used: {}", .0.reason())]
    InvalidUrl(#[from] InvalidUrl),
    /// The database is missing and our role may not create it.
    #[error("the control plane's database is missing and may not be created")]
    Missing(#[source] tokio_postgres::Error),
    /// It cannot be reached, is shutting down, or has no free connection.
    #[error("the control plane's database is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// It refused a statement of ours.
    #[error("the control plane's database refused a statement")]
    Statement(#[source] tokio_postgres::Error),
    /// A migration failed, or an applied one differs from ours.
    #[error("the control plane's database cannot be migrated")]
    Migration(#[source] Box<refinery::Error>),
    /// Another backup or restore of the same database is running.
    #[error("another backup or restore of this database is running")]
    BackupInProgress,
    /// The project has no such backup.
    #[error("no such backup")]
    BackupNotFound,
    /// The project has no such connection.
    #[error("no such connection")]
    ConnectionNotFound,
    /// The project has a connection of this identifier.
    #[error("the identifier is taken")]
    ConnectionExists,
    /// The project has as many connections as it may have.
    #[error("too many connections")]
    ConnectionLimit,
    /// A row that nobody here has written; names the column.
    #[error("{0} holds what BunBun does not write")]
    Corrupt(&'static str),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let is_io = error.source().is_some_and(<dyn StdError>::is::<io::Error>);
        let says_unavailable = error.code().is_some_and(|state| {
            state.code().starts_with("08")
                || [
                    SqlState::TOO_MANY_CONNECTIONS,
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::LOCK_NOT_AVAILABLE,
                ]
                .contains(state)
        });
        if is_io || says_unavailable || error.is_closed() {
            Self::Unavailable(error.into())
        } else {
            Self::Statement(error)
        }
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        // Whatever keeps us from a connection (refused, timed out, wrong password): to callers
        // the control plane is down.
        Self::Unavailable(error.into())
    }
}

impl From<refinery::Error> for Error {
    fn from(error: refinery::Error) -> Self {
        let mut cause = error.source();
        while let Some(inner) = cause {
            if inner.is::<io::Error>() {
                return Self::Unavailable(error.into());
            }
            cause = inner.source();
        }
        Self::Migration(Box::new(error))
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::NotConfigured | Self::InvalidUrl(_) => Code::ServiceUnavailable,
            Self::Missing(_) | Self::Unavailable(_) => Code::DatabaseUnavailable,
            Self::Statement(_) | Self::Migration(_) | Self::Corrupt(_) => Code::Internal,
            Self::BackupInProgress => Code::BackupInProgress,
            Self::BackupNotFound => Code::BackupNotFound,
            Self::ConnectionNotFound => Code::ConnectionNotFound,
            Self::ConnectionExists => Code::ConnectionExists,
            Self::ConnectionLimit => Code::LimitReached,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        let message = match self {
            Self::NotConfigured | Self::InvalidUrl(_) => {
                "The control plane has no database: set PLATFORM_DATABASE_URL or DATABASE_URL."
            }
            Self::Missing(_) => {
                "The control plane's database does not exist and may not be created: create it \
                 or set PLATFORM_DATABASE_URL."
            }
            Self::Unavailable(_) => "The control plane's database is not available at the moment.",
            Self::Statement(_) | Self::Migration(_) | Self::Corrupt(_) => return None,
            Self::BackupInProgress => "Another backup or restore of this database is running.",
            Self::BackupNotFound => "There is no backup with this id.",
            Self::ConnectionNotFound => "There is no such connection.",
            Self::ConnectionExists => "The project has a connection with this identifier already.",
            Self::ConnectionLimit => "A project has at most 100 connections: delete one first.",
        };
        Some(message.into())
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Unavailable(_)).then(|| Duration::from_secs(2))
    }
}
