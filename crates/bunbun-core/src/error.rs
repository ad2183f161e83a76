//! The error vocabulary: what kind of failure, which stable code, and what a caller may be told.
//!
//! Every crate has its own small error enum and implements [`Classify`] for it. The public
//! message and the private cause are never the same field: a message is shown only where
//! [`Classify::public_message`] returns one, the cause chain goes to the log.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

/// What went wrong, as far as a caller can act on it. Wire protocols map it to their status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be understood or breaks a rule: change it.
    Invalid,
    /// No credential, or not one that is valid here.
    Unauthenticated,
    /// A valid credential that may not do this.
    Forbidden,
    /// It does not exist, or it is another tenant's.
    NotFound,
    /// The state of the resource does not allow it.
    Conflict,
    /// Larger than the limit that the message names.
    TooLarge,
    /// Too many requests: wait for `Retry-After`.
    RateLimited,
    /// A dependency is down or saturated: try again.
    Unavailable,
    /// It took longer than allowed.
    Timeout,
    /// A dependency answered, but not usefully.
    Upstream,
    /// A fault of ours.
    Internal,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal => $kind:ident,)+) => {
        /// Stable, append-only error codes of BunBun's own API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The text that travels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The kind of failure that this code always stands for.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }

            /// What it means, for `docs/api/errors.md`.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc, "\n",)+),)+ }
            }
        }
    };
}

