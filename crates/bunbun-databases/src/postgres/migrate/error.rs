//! What can go wrong with a migration, and what the caller is told.

use std::{borrow::Cow, time::Duration};

use bunbun_core::{Classify, Code};
use serde_json::{Map, Value, json};

use super::split::{Fault, SplitError};
use crate::postgres::{self, SqlError};

/// A place in the SQL of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the statement, from 1.
    pub statement_number: usize,
    /// Characters from the start of the whole text, from 1.
    pub position: usize,
    /// The line in the whole text, from 1.
    pub line: usize,
}

/// A migration that was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the request breaks a rule.
    #[error("{pointer}: {message}")]
    Invalid {
        /// JSON pointer of the field.
        pointer: &'static str,
        /// What is wrong; public.
        message: String,
    },
    /// The SQL cannot be split into statements.
    #[error("the SQL cannot be understood: {0}")]
    Split(#[from] SplitError),
    /// A statement would take the transaction out of the runner's hands.
    #[error("{keyword} is not allowed in a migration")]
    NotAllowed {
        /// The words that give it away, in upper case.
        keyword: String,
        /// The statement.
        place: Place,
    },
    /// The SQL ended the runner's transaction in a way that reading it did not show.
    #[error("the migration ended its own transaction")]
    TransactionEnded,
    /// The name was used for other SQL.
    #[error("a migration named {name:?} was applied with other SQL")]
    Conflict {
        /// The name.
        name: String,
        /// The version under which it was applied.
        version: String,
        /// Of the SQL that was applied.
        applied_checksum: String,
        /// Of the SQL of this request.
        checksum: String,
    },
    /// A non-transactional migration stopped half-way.
    #[error("migration {name:?} stopped half-way")]
    Dirty {
        /// Its name.
        name: String,
        /// The statement at which it stopped, from 1.
        statement_number: usize,
        /// PostgreSQL's message, unless the connection was lost.
        reason: Option<String>,
    },
    /// The idempotency key belongs to another request.
    #[error("the idempotency key belongs to another request")]
    KeyConflict,
    /// Another migration holds the lock for longer than we may wait.
    #[error("another migration is running")]
    InProgress,
    /// PostgreSQL refused a statement of the migration.
    #[error("statement {}: {error}", place.map_or(0, |place| place.statement_number))]
    Statement {
        /// PostgreSQL's report; its position is that in the whole text.
        error: Box<SqlError>,
        /// The statement; `None` for what shows only at the end (deferred constraints).
        place: Option<Place>,
        /// Whether statements before it stay in effect (`transactional: false`).
        partial: bool,
    },
    /// A statement ran longer than allowed and was cancelled.
    #[error("statement {} ran longer than its timeout", place.map_or(0, |place| place.statement_number))]
    Timeout {
        /// The statement.
        place: Option<Place>,
        /// Whether statements before it stay in effect (`transactional: false`).
        partial: bool,
    },
    /// The history table could not be read or written, for a reason that the owner can mend.
    #[error("the migration history is not usable: {0}")]
    History(Box<SqlError>),
    /// The database is not available, or a fault of ours.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
}

