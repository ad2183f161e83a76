//! What can go wrong with a backup.

use std::{borrow::Cow, io, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{self, dump};
use serde_json::json;

/// A failed operation on backups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `BACKUPS_URL` cannot be used; public.
    #[error("the place of backups cannot be used: {0}")]
    InvalidPlace(String),
    /// The directory of backups cannot be used.
    #[error("the directory of backups cannot be used")]
    Directory(#[source] io::Error),
    /// The object store is down or refuses us.
    #[error("the object store failed")]
    Objects(#[source] object_store::Error),
    /// The object of a complete backup is not there.
    #[error("the backup's object is gone")]
    ObjectMissing,
    /// The object of a complete backup is not what was written.
    #[error("the backup's object was changed")]
    ObjectChanged,
    /// The project has no database, or there is no such project.
    #[error("the project has no database")]
    NoDatabase(Code),
    /// The control plane's database.
    #[error(transparent)]
    Store(#[from] bunbun_store::Error),
    /// The project's database.
    #[error(transparent)]
    Database(#[from] postgres::Error),
    /// `pg_dump`, `pg_restore`, or a database as a whole.
    #[error(transparent)]
    Dump(#[from] dump::Error),
    /// The backup is running, failed, or in use; public.
    #[error("{0}")]
    NotReady(&'static str),
    /// The name of a new database is none that we make.
    #[error("no name for a new database")]
    InvalidName,
    /// The database that a restore would replace was not named in `confirm`.
    #[error("replacing the database '{0}' was not confirmed")]
    ConfirmationRequired(String),
    /// The database is the control plane's own.
    #[error("the database holds the control plane")]
    ControlPlane,
    /// The process is about to stop.
    #[error("the process is about to stop")]
    Stopping,
    /// The node was taken for dead, or cannot reach the control plane to say that it is not.
    #[error("the lease on the database is lost")]
    LeaseLost,
    /// A task of ours panicked.
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::ObjectMissing,
            error => Self::Objects(error),
        }
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::InvalidPlace(_) | Self::Directory(_) | Self::Objects(_) | Self::Stopping => {
                Code::ServiceUnavailable
            }
            Self::ObjectMissing | Self::ObjectChanged => Code::UpstreamError,
            Self::NoDatabase(code) => *code,
            Self::Store(error) => error.code(),
            Self::Database(error) => error.code(),
            Self::Dump(error) => error.code(),
            Self::NotReady(_) | Self::ControlPlane => Code::BackupNotReady,
            Self::InvalidName => Code::ValidationFailed,
            Self::ConfirmationRequired(_) => Code::ConfirmationRequired,
            Self::LeaseLost | Self::Task(_) => Code::Internal,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::InvalidPlace(message) => message.as_str().into(),
            Self::Directory(_) => "The directory of backups cannot be used.".into(),
            Self::Objects(_) => "The object store of backups is not available.".into(),
            Self::ObjectMissing => "The backup's file is gone from the object store.".into(),
            Self::ObjectChanged => {
                "The backup's file in the object store is not what was written: its size or \
                 SHA-256 differs."
                    .into()
            }
            Self::NoDatabase(Code::ProjectNotFound) => "There is no such project.".into(),
            Self::NoDatabase(_) => "This installation has no PostgreSQL; set DATABASE_URL.".into(),
            Self::Store(error) => return error.public_message(),
            Self::Database(error) => return error.public_message(),
            Self::Dump(error) => return error.public_message(),
            Self::NotReady(message) => (*message).into(),
            Self::InvalidName => {
                "The name of a new database is 1 to 63 of letters, digits, '_' and '-', begins \
                 with a letter, and not with 'bunbun_restore_'."
                    .into()
            }
            Self::ConfirmationRequired(name) => format!(
                "The restore would replace the database '{name}': send its name as 'confirm', \
                 or the name of a new one as 'database'."
            )
            .into(),
            Self::ControlPlane => "The control plane lives in this database, so it cannot be \
                 replaced while BunBun runs; restore into a new database instead."
                .into(),
            Self::Stopping => "Interrupted: BunBun was stopped.".into(),
            Self::LeaseLost => "Interrupted: the node that was at work lost touch with the \
                 control plane."
                .into(),
            Self::Task(_) => return None,
        })
    }

    fn details(&self) -> Option<serde_json::Value> {
        match self {
            Self::InvalidName => Some(json!({ "errors": [
                { "pointer": "/database", "message": "no name for a new database" },
            ]})),
            Self::ConfirmationRequired(name) => Some(json!({ "confirm": name })),
            Self::Store(error) => error.details(),
            Self::Database(error) => error.details(),
            Self::Dump(error) => error.details(),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store(error) => error.retry_after(),
            Self::Database(error) => error.retry_after(),
            Self::Dump(error) => error.retry_after(),
            _ => None,
        }
    }
}
