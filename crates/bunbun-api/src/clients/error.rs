//! What services refuse, in our vocabulary. Auth has two shapes of errors, old and new; storage
//! answers nearly everything with 400 and the true status as a text inside.

use std::{borrow::Cow, time::Duration};

use bunbun_core::{Classify, Code, Kind};
use bunbun_http::{BoxError, slots::CallError};
use http::{StatusCode, header::RETRY_AFTER, response::Parts};
use serde_json::{Map, Value, json};

/// Longest sentence of a service that is passed on.
const MAX_MESSAGE_CHARACTERS: usize = 500;

/// Why a service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refused.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// Its answer makes no sense.
    #[error("the answer of service '{service}' cannot be used: {problem}")]
    Unusable {
        /// Which service.
        service: &'static str,
        /// What is wrong.
        problem: &'static str,
        /// Why, for the log.
        #[source]
        cause: Option<BoxError>,
    },
}

/// A service's refusal.
#[derive(Debug, thiserror::Error)]
#[error("service '{service}' refuses with {status}, {}: {message}", service_code.as_deref().unwrap_or("no code"))]
pub struct Refused {
    /// Which service.
    pub service: &'static str,
    /// The true status, wherever it stood.
    pub status: u16,
    /// Our code for it.
    pub code: Code,
    /// The service's own code.
    pub service_code: Option<String>,
    /// The service's sentence.
    pub message: String,
    /// What a password lacks.
    pub reasons: Option<Value>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// Adds the private cause of an answer that makes no sense.
    pub(super) fn because(mut self, error: impl Into<BoxError>) -> Self {
        if let Self::Unusable { cause, .. } = &mut self {
            *cause = Some(error.into());
        }
        self
    }
}

impl Classify for Error {
    fn code(&self) -> Code {
        match self {
            Self::Call(error) => error.code(),
            Self::Refused(refused) => refused.code,
            Self::Unusable { .. } => Code::UpstreamError,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Call(error) => error.public_message(),
            Self::Unusable { .. } => None,
            Self::Refused(refused) if refused.code == Code::StorageFull => {
                Some("No space is left for the file: free some, or try again later.".into())
            }
            Self::Refused(refused) => match refused.code.kind() {
                // What a service says of its own faults is not for callers.
                Kind::Unavailable | Kind::Timeout | Kind::Upstream | Kind::Internal => None,
                _ if refused.message.is_empty() => None,
                _ => Some(refused.message.as_str().into()),
            },
        }
    }

    fn details(&self) -> Option<Value> {
        let Self::Refused(refused) = self else {
            return None;
        };
        let mut details = Map::new();
        details.insert("service".to_owned(), refused.service.into());
        if let Some(code) = &refused.service_code {
            details.insert("service_code".to_owned(), code.as_str().into());
        }
        if let Some(reasons) = &refused.reasons {
            details.insert("reasons".to_owned(), reasons.clone());
        }
        Some(details.into())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.retry_after(),
            Self::Refused(refused) => refused.retry_after,
            Self::Unusable { .. } => None,
        }
    }
}

/// Reads a refusal.
pub(super) fn refused(service: &'static str, head: &Parts, body: &[u8]) -> Error {
    let body: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({}));
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    let status = if service == "storage" {
        inner_status(&body["statusCode"]).unwrap_or(head.status)
    } else {
        head.status
    };
    // Auth's older shape has its number as `code` and its name as `error_code`; the one before that
    // is OAuth's. Storage's older releases have no `code`, and their `error` is now a name, now a
    // sentence.
    let service_code = text("error_code").or(text("code")).or(text("error"));
    let message = ["message", "msg", "error_description", "error"]
        .into_iter()
        .find_map(text)
        .unwrap_or_default();
    let code = match service {
        "auth" => of_auth(service_code.unwrap_or_default()),
        "storage" => of_storage(service_code.unwrap_or_default(), status, message),
        _ => None,
    };
    let reasons = &body["weak_password"]["reasons"];
    let retry_after = head
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Error::Refused(Box::new(Refused {
        service,
        status: status.as_u16(),
        code: code.unwrap_or_else(|| of_status(status)),
        service_code: service_code.map(clean),
        message: clean(message),
        reasons: reasons.is_array().then(|| reasons.clone()),
        retry_after,
    }))
}

