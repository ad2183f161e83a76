//! What goes wrong with MongoDB, in the words of the three engines' one [`Error`].

use bunbun_core::{Classify as _, Code, egress::EgressError};
use mongodb::error::{CommandError, ErrorKind};
use serde_json::{Value, json};

use super::{guard::Refusal, raw::Malformed};
use crate::error::Error;

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Code::InvalidRequest, message)
}

pub(super) fn not_allowed(
    message: impl Into<std::borrow::Cow<'static, str>>,
    pointer: &str,
) -> Error {
    Error::new(Code::QueryNotAllowed, message).with_details(json!({ "pointer": pointer }))
}

pub(super) fn refused(refusal: Refusal) -> Error {
    not_allowed(refusal.message, &refusal.pointer)
}

pub(super) fn document_not_found() -> Error {
    Error::new(Code::DocumentNotFound, "No document with this _id.")
}

pub(super) fn collection_not_found(name: &str) -> Error {
    Error::new(Code::CollectionNotFound, format!("No collection '{name}'."))
}

pub(super) fn precondition_failed() -> Error {
    let message = "The document is not as If-Match says: read it again and repeat the change on what it is now.";
    Error::new(Code::PreconditionFailed, message)
}

pub(super) fn timeout() -> Error {
    Error::new(Code::Timeout, "MongoDB did not finish in time.")
}

pub(super) fn exhausted() -> Error {
    Error::new(
        Code::PoolExhausted,
        "All connections to this database are in use.",
    )
}

pub(super) fn closed() -> Error {
    unreachable("this pool is closed")
}

pub(super) fn unreachable(cause: impl Into<String>) -> Error {
    Error::new(Code::ConnectionFailed, "The database cannot be reached.").with_cause(cause.into())
}

pub(super) fn internal(cause: impl Into<String>) -> Error {
    Error::new(Code::Internal, "A fault in the database client.").with_cause(cause.into())
}

pub(super) fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Code::Internal, "A fault in the database client.").with_cause(error)
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        malformed(error)
    }
}

pub(super) fn egress(error: EgressError) -> Error {
    let message = error.public_message().map(std::borrow::Cow::into_owned);
    Error::new(error.code(), message.unwrap_or_default()).with_cause(error)
}

pub(super) fn with_details(error: Error, details: Value) -> Error {
    error.with_details(details)
}

/// Whether the server could not be spoken to, so that it has to be looked for again.
pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(error.code(), Code::ConnectionFailed)
}

pub(super) fn is_authentication(error: &Error) -> bool {
    error.code() == Code::AuthenticationFailed
}

/// Whether the server refused what it was asked, maybe because it does not know it.
pub(super) fn is_query_refused(error: &Error) -> bool {
    matches!(error.code(), Code::QueryInvalid | Code::NotSupported)
}

pub(super) fn is_unknown_command(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == 59)
}

/// Classifies what the driver says.
#[expect(
    clippy::needless_pass_by_value,
    reason = "stands as a function for map_err"
)]
pub(super) fn from_driver(error: mongodb::error::Error) -> Error {
    let failed = |error: &mongodb::error::Error| unreachable(error.to_string());
    match &*error.kind {
        ErrorKind::Command(command) => from_command(command),
        ErrorKind::Authentication { .. } => Error::new(
            Code::AuthenticationFailed,
            "MongoDB refused the connection's user or password.",
        )
        .with_cause(error.to_string()),
        ErrorKind::Io(_)
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ProxyConnect { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::Shutdown => failed(&error),
        _ => internal(error.to_string()),
    }
}

fn from_command(command: &CommandError) -> Error {
    server(command.code, &command.code_name, command.message.clone())
}

/// Classifies one of the server's codes (`src/mongo/base/error_codes.yml`); its words are the caller's to see.
pub(super) fn server(code: i32, name: &str, message: String) -> Error {
    let details = json!({ "code": code, "code_name": name });
    let classified = match code {
        // AuthenticationFailed
        18 => {
            return Error::new(
                Code::AuthenticationFailed,
                "MongoDB refused the connection's user or password.",
            )
            .with_cause(message);
        }
        // MaxTimeMSExpired, ExceededTimeLimit
        50 | 262 => return timeout(),
        // NotWritablePrimary and its kin, shutdowns
        91 | 189 | 10058 | 10107 | 11600 | 11602 | 13435 | 13436 => {
            return unreachable(format!("{message} ({code})"));
        }
        // Unauthorized
        13 => Code::QueryNotAllowed,
        // NamespaceNotFound
        26 => Code::CollectionNotFound,
        // IndexNotFound
        27 => Code::IndexNotFound,
        // NamespaceExists
        48 => Code::CollectionExists,
        // DuplicateKey
        11000 | 11001 | 12582 => Code::DocumentExists,
        // CommandNotFound, NotImplemented
        59 | 238 => Code::NotSupported,
        _ => Code::QueryInvalid,
    };
    Error::new(classified, message).with_details(details)
}
