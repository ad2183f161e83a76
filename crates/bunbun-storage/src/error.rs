//! What can go wrong, under the original's codes, and its one rendering for the REST endpoints:
//! HTTP 400 with the true status as a string in the body, `{statusCode, code, error, message}`.
//! The S3 protocol and resumable uploads render the same errors with their true status.

use std::{borrow::Cow, sync::Arc};

use axum::response::{IntoResponse, Response};
use bunbun_http::BoxError;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// The code of an error, as clients compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No bucket of this name, or none that the caller may see.
    NoSuchBucket,
    /// No object of this name, or none that the caller may see.
    NoSuchKey,
    /// No upload of this id.
    NoSuchUpload,
    /// A signed URL's token is not valid.
    InvalidJwt,
    /// The request cannot be understood.
    InvalidRequest,
    /// Larger than the project or bucket allows.
    EntityTooLarge,
    /// Our fault.
    InternalError,
    /// It is there already.
    ResourceAlreadyExists,
    /// A bucket with objects in it.
    ResourceNotEmpty,
    /// A name that no bucket can have.
    InvalidBucketName,
    /// A name that no object can have.
    InvalidKey,
    /// A range that cannot be served.
    InvalidRange,
    /// The bucket does not take this type of content.
    InvalidMimeType,
    /// An upload id that cannot be read.
    InvalidUploadId,
    /// An object of this name is there already.
    KeyAlreadyExists,
    /// A bucket of this name is there already.
    BucketAlreadyExists,
    /// The database took too long.
    DatabaseTimeout,
    /// The database has no connection for us.
    DatabaseConnectionLimit,
    /// The database takes no writes.
    DatabaseReadOnly,
    /// The signature does not belong to this request.
    InvalidSignature,
    /// A presigned request came too late.
    ExpiredToken,
    /// The S3 signature differs from ours.
    SignatureDoesNotMatch,
    /// The caller may not do this.
    AccessDenied,
    /// Somebody else is at it.
    ResourceLocked,
    /// The database refused.
    DatabaseError,
    /// A length is needed.
    MissingContentLength,
    /// A parameter is needed.
    MissingParameter,
    /// A parameter cannot be used.
    InvalidParameter,
    /// No such S3 access key.
    InvalidAccessKeyId,
    /// The content is not what its checksum says.
    InvalidChecksum,
    /// A part of a multipart upload is not there.
    MissingPart,
    /// A resumable upload broke the protocol.
    TusError,
    /// A feature that this installation does not have.
    FeatureNotEnabled,
    /// A command that this service does not have.
    NotSupported,
    /// A condition of the request does not hold.
    PreconditionFailed,
}

impl Code {
    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchBucket => "NoSuchBucket",
            Self::NoSuchKey => "NoSuchKey",
            Self::NoSuchUpload => "NoSuchUpload",
            Self::InvalidJwt => "InvalidJWT",
            Self::InvalidRequest => "InvalidRequest",
            Self::EntityTooLarge => "EntityTooLarge",
            Self::InternalError => "InternalError",
            Self::ResourceAlreadyExists => "ResourceAlreadyExists",
            Self::ResourceNotEmpty => "ResourceNotEmpty",
            Self::InvalidBucketName => "InvalidBucketName",
            Self::InvalidKey => "InvalidKey",
            Self::InvalidRange => "InvalidRange",
            Self::InvalidMimeType => "InvalidMimeType",
            Self::InvalidUploadId => "InvalidUploadId",
            Self::KeyAlreadyExists => "KeyAlreadyExists",
            Self::BucketAlreadyExists => "BucketAlreadyExists",
            Self::DatabaseTimeout => "DatabaseTimeout",
            Self::DatabaseConnectionLimit => "DatabaseConnectionLimit",
            Self::DatabaseReadOnly => "DatabaseReadOnly",
            Self::InvalidSignature => "InvalidSignature",
            Self::ExpiredToken => "ExpiredToken",
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::AccessDenied => "AccessDenied",
            Self::ResourceLocked => "ResourceLocked",
            Self::DatabaseError => "DatabaseError",
            Self::MissingContentLength => "MissingContentLength",
            Self::MissingParameter => "MissingParameter",
            Self::InvalidParameter => "InvalidParameter",
            Self::InvalidAccessKeyId => "InvalidAccessKeyId",
            Self::InvalidChecksum => "InvalidChecksum",
            Self::MissingPart => "MissingPart",
            Self::TusError => "TusError",
            Self::FeatureNotEnabled => "FeatureNotEnabled",
            Self::NotSupported => "NotSupported",
            Self::PreconditionFailed => "PreconditionFailed",
        }
    }
}

