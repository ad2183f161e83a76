//! The error of the auth service and its renderings, both of them the original's:
//! `{"code": 400, "error_code": "…", "msg": "…"}`, and with `X-Supabase-Api-Version: 2024-01-01`
//! `{"code": "…", "message": "…"}`. A few grants answer as OAuth 2.0 does:
//! `{"error": "…", "error_description": "…"}`.

use std::{borrow::Cow, sync::Arc};

use bunbun_core::{Classify as _, Code as CoreCode};
use bunbun_http::{
    RequestId,
    body::{self, Body, BoxError},
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// The header that names the version of error bodies.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("x-supabase-api-version");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-sb-error-code");
const FIRST_VERSION: &str = "2024-01-01";

/// The outcome of a handler.
pub(crate) type Result<T, E = AuthError> = std::result::Result<T, E>;

macro_rules! codes {
    ($($name:ident = $text:literal,)+) => {
        /// The original's stable codes, as far as this service gives them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Code { $($name,)+ }

        impl Code {
            /// The text that travels.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    AnonymousProviderDisabled = "anonymous_provider_disabled",
    BadCodeVerifier = "bad_code_verifier",
    BadJson = "bad_json",
    BadJwt = "bad_jwt",
    BadOAuthCallback = "bad_oauth_callback",
    BadOAuthState = "bad_oauth_state",
    EmailConflictIdentityNotDeletable = "email_conflict_identity_not_deletable",
    EmailExists = "email_exists",
    EmailNotConfirmed = "email_not_confirmed",
    EmailProviderDisabled = "email_provider_disabled",
    FeatureDisabled = "feature_disabled",
    FlowStateExpired = "flow_state_expired",
    FlowStateNotFound = "flow_state_not_found",
    HookPayloadInvalidContentType = "hook_payload_invalid_content_type",
    HookPayloadOverSizeLimit = "hook_payload_over_size_limit",
    HookTimeout = "hook_timeout",
    HookTimeoutAfterRetry = "hook_timeout_after_retry",
    IdentityAlreadyExists = "identity_already_exists",
    IdentityNotFound = "identity_not_found",
    InsufficientAal = "insufficient_aal",
    InvalidCredentials = "invalid_credentials",
    InviteNotFound = "invite_not_found",
    ManualLinkingDisabled = "manual_linking_disabled",
    MfaChallengeExpired = "mfa_challenge_expired",
    MfaFactorNameConflict = "mfa_factor_name_conflict",
    MfaFactorNotFound = "mfa_factor_not_found",
    MfaIpAddressMismatch = "mfa_ip_address_mismatch",
    MfaPhoneEnrollNotEnabled = "mfa_phone_enroll_not_enabled",
    MfaTotpEnrollNotEnabled = "mfa_totp_enroll_not_enabled",
    MfaTotpVerifyNotEnabled = "mfa_totp_verify_not_enabled",
    MfaVerificationFailed = "mfa_verification_failed",
    MfaWebAuthnEnrollNotEnabled = "mfa_webauthn_enroll_not_enabled",
    NoAuthorization = "no_authorization",
    NotAdmin = "not_admin",
    OtpDisabled = "otp_disabled",
    OtpExpired = "otp_expired",
    OverEmailSendRateLimit = "over_email_send_rate_limit",
    OverRequestRateLimit = "over_request_rate_limit",
    PasskeyDisabled = "passkey_disabled",
    PhoneExists = "phone_exists",
    PhoneProviderDisabled = "phone_provider_disabled",
    ProviderDisabled = "provider_disabled",
    ProviderEmailNeedsVerification = "provider_email_needs_verification",
    ReauthenticationNeeded = "reauthentication_needed",
    ReauthenticationNotValid = "reauthentication_not_valid",
    RefreshTokenAlreadyUsed = "refresh_token_already_used",
    RefreshTokenNotFound = "refresh_token_not_found",
    RequestTimeout = "request_timeout",
    SamePassword = "same_password",
    SamlProviderDisabled = "saml_provider_disabled",
    SessionExpired = "session_expired",
    SessionNotFound = "session_not_found",
    SignupDisabled = "signup_disabled",
    SingleIdentityNotDeletable = "single_identity_not_deletable",
    TooManyEnrolledMfaFactors = "too_many_enrolled_mfa_factors",
    UnexpectedFailure = "unexpected_failure",
    Unknown = "unknown",
    UserAlreadyExists = "user_already_exists",
    UserBanned = "user_banned",
    UserNotFound = "user_not_found",
    UserSsoManaged = "user_sso_managed",
    ValidationFailed = "validation_failed",
    WeakPassword = "weak_password",
    Web3ProviderDisabled = "web3_provider_disabled",
}

/// A failure on its way to a client.
#[derive(Debug)]
pub(crate) struct AuthError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: Code,
    message: Cow<'static, str>,
    /// The `error` of an OAuth 2.0 body; then `message` is its description.
    oauth: Option<&'static str>,
    /// Why a password is weak.
    reasons: Vec<&'static str>,
    retry_after_s: Option<u64>,
    cause: Option<BoxError>,
}

impl AuthError {
    pub(crate) fn new(
        status: StatusCode,
        code: Code,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            message: message.into(),
            oauth: None,
            reasons: Vec::new(),
            retry_after_s: None,
            cause: None,
        }))
    }

    pub(crate) fn bad_request(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400 `validation_failed`.
    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request(Code::ValidationFailed, message)
    }

    pub(crate) fn forbidden(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    pub(crate) fn not_found(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn unprocessable(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// 429; clients that honour it wait.
    pub(crate) fn too_many(
        code: Code,
        message: impl Into<Cow<'static, str>>,
        retry_after_s: u64,
    ) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
        error.0.retry_after_s = Some(retry_after_s.max(1));
        error
    }

    /// 500 with a public sentence and the private cause.
    pub(crate) fn internal(
        message: impl Into<Cow<'static, str>>,
        cause: impl Into<BoxError>,
    ) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::UnexpectedFailure,
            message,
        )
        .with_cause(cause)
    }

    /// The OAuth 2.0 body, 400.
    pub(crate) fn oauth(error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        let mut this = Self::bad_request(Code::ValidationFailed, description);
        this.0.oauth = Some(error);
        this
    }

    /// 422 `weak_password` with its reasons.
    pub(crate) fn weak_password(message: String, reasons: Vec<&'static str>) -> Self {
        let mut this = Self::unprocessable(Code::WeakPassword, message);
        this.0.reasons = reasons;
        this
    }

    /// The one answer to a wrong password, an unknown address and everything in between.
    pub(crate) fn invalid_credentials() -> Self {
        Self::bad_request(Code::InvalidCredentials, "Invalid login credentials")
    }

    #[must_use]
    pub(crate) fn with_cause(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The database's error behind this one.
    pub(crate) fn database_cause(&self) -> Option<&bunbun_postgres::Error> {
        self.0.cause.as_deref()?.downcast_ref()
    }

    pub(crate) fn reasons(&self) -> &[&'static str] {
        &self.0.reasons
    }

    /// The `error` of a redirect back to the application.
    pub(crate) fn redirect_error(&self) -> &'static str {
        if let Some(error) = self.0.oauth {
            return error;
        }
        match self.0.code {
            Code::SignupDisabled | Code::UserBanned | Code::ProviderEmailNeedsVerification => {
                return "access_denied";
            }
            _ => {}
        }
        match self.0.status.as_u16() {
            400 => "invalid_request",
            401 => "unauthorized_client",
            403 => "access_denied",
            503 => "temporarily_unavailable",
            _ => "server_error",
        }
    }

    pub(crate) fn is_oauth(&self) -> bool {
        self.0.oauth.is_some()
    }

    /// What happened, for the log.
    pub(crate) fn reason(&self) -> String {
        let cause = self.0.cause.as_deref();
        cause.map_or_else(
            || self.0.message.clone().into_owned(),
            |cause| bunbun_core::error::chain(cause),
        )
    }

    /// Logs the cause once.
    pub(crate) fn log(&self, request_id: &RequestId) {
        let cause = self
            .0
            .cause
            .as_deref()
            .map(|cause| bunbun_core::error::chain(cause));
        let (code, error) = (
            self.0.code.as_str(),
            cause.as_deref().unwrap_or(&self.0.message),
        );
        match self.0.status.as_u16() {
            503 => tracing::warn!(%request_id, code, error, "auth request failed"),
            500.. => tracing::error!(%request_id, code, error, "auth request failed"),
            _ => tracing::debug!(%request_id, code, error, "auth request refused"),
        }
    }

    /// Renders the answer in the shape that the request asks for.
    pub(crate) fn render(&self, headers: &HeaderMap, request_id: &RequestId) -> Response<Body> {
        self.log(request_id);
        let version = requested_version(headers);
        let body = match (self.0.oauth, version.is_some()) {
            (Some(error), _) => {
                let mut body = Map::new();
                body.insert("error".to_owned(), error.into());
                if !self.0.message.is_empty() {
                    body.insert("error_description".to_owned(), self.message().into());
                }
                Value::Object(body)
            }
            (None, true) => json!({ "code": self.0.code.as_str(), "message": self.0.message }),
            (None, false) => json!({
                "code": self.0.status.as_u16(),
                "error_code": self.0.code.as_str(),
                "msg": self.0.message,
            }),
        };
        let body = self.with_extras(body, version.is_some(), request_id);
        let mut response = Response::new(body::full(body.to_string()));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.0.code.as_str()));
        if version.is_some() {
            headers.insert(API_VERSION, HeaderValue::from_static(FIRST_VERSION));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn with_extras(&self, mut body: Value, is_versioned: bool, request_id: &RequestId) -> Value {
        let Some(object) = body.as_object_mut() else {
            return body;
        };
        if self.0.code == Code::WeakPassword {
            object.insert(
                "weak_password".to_owned(),
                json!({ "reasons": self.0.reasons }),
            );
        }
        if self.0.status.is_server_error() && !is_versioned && self.0.oauth.is_none() {
            object.insert("error_id".to_owned(), request_id.as_str().into());
        }
        body
    }
}

