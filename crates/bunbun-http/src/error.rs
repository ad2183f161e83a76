//! The error of BunBun's own API and its one rendering:
//! `{"error": {"code", "message", "details", "request_id"}}`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bunbun_core::{Classify, Code, Kind};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use crate::{
    body::{self, Body, BoxError},
    context::RequestId,
};

/// A failure on its way to a client: what may be said, and apart from it the private cause.
#[derive(Debug)]
pub struct ApiError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    message: Cow<'static, str>,
    details: Option<Value>,
    retry_after: Option<Duration>,
    cause: Option<BoxError>,
}

impl ApiError {
    /// An error with a public message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            details: None,
            retry_after: None,
            cause: None,
        }))
    }

    /// The one answer to every missing or wrong credential.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            Code::Unauthorized,
            "A valid credential is needed: send 'Authorization: Bearer KEY'.",
        )
    }

    /// A valid credential whose role may not do this.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            Code::Forbidden,
            "This credential may not do that; the service_role key may.",
        )
    }

    /// A valid credential that is no user's.
    #[must_use]
    pub fn not_a_user() -> Self {
        Self::new(
            Code::Forbidden,
            "This needs a user's token: sign in, and send its access_token as 'Authorization: \
             Bearer TOKEN'.",
        )
    }

    /// Adds machine-readable facts.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Adds the private cause, for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status that the code has on our own routes.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        status(self.0.code)
    }

    /// Logs the error once and renders the answer.
    #[must_use]
    pub fn render(&self, request_id: &RequestId) -> Response<Body> {
        self.log(request_id);
        let envelope = json!({ "error": {
            "code": self.0.code.as_str(),
            "message": self.0.message,
            "details": self.0.details.clone().unwrap_or_else(|| json!({})),
            "request_id": request_id.as_str(),
        }});
        let mut response = Response::new(body::full(envelope.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.0.code.kind() == Kind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let default = (self.0.code.kind() == Kind::Unavailable).then(|| Duration::from_secs(1));
        if let Some(after) = self.0.retry_after.or(default) {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }

    fn log(&self, request_id: &RequestId) {
        let cause = self
            .0
            .cause
            .as_deref()
            .map(|cause| bunbun_core::error::chain(cause));
        let (code, error) = (
            self.0.code.as_str(),
            cause.as_deref().unwrap_or(&self.0.message),
        );
        match self.0.code.kind() {
            Kind::Internal => tracing::error!(%request_id, code, error, "request failed"),
            Kind::Unavailable | Kind::Upstream => {
                tracing::warn!(%request_id, code, error, "request failed");
            }
            _ => tracing::debug!(%request_id, code, error, "request refused"),
        }
    }
}

/// The status of a code on our own routes.
#[must_use]
pub fn status(code: Code) -> StatusCode {
    // Where HTTP has a status of its own for one code of a kind.
    match code {
        Code::MethodNotAllowed => return StatusCode::METHOD_NOT_ALLOWED,
        Code::RangeNotSatisfiable => return StatusCode::RANGE_NOT_SATISFIABLE,
        Code::PreconditionFailed => return StatusCode::PRECONDITION_FAILED,
        Code::StorageFull => return StatusCode::INSUFFICIENT_STORAGE,
        Code::PreconditionRequired => return StatusCode::PRECONDITION_REQUIRED,
        Code::MediaTypeNotAllowed => return StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => {}
    }
    match code.kind() {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn general_sentence(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "The request cannot be used.",
        Kind::Unauthenticated => "A valid credential is needed.",
        Kind::Forbidden => "This credential may not do that.",
        Kind::NotFound => "There is no such thing.",
        Kind::Conflict => "The state of the resource does not allow that.",
        Kind::TooLarge => "The request is too large.",
        Kind::RateLimited => "Too many requests.",
        Kind::Unavailable => "A service this needs is not available now; try again.",
        Kind::Timeout => "It took longer than allowed.",
        Kind::Upstream => "A service this needs did not answer usefully.",
        Kind::Internal => "Something went wrong on our side; the request id finds it in the log.",
    }
}

impl<E: Classify + Send + Sync + 'static> From<E> for ApiError {
    fn from(error: E) -> Self {
        let code = error.code();
        let message = error
            .public_message()
            .map_or(Cow::Borrowed(general_sentence(code.kind())), |text| {
                Cow::Owned(text.into_owned())
            });
        let (details, retry_after) = (error.details(), error.retry_after());
        Self(Box::new(Parts {
            code,
            message,
            details,
            retry_after,
            cause: Some(Box::new(error)),
        }))
    }
}

/// An [`ApiError`] on its way through a router, in the answer's extensions, until the request's
/// id is at hand to render it.
#[derive(Debug, Clone)]
pub struct Unrendered(pub Arc<ApiError>);
