//! What goes wrong with MongoDB, in the words of the three engines' one [`Error`].

use std::{borrow::Cow, time::Duration};

use bunbun_core::{Classify as _, Code};
use mongodb::error::{CommandError, ErrorKind};
use serde_json::json;

use super::{guard::Refusal, raw::Malformed};
use crate::Error;

/// When a place may be free again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that cannot be used; `pointer` is a JSON pointer into it.
pub(super) fn invalid(message: impl Into<Cow<'static, str>>, pointer: &str) -> Error {
    Error::invalid(message, pointer)
}

pub(super) fn refused(refusal: Refusal) -> Error {
    Error::query_not_allowed(refusal.message, &refusal.pointer)
}

pub(super) fn exhausted() -> Error {
    Error::pool_exhausted(RETRY_AFTER)
}

/// The pool was closed, because its connection was changed or deleted.
pub(super) fn closed() -> Error {
    Error::connection_failed("this pool is closed")
}

/// A reply, or bytes of ours, that break BSON's rules.
pub(super) fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(error)
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        malformed(error)
    }
}

/// Whether the server refused what it was asked, maybe because it does not know it.
pub(super) fn is_query_refused(error: &Error) -> bool {
    matches!(error.code(), Code::QueryInvalid | Code::NotSupported)
}

pub(super) fn is_authentication(error: &Error) -> bool {
    error.code() == Code::AuthenticationFailed
}

pub(super) fn is_unknown_command(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == 59)
}

/// Whether the server does not know `maxTimeMS` with this command; FerretDB and `distinct`.
pub(super) fn is_unknown_limit(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command)
        if matches!(command.code, 9 | 40415) && command.message.contains("maxTimeMS"))
}

/// Classifies what the driver says.
#[expect(
    clippy::needless_pass_by_value,
    reason = "stands as a function for map_err"
)]
pub(super) fn from_driver(error: mongodb::error::Error) -> Error {
    // The driver's errors are neither cheap to keep nor `Send` in all their parts.
    let cause = error.to_string();
    match &*error.kind {
        ErrorKind::Command(command) => from_command(command),
        ErrorKind::Authentication { .. } => Error::authentication_failed(cause),
        ErrorKind::Io(_)
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ProxyConnect { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        // What the server sent is no answer.
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::BsonDeserialization(_)
        | ErrorKind::Shutdown => Error::connection_failed(cause),
        _ => Error::internal(cause),
    }
}

fn from_command(command: &CommandError) -> Error {
    server(command.code, &command.code_name, command.message.clone())
}

/// Classifies one of the server's codes (`error_codes.yml` in MongoDB's source); its words about
/// the caller's request are the caller's to see.
pub(super) fn server(code: i32, name: &str, message: String) -> Error {
    let details = json!({ "code": code, "code_name": name, "message": message });
    match code {
        // AuthenticationFailed
        18 => Error::authentication_failed(message),
        // MaxTimeMSExpired, ExceededTimeLimit
        50 | 262 => Error::timeout(),
        // NotWritablePrimary and its kin; the primary is looked for again.
        10058 | 10107 | 13435 => Error::read_only().because(message),
        // PrimarySteppedDown, NotPrimaryOrSecondary and shutdowns
        91 | 189 | 11600 | 11602 | 13436 => Error::connection_failed(message),
        // Unauthorized
        13 => Error::query_not_allowed("The connection's user may not do this on the server.", "")
            .details(details),
        // NamespaceNotFound, IndexNotFound, NamespaceExists
        26 => Error::not_found("collection").details(details),
        27 => Error::not_found("index").details(details),
        48 => Error::exists("collection").details(details),
        // DuplicateKey
        11000 | 11001 | 12582 => Error::document_exists(details),
        // CommandNotFound, NotImplemented
        59 | 238 => Error::not_supported(message).details(details),
        _ => Error::query_invalid(message, json!({ "code": code, "code_name": name })),
    }
}

/// Whether the server has to be looked for again.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error.code(), Code::ConnectionFailed | Code::ReadOnly)
}