/// The version of error bodies that holds for a request: the latest one that is not after the date
/// in its header. A value that is no date asks for nothing.
fn requested_version(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(API_VERSION)?.to_str().ok()?;
    let bytes = value.as_bytes();
    let is_date = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    (is_date && value >= FIRST_VERSION).then_some(FIRST_VERSION)
}

/// An error on its way through the router, until the request's headers are at hand to render it.
#[derive(Clone)]
pub(crate) struct Unrendered(pub(crate) Arc<AuthError>);

impl axum::response::IntoResponse for AuthError {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(axum::body::Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(Unrendered(Arc::new(self)));
        response
    }
}

impl From<bunbun_postgres::Error> for AuthError {
    fn from(error: bunbun_postgres::Error) -> Self {
        let retry_after_s = error.retry_after().map(|after| after.as_secs().max(1));
        let constraint = error.constraint().unwrap_or_default().to_owned();
        let (status, code, message) = match error.code() {
            // Two requests wanted the same at the same moment.
            _ if constraint == "users_email_partial_key" => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Code::EmailExists,
                "A user with this email address has already been registered",
            ),
            _ if constraint == "identities_provider_id_provider_unique" => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Code::IdentityAlreadyExists,
                "Identity is already linked to another user",
            ),
            CoreCode::DatabaseUnavailable | CoreCode::ServiceUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                Code::UnexpectedFailure,
                "The database is not available at the moment; try again",
            ),
            CoreCode::StatementTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                Code::RequestTimeout,
                "Processing this request timed out, please retry after a moment.",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::UnexpectedFailure,
                "Unexpected failure, please check server logs for more information",
            ),
        };
        let mut this = Self::new(status, code, message).with_cause(error);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            this.0.retry_after_s = Some(retry_after_s.unwrap_or(1));
        }
        this
    }
}

