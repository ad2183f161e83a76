//! The body type of requests and answers inside the process.

use bunbun_core::Code;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A service inside this process that fills a slot.
pub trait Embedded: Send + Sync + 'static {
    /// Answers a request. Failures are answers, too.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>>;
}

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The request's body was larger than its route allows.
#[derive(Debug, Clone, Copy)]
pub struct BodyTooLarge {
    /// The limit in bytes.
    pub limit: u64,
}

impl std::fmt::Display for BodyTooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "The body is larger than {} bytes.", self.limit)
    }
}

impl std::error::Error for BodyTooLarge {}

/// What is wrong with a caller's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It stopped coming, or the connection ended within it.
    BrokeOff,
    /// It is larger than so many bytes, where the limit is known.
    TooLarge(Option<u64>),
}

impl Fault {
    /// The fault that an error of a body stands for.
    #[must_use]
    pub fn of(error: &BoxError) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        while let Some(inner) = cause {
            if let Some(too_large) = inner.downcast_ref::<BodyTooLarge>() {
                return Self::TooLarge(Some(too_large.limit));
            }
            cause = inner.source();
        }
        Self::BrokeOff
    }

    /// The code on our own routes.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::BrokeOff => Code::InvalidRequest,
            Self::TooLarge(_) => Code::TooLarge,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BrokeOff => f.write_str("The body broke off."),
            Self::TooLarge(Some(limit)) => BodyTooLarge { limit: *limit }.fmt(f),
            Self::TooLarge(None) => f.write_str("The body is larger than allowed."),
        }
    }
}