/// A status that stands in a body, as text or number.
fn inner_status(value: &Value) -> Option<StatusCode> {
    let number = match value {
        Value::String(text) => text.parse().ok()?,
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        _ => return None,
    };
    let status = StatusCode::from_u16(number).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

/// A service's text, fit for a line of ours.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARACTERS)
        .collect()
}

fn of_auth(service_code: &str) -> Option<Code> {
    Some(match service_code {
        "invalid_credentials" | "invalid_grant" => Code::InvalidCredentials,
        "refresh_token_not_found" | "refresh_token_already_used" => Code::InvalidRefreshToken,
        "session_not_found" | "session_expired" => Code::SessionNotFound,
        "email_not_confirmed" | "phone_not_confirmed" | "provider_disabled" => {
            Code::EmailNotConfirmed
        }
        "user_banned" => Code::UserBanned,
        "signup_disabled"
        | "email_provider_disabled"
        | "phone_provider_disabled"
        | "anonymous_provider_disabled"
        | "email_address_not_authorized" => Code::SignupDisabled,
        "user_already_exists" | "email_exists" | "phone_exists" | "conflict" => Code::UserExists,
        "user_not_found" => Code::UserNotFound,
        "weak_password" => Code::WeakPassword,
        "validation_failed" | "email_address_invalid" | "same_password" => Code::ValidationFailed,
        "bad_json" => Code::InvalidRequest,
        "bad_jwt" | "no_authorization" => Code::Unauthorized,
        "not_admin" | "insufficient_aal" => Code::Forbidden,
        "over_request_rate_limit" | "over_email_send_rate_limit" | "over_sms_send_rate_limit" => {
            Code::RateLimited
        }
        "request_timeout" | "hook_timeout" => Code::UpstreamTimeout,
        _ => return None,
    })
}

fn of_storage(service_code: &str, status: StatusCode, message: &str) -> Option<Code> {
    Some(match service_code {
        "NoSuchBucket" => Code::BucketNotFound,
        "NoSuchKey" => Code::ObjectNotFound,
        "KeyAlreadyExists" | "ResourceAlreadyExists" | "Duplicate" => Code::ObjectExists,
        "EntityTooLarge" => Code::TooLarge,
        "InvalidMimeType" | "invalid_mime_type" => Code::MediaTypeNotAllowed,
        "InvalidKey" | "InvalidBucketName" => Code::ValidationFailed,
        "AccessDenied" => Code::Forbidden,
        "InvalidJWT" => Code::Unauthorized,
        "InvalidRange" => Code::RangeNotSatisfiable,
        "DatabaseTimeout" | "ResourceLocked" | "SlowDown" => Code::ServiceUnavailable,
        _ if status == StatusCode::NOT_FOUND && message.contains("ucket") => Code::BucketNotFound,
        _ if status == StatusCode::NOT_FOUND => Code::ObjectNotFound,
        _ if status == StatusCode::CONFLICT => Code::ObjectExists,
        _ => return None,
    })
}

fn of_status(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthorized,
        403 => Code::Forbidden,
        404 => Code::RouteNotFound,
        412 => Code::PreconditionFailed,
        413 => Code::TooLarge,
        415 => Code::MediaTypeNotAllowed,
        416 => Code::RangeNotSatisfiable,
        422 => Code::ValidationFailed,
        429 => Code::RateLimited,
        400..=499 => Code::InvalidRequest,
        503 => Code::ServiceUnavailable,
        504 => Code::UpstreamTimeout,
        507 => Code::StorageFull,
        _ => Code::UpstreamError,
    }
}