/// A failure on its way to a client.
#[derive(Debug, Clone)]
pub struct StorageError(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    status: u16,
    /// The field `error`, where it is not the code: older clients compare it.
    error: Option<&'static str>,
    message: Cow<'static, str>,
    cause: Option<BoxError>,
}

/// The result of everything here.
pub(crate) type Result<T, E = StorageError> = std::result::Result<T, E>;

impl StorageError {
    /// An error under a code, with its true status and a public message.
    pub fn new(code: Code, status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Parts {
            code,
            status,
            error: None,
            message: message.into(),
            cause: None,
        }))
    }

    fn named(
        code: Code,
        status: u16,
        error: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Arc::new(Parts {
            code,
            status,
            error: Some(error),
            message: message.into(),
            cause: None,
        }))
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn because(self, cause: impl Into<BoxError>) -> Self {
        Self(Arc::new(Parts {
            code: self.0.code,
            status: self.0.status,
            error: self.0.error,
            message: self.0.message.clone(),
            cause: Some(cause.into()),
        }))
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Its true status, whatever the answer's own is.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// What may be said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The private cause.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::named(
            Code::NoSuchBucket,
            404,
            "Bucket not found",
            "Bucket not found",
        )
    }

    pub(crate) fn no_such_key() -> Self {
        Self::named(Code::NoSuchKey, 404, "not_found", "Object not found")
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(Code::NoSuchUpload, 404, "Upload not found")
    }

    pub(crate) fn access_denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::named(Code::AccessDenied, 403, "Unauthorized", message)
    }

    pub(crate) fn key_already_exists() -> Self {
        Self::named(
            Code::KeyAlreadyExists,
            409,
            "Duplicate",
            "The resource already exists",
        )
    }

    pub(crate) fn bucket_already_exists() -> Self {
        Self::named(
            Code::BucketAlreadyExists,
            409,
            "Duplicate",
            "The resource already exists",
        )
    }

    pub(crate) fn bucket_not_empty() -> Self {
        let message = "The bucket you tried to delete is not empty";
        Self::new(Code::ResourceNotEmpty, 409, message)
    }

    pub(crate) fn invalid_bucket_name() -> Self {
        Self::named(
            Code::InvalidBucketName,
            400,
            "Invalid Input",
            "Bucket name invalid",
        )
    }

    pub(crate) fn invalid_key(key: &str) -> Self {
        Self::new(Code::InvalidKey, 400, format!("Invalid key: {key}"))
    }

    pub(crate) fn invalid_mime_type(mime: &str) -> Self {
        let message = format!("mime type {mime} is not supported");
        Self::named(Code::InvalidMimeType, 415, "invalid_mime_type", message)
    }

    pub(crate) fn too_large() -> Self {
        let message = "The object exceeded the maximum allowed size";
        Self::named(Code::EntityTooLarge, 413, "Payload too large", message)
    }

    pub(crate) fn invalid_range() -> Self {
        Self::named(
            Code::InvalidRange,
            416,
            "invalid_range",
            "invalid range provided",
        )
    }

    pub(crate) fn precondition_failed() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(Code::PreconditionFailed, 412, message)
    }

    /// A body or parameter that is not what the endpoint takes, in the words of the original's
    /// schema validation.
    pub(crate) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::named(Code::InvalidRequest, 400, "Error", message)
    }

    pub(crate) fn invalid_parameter(name: &str) -> Self {
        Self::new(
            Code::InvalidParameter,
            400,
            format!("Invalid Parameter {name}"),
        )
    }

    pub(crate) fn missing_parameter(name: &str) -> Self {
        let message = format!("Missing Required Parameter {name}");
        Self::new(Code::MissingParameter, 400, message)
    }

    pub(crate) fn invalid_jwt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidJwt, 400, message)
    }

    pub(crate) fn invalid_signature() -> Self {
        Self::new(Code::InvalidSignature, 400, "Invalid signature")
    }

    pub(crate) fn no_content(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, 400, message)
    }

    pub(crate) fn invalid_upload_id() -> Self {
        Self::new(Code::InvalidUploadId, 400, "Invalid upload id")
    }

    pub(crate) fn tus(status: u16, message: &'static str) -> Self {
        Self::new(Code::TusError, status, message)
    }

    pub(crate) fn internal(cause: impl Into<BoxError>) -> Self {
        Self::new(Code::InternalError, 500, "Internal server error").because(cause)
    }

    /// The client went away or broke its body off.
    pub(crate) fn broken_body(cause: BoxError) -> Self {
        if cause.is::<bunbun_http::body::BodyTooLarge>() {
            return Self::too_large();
        }
        let message = "The request's body broke off before its end";
        Self::new(Code::InvalidRequest, 400, message).because(cause)
    }

    /// The HTTP status on the REST endpoints: everything that was handled is 400, but for ranges,
    /// where players look at the status.
    fn visible_status(&self) -> StatusCode {
        match self.0.status {
            status @ (416 | 429 | 500..) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The true HTTP status, for S3 and resumable uploads.
    pub(crate) fn true_status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Logs it once, where the request's id is known.
    pub(crate) fn log(&self, request_id: &bunbun_http::RequestId) {
        let cause = self.cause().map(|cause| bunbun_core::error::chain(cause));
        let (code, error) = (
            self.0.code.as_str(),
            cause.as_deref().unwrap_or(self.message()),
        );
        match self.0.status {
            503 | 544 => tracing::warn!(%request_id, code, error, "request failed"),
            500.. => tracing::error!(%request_id, code, error, "request failed"),
            _ => tracing::debug!(%request_id, code, error, "request refused"),
        }
    }
}

impl std::fmt::Display for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl std::error::Error for StorageError {}

impl IntoResponse for StorageError {
    fn into_response(self) -> Response {
        let body = json!({
            "statusCode": self.0.status.to_string(),
            "code": self.0.code.as_str(),
            "error": self.0.error.unwrap_or(self.0.code.as_str()),
            "message": self.0.message,
        });
        let mut response = axum::Json(body).into_response();
        *response.status_mut() = self.visible_status();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.0.status == 503 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<bunbun_postgres::Error> for StorageError {
    fn from(error: bunbun_postgres::Error) -> Self {
        let state = error.sqlstate().map(|state| state.code().to_owned());
        from_database(state.as_deref(), error)
    }
}

impl From<bunbun_postgres::tokio_postgres::Error> for StorageError {
    fn from(error: bunbun_postgres::tokio_postgres::Error) -> Self {
        bunbun_postgres::Error::from(error).into()
    }
}

/// What a failure of the database means to a client, by its SQLSTATE.
fn from_database(state: Option<&str>, error: bunbun_postgres::Error) -> StorageError {
    use bunbun_core::Kind;
    let found = match state {
        _ if matches!(error, bunbun_postgres::Error::RoleNotAllowed(_)) => {
            StorageError::access_denied("the token's role may not be used")
        }
        Some("42501") => StorageError::access_denied("new row violates row-level security policy"),
        Some("23505") => StorageError::named(
            Code::ResourceAlreadyExists,
            409,
            "Duplicate",
            "The resource already exists",
        ),
        Some("23503") => {
            let message = "The related resource does not exist";
            StorageError::new(Code::InvalidRequest, 404, message)
        }
        // A character that PostgreSQL has in no text or JSON.
        Some("22021" | "22P05") => {
            StorageError::validation("A text holds the character U+0000, which cannot be stored")
        }
        Some("55P03" | "40P01" | "40001") => {
            StorageError::new(Code::ResourceLocked, 423, "The resource is locked")
        }
        Some("57014") => {
            let message = "The database took too long";
            StorageError::new(Code::DatabaseTimeout, 544, message)
        }
        Some("25006") => {
            let message = "The database is currently in read-only mode. Please try again later.";
            StorageError::new(Code::DatabaseReadOnly, 503, message)
        }
        _ if matches!(
            bunbun_core::Classify::code(&error).kind(),
            Kind::Unavailable | Kind::RateLimited | Kind::Timeout
        ) =>
        {
            let message = "The database is not available now. Please try again later.";
            StorageError::new(Code::DatabaseConnectionLimit, 503, message)
        }
        _ => StorageError::new(
            Code::DatabaseError,
            500,
            "The database refused the statement",
        ),
    };
    found.because(error)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::{Code, StorageError};

    #[test]
    fn handled_errors_are_400_and_failures_show_themselves() {
        for (error, visible) in [
            (StorageError::no_such_key(), 400),
            (StorageError::too_large(), 400),
            (StorageError::new(Code::DatabaseReadOnly, 503, ""), 503),
            (StorageError::new(Code::DatabaseTimeout, 544, ""), 544),
            (StorageError::internal("secret cause"), 500),
        ] {
            let shown = error.clone().into_response();
            assert_eq!(shown.status().as_u16(), visible, "{error}");
        }
    }
}
