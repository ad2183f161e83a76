//! What the client library and the server say, in the words of [`Error`].

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use serde_json::json;

use crate::Error;

/// Why a command got no useful answer, before it is decided whether to try elsewhere.
#[derive(Debug)]
pub(super) enum Fault {
    /// The library or the server said so.
    Redis(RedisError),
    /// The answer is larger than a caller may have at once; the connection is given up.
    ReplyTooLarge,
    /// Already in the words of the boundary.
    Final(Error),
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Redis(error) => translate(error),
            Fault::ReplyTooLarge => reply_too_large(),
            Fault::Final(error) => error,
        }
    }
}

/// Where another server has to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot lives there from now on.
    Moved(usize, String, u16),
    /// Only this one time: the slot is on its way there.
    Ask(String, u16),
    /// This server has become a replica.
    Demoted,
}

/// The redirect that an answer is, if it is one.
pub(super) fn redirect(error: &RedisError) -> Option<Redirect> {
    let target = || {
        let (address, slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        Some((usize::from(slot), host.to_owned(), port.parse().ok()?))
    };
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => {
            target().map(|(slot, host, port)| Redirect::Moved(slot, host, port))
        }
        ErrorKind::Server(ServerErrorKind::Ask) => {
            target().map(|(_, host, port)| Redirect::Ask(host, port))
        }
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Some(Redirect::Demoted),
        ErrorKind::Server(ServerErrorKind::ExecAbort) => {
            cause_of_abort(error).and_then(|cause| redirect(&cause))
        }
        _ => None,
    }
}

/// Of a transaction that was given up: what Redis had against one of its commands.
fn cause_of_abort(error: &RedisError) -> Option<RedisError> {
    if !matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ExecAbort)) {
        return None;
    }
    error
        .clone()
        .into_server_errors()?
        .iter()
        .find(|(_, error)| error.kind() != Some(ServerErrorKind::ExecAbort))
        .map(|(_, error)| error.clone().into())
}

/// A value, or the error that it stands for.
pub(super) fn checked(value: Value) -> Result<Value, Fault> {
    match value {
        Value::ServerError(error) => Err(Fault::Redis(error.into())),
        other => Ok(other),
    }
}

fn translate(error: RedisError) -> Error {
    if error.is_timeout() {
        return Error::timeout();
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => return Error::authentication_failed(error),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => return Error::read_only(),
        ErrorKind::RESP3NotSupported => {
            return Error::not_supported(
                "This server is older than Redis 6, which is the oldest that works here.",
            );
        }
        _ => {}
    }
    if let Some(cause) = cause_of_abort(&error) {
        return translate(cause);
    }
    let Some(code) = error.code() else {
        return Error::connection_failed(error);
    };
    let code = code.to_owned();
    let detail = error.detail().unwrap_or_default();
    match code.as_str() {
        "WRONGPASS" | "NOAUTH" => Error::authentication_failed(error),
        "WRONGTYPE" => wrong_type("The key holds another type of value."),
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => {
            Error::connection_failed(error)
        }
        "CROSSSLOT" => refused(
            &code,
            "The keys are on different servers of the cluster. Give them a common {tag}.",
        ),
        "NOPERM" => Error::query_not_allowed(
            "The user of this connection has no permission for that in Redis (ACL).",
            "",
        )
        .details(json!({ "redis": code })),
        "ERR" if detail.starts_with("no such key") => Error::key_not_found(),
        "ERR"
            if detail.starts_with("unknown command")
                || detail.starts_with("unknown subcommand") =>
        {
            Error::not_supported("This server does not know the command.")
        }
        _ => refused(
            &code,
            &format!("Redis refused the command: {code} {detail}"),
        ),
    }
}

fn refused(code: &str, message: &str) -> Error {
    Error::query_invalid(message.trim_end().to_owned(), json!({ "redis": code }))
}

/// The request cannot be carried out as it is.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::query_invalid(message.into(), serde_json::Value::Null)
}

/// The key holds something else.
pub(super) fn wrong_type(message: impl Into<String>) -> Error {
    Error::wrong_type(message.into())
}

/// A cursor that none of our answers had, or whose server is gone.
pub(super) fn bad_cursor() -> Error {
    Error::invalid(
        "The cursor is not the next_cursor of this listing. Start again without it.",
        "/cursor",
    )
}

/// The server's answer does not look as its documentation says.
pub(super) fn unexpected(what: &'static str) -> Error {
    Error::connection_failed(format!("unexpected answer to {what}"))
}

fn reply_too_large() -> Error {
    Error::too_large(format!(
        "The answer is larger than {} MiB. Ask for fewer elements or a part of the value.",
        super::stream::MAX_REPLY >> 20
    ))
}
