//! What can go wrong between us and a user's PostgreSQL.

use std::{borrow::Cow, error::Error as StdError, io, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_postgres::InvalidUrl;
use serde_json::{Map, Value, json};
use tokio_postgres::error::{DbError, ErrorPosition};

/// Any cause.
pub type Source = Box<dyn StdError + Send + Sync>;

/// A failed operation on a user's PostgreSQL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// PostgreSQL cannot be reached or is shutting down.
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
    /// PostgreSQL refused the user's statement.
    #[error("PostgreSQL refused the statement: {0}")]
    Sql(Box<SqlError>),
    /// The user's statement ran longer than allowed and was cancelled.
    #[error("the statement ran longer than its timeout")]
    StatementTimeout,
    /// The request itself is wrong: bad parameters, a statement that cannot be run here.
    #[error("{message}")]
    Invalid {
        /// What is wrong; public.
        message: String,
        /// Machine-readable facts, `Null` for none; public.
        details: Value,
    },
    /// There is no such schema.
    #[error("no schema {0:?}")]
    SchemaNotFound(String),
    /// There is no such table or view.
    #[error("no table {schema:?}.{table:?}")]
    TableNotFound {
        /// The schema that was named.
        schema: String,
        /// The table that was named.
        table: String,
    },
    /// No row has this key, or none that the role may see.
    #[error("no row with this key")]
    RowNotFound,
    /// There is a row with this key, or with a value that has to be unique.
    #[error("a row with such values is there already: {0}")]
    RowExists(Box<SqlError>),
    /// The row has another version than the caller knows.
    #[error("the row was changed by somebody else")]
    RowChanged {
        /// Its version now, as `If-Match` takes it.
        etag: String,
    },
    /// What the caller wants cannot be done here.
    #[error("{message}")]
    NotAllowed {
        /// Why, and what to do instead; public.
        message: String,
    },
    /// The host is not one that may be connected to.
    #[error("the host may not be connected to")]
    HostNotAllowed(#[source] Source),
    /// The statement was cancelled on request.
    #[error("the statement was cancelled on request")]
    Cancelled,
    /// No statement with this id is running.
    #[error("no running statement {0:?}")]
    QueryNotFound(String),
    /// A statement with this id is running.
    #[error("a statement {0:?} is running")]
    QueryExists(String),
    /// No session of this database has this process.
    #[error("no process {0}")]
    ProcessNotFound(i32),
    /// A fault of ours or of the installation.
    #[error("a fault in the database client")]
    Internal(#[source] Source),
}

/// PostgreSQL's report on a statement of the user: everything in it is public.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({sqlstate})")]
pub struct SqlError {
    /// Five characters, as of appendix A of PostgreSQL's manual.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// The secondary message.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the user's SQL, in characters, from 1.
    pub position: Option<u32>,
    /// The context: function and line.
    pub context: Option<String>,
    /// The schema that it is about.
    pub schema: Option<String>,
    /// The table that it is about.
    pub table: Option<String>,
    /// The column that it is about.
    pub column: Option<String>,
    /// The data type that it is about.
    pub data_type: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
    /// Which statement of several, from 1.
    pub statement_number: Option<u32>,
}

impl SqlError {
    /// The members of `details` in a public error.
    #[must_use]
    pub fn details(&self) -> Value {
        let mut map = Map::new();
        map.insert("sqlstate".to_owned(), json!(self.sqlstate));
        for (name, number) in [
            ("position", self.position),
            ("statement_number", self.statement_number),
        ] {
            if let Some(number) = number {
                map.insert(name.to_owned(), json!(number));
            }
        }
        for (name, text) in [
            ("detail", &self.detail),
            ("hint", &self.hint),
            ("context", &self.context),
            ("schema", &self.schema),
            ("table", &self.table),
            ("column", &self.column),
            ("data_type", &self.data_type),
            ("constraint", &self.constraint),
        ] {
            if let Some(text) = text {
                map.insert(name.to_owned(), json!(text));
            }
        }
        Value::Object(map)
    }

    /// Whether PostgreSQL says that it, not the statement, is the problem: connection exceptions,
    /// shutdown, start-up, too many connections.
    #[must_use]
    pub fn means_unavailable(&self) -> bool {
        self.sqlstate.starts_with("08")
            || matches!(
                self.sqlstate.as_str(),
                "53300" | "57P01" | "57P02" | "57P03" | "57P05"
            )
    }

    /// Whether the statement was cancelled by its timeout. A cancel on request has the same
    /// SQLSTATE; only the message tells them apart, and `pg_cancel_backend` is the rarer cause.
    #[must_use]
    pub fn means_timeout(&self) -> bool {
        self.sqlstate == "57014" && !self.message.contains("user request")
    }
}

impl From<&DbError> for SqlError {
    fn from(error: &DbError) -> Self {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Self {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: text(error.detail()),
            hint: text(error.hint()),
            position: match error.position() {
                Some(ErrorPosition::Original(position)) => Some(*position),
                _ => None,
            },
            context: text(error.where_()),
            schema: text(error.schema()),
            table: text(error.table()),
            column: text(error.column()),
            data_type: text(error.datatype()),
            constraint: text(error.constraint()),
            statement_number: None,
        }
    }
}

impl From<InvalidUrl> for Error {
    fn from(error: InvalidUrl) -> Self {
        Self::invalid(format!(
            "The database URL cannot be used: {}.",
            error.reason()
        ))
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        if error.means_timeout() {
            Self::StatementTimeout
        } else if error.means_unavailable() {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Sql(Box::new(error))
        }
    }
}

impl Error {
    /// Classifies the failure of a *user's* statement: PostgreSQL's refusal is the user's to see.
    #[must_use]
    pub fn from_statement(error: tokio_postgres::Error) -> Self {
        if let Some(db_error) = error.as_db_error() {
            return SqlError::from(db_error).into();
        }
        Self::from_transport(error)
    }

    /// Classifies the failure of a statement of *ours*: a refusal is a fault of ours and hidden.
    #[must_use]
    pub fn from_own_statement(error: tokio_postgres::Error) -> Self {
        if let Some(db_error) = error.as_db_error() {
            if SqlError::from(db_error).means_unavailable() {
                return Self::Unavailable(Box::new(error));
            }
            return Self::Internal(Box::new(error));
        }
        Self::from_transport(error)
    }

    fn from_transport(error: tokio_postgres::Error) -> Self {
        let is_io = error
            .source()
            .is_some_and(<dyn StdError + 'static>::is::<io::Error>);
        if error.is_closed() || is_io {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Internal(Box::new(error))
        }
    }

    /// A request that is wrong, without machine-readable facts.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
            details: Value::Null,
        }
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }

    /// PostgreSQL cannot serve now.
    #[must_use]
    pub fn unavailable(source: impl Into<Source>) -> Self {
        Self::Unavailable(source.into())
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) | Self::Exhausted { .. } => Code::DatabaseUnavailable,
            Self::Sql(_) => Code::SqlError,
            Self::StatementTimeout => Code::StatementTimeout,
            Self::Invalid { .. } => Code::InvalidRequest,
            Self::SchemaNotFound(_) => Code::SchemaNotFound,
            Self::TableNotFound { .. } => Code::TableNotFound,
            Self::RowNotFound => Code::RowNotFound,
            Self::RowExists(_) => Code::RowExists,
            Self::RowChanged { .. } => Code::PreconditionFailed,
            Self::NotAllowed { .. } => Code::QueryNotAllowed,
            Self::HostNotAllowed(_) => Code::HostNotAllowed,
            Self::Cancelled => Code::QueryCancelled,
            Self::QueryNotFound(_) => Code::QueryNotFound,
            Self::QueryExists(_) => Code::QueryExists,
            Self::ProcessNotFound(_) => Code::ProcessNotFound,
            Self::Internal(_) => Code::Internal,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Unavailable(_) => Some("The database is not available at the moment.".into()),
            Self::Exhausted { in_use, size } => {
                Some(format!("No free connection: {in_use} of {size} are in use.").into())
            }
            Self::Sql(error) | Self::RowExists(error) => Some(error.message.as_str().into()),
            Self::StatementTimeout => {
                Some("The statement ran longer than its timeout and was cancelled.".into())
            }
            Self::Invalid { message, .. } | Self::NotAllowed { message } => {
                Some(message.as_str().into())
            }
            Self::SchemaNotFound(name) => Some(format!("No schema '{name}'.").into()),
            Self::TableNotFound { schema, table } => {
                Some(format!("No table '{schema}.{table}'.").into())
            }
            Self::RowNotFound => Some("No row with this key.".into()),
            Self::RowChanged { .. } => Some(
                "The row was changed since it was read; read it again, and send its new ETag as \
                 'If-Match'."
                    .into(),
            ),
            Self::HostNotAllowed(_) => Some(
                "The host of this connection may not be connected to; the operator allows hosts \
                 with EGRESS_ALLOW."
                    .into(),
            ),
            Self::Cancelled => Some("The statement was cancelled on request.".into()),
            Self::QueryNotFound(id) => {
                Some(format!("No statement with the id '{id}' is running.").into())
            }
            Self::QueryExists(id) => {
                Some(format!("A statement with the id '{id}' is running; choose another.").into())
            }
            Self::ProcessNotFound(pid) => {
                Some(format!("No session of this database has the process {pid}.").into())
            }
            Self::Internal(_) => None,
        }
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::Sql(error) | Self::RowExists(error) => Some(error.details()),
            Self::Invalid { details, .. } if !details.is_null() => Some(details.clone()),
            Self::RowChanged { etag } => Some(json!({ "etag": etag })),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Unavailable(_) | Self::Exhausted { .. })
            .then(|| Duration::from_secs(2))
    }
}
