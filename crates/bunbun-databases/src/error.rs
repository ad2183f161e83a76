//! What can go wrong between us and a user's database, of whichever kind.
//!
//! The engines make these errors by the constructors; they need no kinds of their own. What the
//! server says about the *user's* request is public (`message`, `details`), what it says about the
//! way there is the private cause.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use bunbun_core::{Classify, Code, egress::EgressError};
use serde_json::{Value, json};

/// Any cause.
pub type Source = Box<dyn StdError + Send + Sync>;

/// A failed operation on a user's database.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.code.as_str(), .0.message)]
pub struct Error(Box<Parts>);

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Parts {
    code: Code,
    /// Public.
    message: Cow<'static, str>,
    /// Public.
    details: Option<Value>,
    retry_after: Option<Duration>,
    /// Private.
    #[source]
    source: Option<Source>,
}

/// Longest message of a server's, in characters.
const MAX_MESSAGE: usize = 2_000;
/// The message of faults of ours; it is for logs.
const FAULT: &str = "A fault in the database client.";

/// When a database that cannot be reached may be again.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            details: None,
            retry_after: None,
            source: None,
        }))
    }

    /// The database cannot be reached, went away in the middle, or is starting or stopping.
    #[must_use]
    pub fn connection_failed(cause: impl Into<Source>) -> Self {
        let message = "The database cannot be reached: check host, port and TLS of the connection.";
        Self::new(Code::ConnectionFailed, message)
            .because(cause)
            .retry_after(RECONNECT_AFTER)
    }

    /// The database refused user or password.
    #[must_use]
    pub fn authentication_failed(cause: impl Into<Source>) -> Self {
        let message = "The database refused the user or password of the connection.";
        Self::new(Code::AuthenticationFailed, message).because(cause)
    }

    /// It took longer than allowed.
    #[must_use]
    pub fn timeout() -> Self {
        Self::new(Code::Timeout, "The database did not finish in time.")
    }

    /// All connections are in use and enough callers wait.
    #[must_use]
    pub fn pool_exhausted(retry_after: Duration) -> Self {
        let message = "All connections to this database are in use; try again.";
        Self::new(Code::PoolExhausted, message).retry_after(retry_after)
    }

    /// The database refused the user's query or command; `details` has its own code.
    #[must_use]
    pub fn query_invalid(message: impl Into<Cow<'static, str>>, details: Value) -> Self {
        Self::new(Code::QueryInvalid, bounded(message.into())).details(details)
    }

    /// The user's query or command has something in it that is not allowed here; `pointer` is a
    /// JSON pointer into what was sent.
    #[must_use]
    pub fn query_not_allowed(message: impl Into<Cow<'static, str>>, pointer: &str) -> Self {
        Self::new(Code::QueryNotAllowed, message).details(json!({ "pointer": pointer }))
    }

    /// A setting or parameter that cannot be used; `pointer` is a JSON pointer into what was sent.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>, pointer: &str) -> Self {
        let message = message.into();
        let details = json!({ "errors": [{ "pointer": pointer, "message": message }] });
        Self::new(Code::ValidationFailed, message).details(details)
    }

    /// The key holds a value of another type.
    #[must_use]
    pub fn wrong_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::WrongType, message)
    }

    /// No such key.
    #[must_use]
    pub fn key_not_found() -> Self {
        Self::new(Code::KeyNotFound, "There is no such key.")
    }

    /// The key exists already.
    #[must_use]
    pub fn key_exists() -> Self {
        Self::new(Code::KeyExists, "There is a key of this name already.")
    }

    /// No such document.
    #[must_use]
    pub fn document_not_found() -> Self {
        Self::new(Code::DocumentNotFound, "There is no such document.")
    }

    /// A document with this id or unique value exists already.
    #[must_use]
    pub fn document_exists(details: Value) -> Self {
        let message = "There is a document with this id or unique value already.";
        Self::new(Code::DocumentExists, message).details(details)
    }

    /// Something that is not there; the code of its noun where there is one (`"collection"`,
    /// `"database"`, `"index"`, `"table"`, `"row"`, `"schema"`), else `NOT_FOUND`.
    #[must_use]
    pub fn not_found(what: &'static str) -> Self {
        let code = match what {
            "connection" => Code::ConnectionNotFound,
            "collection" => Code::CollectionNotFound,
            "database" => Code::DatabaseNotFound,
            "index" => Code::IndexNotFound,
            "table" => Code::TableNotFound,
            "row" => Code::RowNotFound,
            "schema" => Code::SchemaNotFound,
            _ => Code::NotFound,
        };
        Self::new(code, format!("There is no such {what}."))
    }

    /// Something of this name is there already: `"collection"`, `"row"`.
    #[must_use]
    pub fn exists(what: &'static str) -> Self {
        let code = match what {
            "row" => Code::RowExists,
            _ => Code::CollectionExists,
        };
        Self::new(code, format!("There is a {what} like this already."))
    }

    /// It is not in the state that the request's conditions ask for.
    #[must_use]
    pub fn precondition_failed() -> Self {
        let message = "It was changed in the meantime: read it again and repeat the change.";
        Self::new(Code::PreconditionFailed, message)
    }

    /// The server takes no writes.
    #[must_use]
    pub fn read_only() -> Self {
        let message = "The server takes no writes: it is a replica or set to read-only.";
        Self::new(Code::ReadOnly, message)
    }

    /// A destructive operation needs `confirm` to name what it destroys.
    #[must_use]
    pub fn confirmation_required(what: &str) -> Self {
        let message = format!("This cannot be undone: send \"confirm\": \"{what}\" as well.");
        Self::new(Code::ConfirmationRequired, message).details(json!({ "confirm": what }))
    }

    /// The server does not know the command or lacks the module for it.
    #[must_use]
    pub fn not_supported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotSupported, message)
    }

    /// More than fits; the message names the limit.
    #[must_use]
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::TooLarge, message)
    }

    /// A fault of ours or of the installation.
    #[must_use]
    pub fn internal(cause: impl Into<Source>) -> Self {
        Self::new(Code::Internal, FAULT).because(cause)
    }

    /// An error of another crate, with the code and message that it has there.
    #[must_use]
    pub fn classified(error: impl Classify + Send + Sync + 'static) -> Self {
        let message = error
            .public_message()
            .map_or(FAULT.into(), |text| Cow::Owned(text.into_owned()));
        Self(Box::new(Parts {
            code: error.code(),
            message,
            details: error.details(),
            retry_after: Classify::retry_after(&error),
            source: Some(Box::new(error)),
        }))
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Source>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Adds public facts: the engine's own code above all.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = (!details.is_null()).then_some(details);
        self
    }

    /// The same for another caller, without the private cause.
    #[must_use]
    pub(crate) fn repeat(&self) -> Self {
        Self(Box::new(Parts {
            code: self.0.code,
            message: self.0.message.clone(),
            details: self.0.details.clone(),
            retry_after: self.0.retry_after,
            source: Some(self.0.source.as_deref().map_or_else(
                || "as another caller was told".into(),
                |source| bunbun_core::error::chain(source).into(),
            )),
        }))
    }

    fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Whether the connection is lost, so that a new one may do better.
    #[must_use]
    pub fn is_connection_failed(&self) -> bool {
        self.0.code == Code::ConnectionFailed
    }
}

impl From<EgressError> for Error {
    fn from(error: EgressError) -> Self {
        match error.code() {
            Code::HostNotAllowed => {
                let message = error.public_message().unwrap_or_default().into_owned();
                Self::new(Code::HostNotAllowed, message).because(error)
            }
            _ => Self::connection_failed(error),
        }
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        self.0.code
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        (self.0.message != FAULT).then(|| Cow::Borrowed(&*self.0.message))
    }

    fn details(&self) -> Option<Value> {
        self.0.details.clone()
    }

    fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// A server's words, as far as somebody may want to read them.
fn bounded(message: Cow<'static, str>) -> Cow<'static, str> {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{} …", &message[..end]).into(),
        None => message,
    }
}