impl From<bunbun_postgres::tokio_postgres::Error> for AuthError {
    fn from(error: bunbun_postgres::tokio_postgres::Error) -> Self {
        bunbun_postgres::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use bunbun_http::RequestId;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::BodyExt as _;

    use super::{API_VERSION, AuthError, Code, requested_version};

    async fn rendered(error: &AuthError, version: Option<&'static str>) -> (String, HeaderMap) {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(API_VERSION, HeaderValue::from_static(version));
        }
        let response = error.render(&headers, &RequestId::generate());
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (String::from_utf8(bytes.to_vec()).unwrap(), head.headers)
    }

    #[tokio::test]
    async fn the_header_chooses_the_shape() {
        let error = AuthError::invalid("x");
        let (body, headers) = rendered(&error, None).await;
        assert_eq!(
            body,
            r#"{"code":400,"error_code":"validation_failed","msg":"x"}"#
        );
        assert_eq!(headers["x-sb-error-code"], "validation_failed");
        assert!(!headers.contains_key(API_VERSION));
        let (body, headers) = rendered(&error, Some("2024-01-01")).await;
        assert_eq!(body, r#"{"code":"validation_failed","message":"x"}"#);
        assert_eq!(headers[API_VERSION], "2024-01-01");
    }

    #[tokio::test]
    async fn oauth_errors_and_weak_passwords_have_their_own_bodies() {
        let error = AuthError::oauth("invalid_request", "refresh_token required");
        let (body, _) = rendered(&error, Some("2024-01-01")).await;
        assert_eq!(
            body,
            r#"{"error":"invalid_request","error_description":"refresh_token required"}"#
        );
        let error = AuthError::weak_password("short".to_owned(), vec!["length"]);
        let (body, _) = rendered(&error, Some("2024-01-01")).await;
        assert_eq!(
            body,
            r#"{"code":"weak_password","message":"short","weak_password":{"reasons":["length"]}}"#
        );
        assert_eq!(error.code(), Code::WeakPassword);
    }

    #[test]
    fn the_latest_version_before_the_date_holds() {
        for (value, expected) in [
            ("2024-01-01", true),
            ("2025-06-30", true),
            ("2023-12-31", false),
            ("latest", false),
            ("2024-1-1", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(API_VERSION, HeaderValue::from_static(value));
            assert_eq!(requested_version(&headers).is_some(), expected, "{value}");
        }
    }
}
