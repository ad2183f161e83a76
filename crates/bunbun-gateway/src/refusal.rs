//! Why the gateway answers a request itself: with its source, so that policies need no guessing.

use std::borrow::Cow;

use bunbun_core::Code;
use http::StatusCode;

use crate::accept::head::HeadFault;

/// Who caused a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request itself.
    Client,
    /// The service behind the route.
    Upstream,
    /// BunBun or its configuration.
    Us,
}

/// A request that is not passed on, or whose passing on failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The head is malformed, too large or late.
    Head(HeadFault),
    /// The request is ambiguous; the text says how, for the log and `explain`.
    BadRequest(&'static str),
    /// The client's body stopped coming.
    BodyTimeout,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// No project of this reference.
    UnknownProject,
    /// No route matches.
    NoRoute,
    /// The route needs an `apikey` and there is none.
    NoKey,
    /// The `apikey` is not one of the project's.
    WrongKey,
    /// More than one `apikey`.
    DuplicateKey,
    /// The key is valid but its role, or the token's scopes, do not suffice.
    WrongRole,
    /// The route needs a user's token.
    NoUser,
    /// The dashboard's user name and password are missing.
    NoBasic,
    /// They are wrong.
    WrongBasic,
    /// They were wrong too often.
    TooManyGuesses,
    /// The route is closed.
    Closed,
    /// The client's address may not use the route.
    AddressDenied,
    /// The policy's quota is used up.
    RateLimited,
    /// The slot has no service.
    EmptySlot(Cow<'static, str>),
    /// The upstream's name does not resolve.
    NameResolution,
    /// No address of the upstream takes requests at the moment.
    NoHealthyAddress,
    /// Too many requests wait for the upstream.
    UpstreamBusy,
    /// The upstream refused or cut the connection, or sent no HTTP.
    UpstreamFailed,
    /// What the upstream sent is no HTTP answer.
    UpstreamMalformed,
    /// The upstream took too long.
    UpstreamTimeout,
    /// A service in this process panicked.
    Internal,
}

impl Refusal {
    /// Who caused it.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self {
            Self::NameResolution
            | Self::NoHealthyAddress
            | Self::UpstreamBusy
            | Self::UpstreamFailed
            | Self::UpstreamMalformed
            | Self::UpstreamTimeout => Source::Upstream,
            Self::EmptySlot(_) | Self::Internal => Source::Us,
            _ => Source::Client,
        }
    }

    /// A word for logs, metrics and `explain`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Head(HeadFault::Malformed) => "malformed_head",
            Self::Head(HeadFault::HeadTooLarge) => "head_too_large",
            Self::Head(HeadFault::TargetTooLong) => "target_too_long",
            Self::Head(HeadFault::TooSlow) => "head_timeout",
            Self::BadRequest(_) => "bad_request",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UnknownProject => "unknown_project",
            Self::NoRoute => "no_route",
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::DuplicateKey => "duplicate_key",
            Self::WrongRole => "wrong_role",
            Self::NoUser => "no_user",
            Self::NoBasic => "no_basic_credentials",
            Self::WrongBasic => "wrong_basic_credentials",
            Self::TooManyGuesses => "too_many_guesses",
            Self::Closed => "closed",
            Self::AddressDenied => "address_denied",
            Self::RateLimited => "rate_limited",
            Self::EmptySlot(_) => "empty_slot",
            Self::NameResolution => "name_resolution",
            Self::NoHealthyAddress => "no_healthy_address",
            Self::UpstreamBusy => "upstream_busy",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Internal => "internal",
        }
    }

    /// What it means, in a sentence for the owner who asks `explain`.
    #[must_use]
    pub fn explanation(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Head(HeadFault::Malformed) => {
                "The request's head is malformed or ambiguous (framing, line ends, folded lines)."
            }
            Self::Head(HeadFault::HeadTooLarge) => {
                "The request's head is larger than 64 KiB or 100 lines."
            }
            Self::Head(HeadFault::TargetTooLong) => "The request's target is longer than 16 KiB.",
            Self::Head(HeadFault::TooSlow) => "The request's head did not arrive in time.",
            Self::BadRequest(why) => {
                return Cow::Owned(format!("The request is ambiguous: {why}."));
            }
            Self::BodyTimeout => "The request's body stopped coming.",
            Self::BodyTooLarge => "The request's body is larger than its route allows.",
            Self::UnknownProject => "No project has this reference.",
            Self::NoRoute => "No route matches host, path and method.",
            Self::NoKey => {
                "The route needs an API key in the header or parameter 'apikey'; there was none."
            }
            Self::WrongKey => "The API key is not one of the project's.",
            Self::DuplicateKey => "There was more than one API key.",
            Self::WrongRole => {
                "The credential is valid, but its role or scopes do not suffice for the route."
            }
            Self::NoUser => "The route needs a valid user token in 'Authorization: Bearer'.",
            Self::NoBasic => "The route needs the dashboard's user name and password.",
            Self::WrongBasic => "User name or password of the dashboard were wrong.",
            Self::TooManyGuesses => {
                "Too many wrong passwords of the dashboard came from this address; wait a minute."
            }
            Self::Closed => "The route is closed by its configuration.",
            Self::AddressDenied => "The client's address may not use the route.",
            Self::RateLimited => "The rate limit of the route was used up.",
            Self::EmptySlot(slot) => return Cow::Owned(empty_slot(slot)),
            Self::NameResolution => "The upstream's host name does not resolve.",
            Self::NoHealthyAddress => {
                "All addresses of the upstream failed lately; one is probed again soon."
            }
            Self::UpstreamBusy => "Too many requests were waiting for the upstream.",
            Self::UpstreamMalformed => "The upstream's answer is no HTTP, or ambiguous.",
            Self::UpstreamFailed => {
                "The upstream refused or cut the connection, or sent no valid HTTP."
            }
            Self::UpstreamTimeout => "The upstream took longer than the route allows.",
            Self::Internal => "An unexpected error occurred.",
        })
    }

    /// The code on BunBun's own routes.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Head(HeadFault::Malformed | HeadFault::TooSlow)
            | Self::BadRequest(_)
            | Self::BodyTimeout => Code::InvalidRequest,
            Self::Head(_) | Self::BodyTooLarge => Code::TooLarge,
            Self::UnknownProject => Code::ProjectNotFound,
            Self::NoRoute => Code::RouteNotFound,
            Self::NoKey
            | Self::WrongKey
            | Self::DuplicateKey
            | Self::NoUser
            | Self::NoBasic
            | Self::WrongBasic => Code::Unauthorized,
            Self::WrongRole | Self::Closed | Self::AddressDenied => Code::Forbidden,
            Self::RateLimited | Self::TooManyGuesses => Code::RateLimited,
            Self::EmptySlot(_)
            | Self::NameResolution
            | Self::NoHealthyAddress
            | Self::UpstreamBusy => Code::ServiceUnavailable,
            Self::UpstreamFailed | Self::UpstreamMalformed => Code::UpstreamError,
            Self::UpstreamTimeout => Code::UpstreamTimeout,
            Self::Internal => Code::Internal,
        }
    }

    /// The status on BunBun's own routes.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Head(HeadFault::HeadTooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Head(HeadFault::TargetTooLong) => StatusCode::URI_TOO_LONG,
            Self::Head(HeadFault::TooSlow) | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => bunbun_http::error::status(self.code()),
        }
    }
}

/// What an empty slot says to everyone.
#[must_use]
pub fn empty_slot(slot: &str) -> String {
    let variable = match slot {
        "rest" => "POSTGREST_URL".to_owned(),
        _ => format!("{}_URL", slot.to_ascii_uppercase()),
    };
    format!("The service '{slot}' is not configured: set {variable}.")
}