impl Error {
    /// A failure of a statement on the history. A lack of privilege or a damaged table is the
    /// caller's to know; everything else is classified as usual.
    pub(super) fn from_history(error: tokio_postgres::Error) -> Self {
        match error.as_db_error().map(SqlError::from) {
            Some(refused) if !refused.means_unavailable() => {
                let position = None;
                Self::History(Box::new(SqlError {
                    position,
                    ..refused
                }))
            }
            _ => postgres::Error::from_own_statement(error).into(),
        }
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::ValidationFailed,
            Self::Split(error) => match error.fault {
                Fault::CopyStream | Fault::MetaCommand => Code::MigrationNotAllowed,
                _ => Code::InvalidRequest,
            },
            Self::NotAllowed { .. } | Self::TransactionEnded => Code::MigrationNotAllowed,
            Self::Conflict { .. } => Code::MigrationConflict,
            Self::Dirty { .. } => Code::MigrationDirty,
            Self::KeyConflict => Code::IdempotencyConflict,
            Self::InProgress => Code::MigrationInProgress,
            Self::Statement { .. } | Self::History(_) => Code::SqlError,
            Self::Timeout { .. } => Code::StatementTimeout,
            Self::Postgres(error) => error.code(),
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        let text = match self {
            Self::Invalid { message, .. } => message.clone(),
            Self::Split(error) => format!("Statement {}, {error}.", error.statement),
            Self::NotAllowed { keyword, place } => format!(
                "Statement {} (line {}) is {keyword}, which this migration must not contain: leave \
                 it out. The runner takes care of transactions and locks.",
                place.statement_number, place.line
            ),
            Self::TransactionEnded => {
                "The migration ended the transaction in which it ran; it is not recorded as \
                 applied. Leave transaction control to the runner."
                    .to_owned()
            }
            Self::Conflict { name, version, .. } => format!(
                "A migration named '{name}' was applied with other SQL (version {version}). \
                 Put the change into a migration with a new name."
            ),
            Self::Dirty {
                name,
                statement_number,
                ..
            } => dirty_message(name, *statement_number),
            Self::KeyConflict => {
                "This Idempotency-Key was used for another migration request.".to_owned()
            }
            Self::InProgress => "Another migration of this database is running.".to_owned(),
            Self::Statement {
                error,
                place,
                partial,
            } => {
                let message = &error.message;
                let lead = place.map_or_else(
                    || "At the end of the migration".to_owned(),
                    |at| format!("Statement {} (line {})", at.statement_number, at.line),
                );
                // PostgreSQL's messages end without a full stop.
                let stop = if *partial && !message.ends_with(['.', '!', '?']) {
                    "."
                } else {
                    ""
                };
                format!("{lead}: {message}{stop}{}", partial_note(*partial))
            }
            Self::Timeout { place, partial } => {
                let lead = place.map_or_else(
                    || "The migration".to_owned(),
                    |at| format!("Statement {} (line {})", at.statement_number, at.line),
                );
                format!(
                    "{lead} ran longer than its timeout and was cancelled.{}",
                    partial_note(*partial)
                )
            }
            Self::History(error) => {
                format!("The migration history is not usable: {}", error.message)
            }
            Self::Postgres(error) => return error.public_message(),
        };
        Some(text.into())
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::Invalid { pointer, message } => {
                Some(json!({"errors": [{"pointer": pointer, "message": message}]}))
            }
            Self::Split(error) => Some(json!({
                "statement_number": error.statement,
                "position": error.position,
                "line": error.line,
            })),
            Self::NotAllowed { place, .. } => Some(Value::Object(place_members(*place))),
            Self::Conflict {
                version,
                applied_checksum,
                checksum,
                ..
            } => Some(json!({
                "version": version,
                "applied_checksum": applied_checksum,
                "checksum": checksum,
            })),
            Self::Dirty {
                name,
                statement_number,
                reason,
            } => Some(json!({
                "name": name,
                "statement_number": statement_number,
                "reason": reason,
            })),
            Self::Statement {
                error,
                place,
                partial,
            } => {
                let mut members = place.map(place_members).unwrap_or_default();
                if let Value::Object(more) = error.details() {
                    members.extend(more);
                }
                members.insert("partially_applied".to_owned(), json!(partial));
                Some(Value::Object(members))
            }
            Self::Timeout { place, partial } => {
                let mut members = place.map(place_members).unwrap_or_default();
                members.insert("partially_applied".to_owned(), json!(partial));
                Some(Value::Object(members))
            }
            Self::History(error) => Some(error.details()),
            Self::Postgres(error) => error.details(),
            Self::TransactionEnded | Self::KeyConflict | Self::InProgress => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InProgress => Some(Duration::from_secs(5)),
            Self::Postgres(error) => error.retry_after(),
            _ => None,
        }
    }
}

fn place_members(place: Place) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("statement_number".to_owned(), json!(place.statement_number));
    members.insert("position".to_owned(), json!(place.position));
    members.insert("line".to_owned(), json!(place.line));
    members
}

const fn partial_note(partial: bool) -> &'static str {
    if partial {
        " The statements before it stay in effect: mend what is left of it, then send the same \
         name with transactional: false again, which runs its SQL from the start."
    } else {
        ""
    }
}

fn dirty_message(name: &str, statement_number: usize) -> String {
    format!(
        "Migration '{name}' stopped at statement {statement_number} and the statements before it \
         are in effect. Mend what is left of it, then send '{name}' again with transactional: \
         false (its SQL may be changed; it runs from the start), or give it up by deleting its \
         row from supabase_migrations.bunbun_unfinished."
    )
}