codes! {
    /// The request is malformed: bad syntax, a missing field, a wrong type.
    InvalidRequest = "INVALID_REQUEST" => Invalid,
    /// Fields were understood but break rules; `details.errors` lists each with its JSON pointer.
    ValidationFailed = "VALIDATION_FAILED" => Invalid,
    /// PostgreSQL refused the caller's SQL; `details` has SQLSTATE, position and hint.
    SqlError = "SQL_ERROR" => Invalid,
    /// A migration contains a statement that the migration runner itself must control.
    MigrationNotAllowed = "MIGRATION_NOT_ALLOWED" => Invalid,
    /// No credential, or one that is not valid for this project.
    Unauthorized = "UNAUTHORIZED" => Unauthenticated,
    /// The credential is valid but its role may not do this.
    Forbidden = "FORBIDDEN" => Forbidden,
    /// No operation at this path.
    RouteNotFound = "ROUTE_NOT_FOUND" => NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed = "METHOD_NOT_ALLOWED" => Invalid,
    /// No project with this reference.
    ProjectNotFound = "PROJECT_NOT_FOUND" => NotFound,
    /// No schema with this name in the project's database.
    SchemaNotFound = "SCHEMA_NOT_FOUND" => NotFound,
    /// No backup with this id.
    BackupNotFound = "BACKUP_NOT_FOUND" => NotFound,
    /// A migration of this name was applied with other SQL.
    MigrationConflict = "MIGRATION_CONFLICT" => Conflict,
    /// An earlier non-transactional migration stopped half-way; its remains need a person.
    MigrationDirty = "MIGRATION_DIRTY" => Conflict,
    /// Another migration of this database is running.
    MigrationInProgress = "MIGRATION_IN_PROGRESS" => Conflict,
    /// The same `Idempotency-Key` came with another request.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT" => Conflict,
    /// Another backup or restore of this database is running.
    BackupInProgress = "BACKUP_IN_PROGRESS" => Conflict,
    /// The backup is not in a state that allows this.
    BackupNotReady = "BACKUP_NOT_READY" => Conflict,
    /// The target database exists already.
    DatabaseExists = "DATABASE_EXISTS" => Conflict,
    /// A destructive operation needs `confirm` to name what it destroys.
    ConfirmationRequired = "CONFIRMATION_REQUIRED" => Invalid,
    /// The body, head or a field is larger than its limit.
    TooLarge = "TOO_LARGE" => TooLarge,
    /// More requests than the policy allows; see `Retry-After`.
    RateLimited = "RATE_LIMITED" => RateLimited,
    /// PostgreSQL cannot be reached or has no free connection.
    DatabaseUnavailable = "DATABASE_UNAVAILABLE" => Unavailable,
    /// The service behind this route is not configured or not reachable.
    ServiceUnavailable = "SERVICE_UNAVAILABLE" => Unavailable,
    /// The statement ran longer than its timeout and was cancelled.
    StatementTimeout = "STATEMENT_TIMEOUT" => Timeout,
    /// The upstream did not answer in time.
    UpstreamTimeout = "UPSTREAM_TIMEOUT" => Timeout,
    /// The upstream's answer could not be used.
    UpstreamError = "UPSTREAM_ERROR" => Upstream,
    /// A fault of ours; the request id finds it in the log.
    Internal = "INTERNAL" => Internal,
    /// Address or password is wrong; which one is not told.
    InvalidCredentials = "INVALID_CREDENTIALS" => Unauthenticated,
    /// The refresh token is unknown, was used before, or its session has ended: sign in again.
    InvalidRefreshToken = "INVALID_REFRESH_TOKEN" => Unauthenticated,
    /// The token's session has ended: sign in again.
    SessionNotFound = "SESSION_NOT_FOUND" => Unauthenticated,
    /// The address has to be confirmed first, by the link in the mail.
    EmailNotConfirmed = "EMAIL_NOT_CONFIRMED" => Forbidden,
    /// The user is banned.
    UserBanned = "USER_BANNED" => Forbidden,
    /// The project lets nobody sign up, or not this way.
    SignupDisabled = "SIGNUP_DISABLED" => Forbidden,
    /// There is a user with this address or number already.
    UserExists = "USER_EXISTS" => Conflict,
    /// No user with this id.
    UserNotFound = "USER_NOT_FOUND" => NotFound,
    /// The password is too weak; `details.reasons` says why.
    WeakPassword = "WEAK_PASSWORD" => Invalid,
    /// No bucket of this name, or none that the caller may see.
    BucketNotFound = "BUCKET_NOT_FOUND" => NotFound,
    /// No object at this path, or none that the caller may see.
    ObjectNotFound = "OBJECT_NOT_FOUND" => NotFound,
    /// There is an object at this path already; `upsert` replaces it.
    ObjectExists = "OBJECT_EXISTS" => Conflict,
    /// The bucket does not take files of this type.
    MediaTypeNotAllowed = "MEDIA_TYPE_NOT_ALLOWED" => Invalid,
    /// The object has no bytes in the range that was asked for.
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE" => Invalid,
    /// The object is not in the state that the request's conditions ask for.
    PreconditionFailed = "PRECONDITION_FAILED" => Invalid,
    /// The place where files lie has no space left; what was there is whole.
    StorageFull = "STORAGE_FULL" => Unavailable,
    /// No stored connection of this kind with this id or identifier.
    ConnectionNotFound = "CONNECTION_NOT_FOUND" => NotFound,
    /// The project has a connection of this kind with this identifier already.
    ConnectionExists = "CONNECTION_EXISTS" => Conflict,
    /// The database behind the connection cannot be reached.
    ConnectionFailed = "CONNECTION_FAILED" => Unavailable,
    /// The database refused the connection's user or password; change the stored connection.
    AuthenticationFailed = "AUTHENTICATION_FAILED" => Upstream,
    /// The host is, or leads to, an address that this installation does not connect to; its
    /// operator may allow it by `EGRESS_ALLOW`.
    HostNotAllowed = "HOST_NOT_ALLOWED" => Invalid,
    /// The database did not finish in time.
    Timeout = "TIMEOUT" => Timeout,
    /// The database refused the query or command; `details` has its own code.
    QueryInvalid = "QUERY_INVALID" => Invalid,
    /// The query or command has something in it that is not allowed here; `details.pointer` says
    /// where.
    QueryNotAllowed = "QUERY_NOT_ALLOWED" => Invalid,
    /// No document with this id.
    DocumentNotFound = "DOCUMENT_NOT_FOUND" => NotFound,
    /// There is a document with this id, or with a value that has to be unique, already.
    DocumentExists = "DOCUMENT_EXISTS" => Conflict,
    /// No key of this name.
    KeyNotFound = "KEY_NOT_FOUND" => NotFound,
    /// There is a key of this name already.
    KeyExists = "KEY_EXISTS" => Conflict,
    /// The key holds a value of another type.
    WrongType = "WRONG_TYPE" => Conflict,
    /// All connections to the database are in use and enough callers wait for one.
    PoolExhausted = "POOL_EXHAUSTED" => Unavailable,
    /// No collection of this name.
    CollectionNotFound = "COLLECTION_NOT_FOUND" => NotFound,
    /// There is a collection of this name already.
    CollectionExists = "COLLECTION_EXISTS" => Conflict,
    /// No database of this name.
    DatabaseNotFound = "DATABASE_NOT_FOUND" => NotFound,
    /// No index of this name.
    IndexNotFound = "INDEX_NOT_FOUND" => NotFound,
    /// No table of this name.
    TableNotFound = "TABLE_NOT_FOUND" => NotFound,
    /// No row with this key.
    RowNotFound = "ROW_NOT_FOUND" => NotFound,
    /// There is a row with this key, or with a value that has to be unique, already.
    RowExists = "ROW_EXISTS" => Conflict,
    /// The server has nothing of this name.
    NotFound = "NOT_FOUND" => NotFound,
    /// The server takes no writes at the moment: it is a replica or set to read-only.
    ReadOnly = "READ_ONLY" => Conflict,
    /// The server does not know this command or lacks the module for it.
    NotSupported = "NOT_SUPPORTED" => Invalid,
    /// The change has to say which version it is based on: send `If-Match`.
    PreconditionRequired = "PRECONDITION_REQUIRED" => Invalid,
    /// The project has as many of these as it may have.
    LimitReached = "LIMIT_REACHED" => Conflict,
    /// No statement with this id is running.
    QueryNotFound = "QUERY_NOT_FOUND" => NotFound,
    /// A statement with this id is running.
    QueryExists = "QUERY_EXISTS" => Conflict,
    /// The statement was cancelled on request.
    QueryCancelled = "QUERY_CANCELLED" => Conflict,
    /// No session of the database has this process.
    ProcessNotFound = "PROCESS_NOT_FOUND" => NotFound,
}

/// How an error of any crate presents itself at a boundary.
pub trait Classify: StdError {
    /// The stable code; it fixes the kind.
    fn code(&self) -> Code;

    /// What the caller may read. `None` hides everything behind a general sentence.
    fn public_message(&self) -> Option<Cow<'_, str>>;

    /// Machine-readable facts for the caller, as JSON object members.
    fn details(&self) -> Option<serde_json::Value> {
        None
    }

    /// When trying again may help.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// The error and its causes in one line, for logs.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Code;

    #[test]
    fn codes_are_unique_upper_snake_case() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} stands twice");
            assert!(
                text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
                "{text}"
            );
            assert!(!code.meaning().trim().is_empty(), "{text} has no meaning");
        }
    }
}
