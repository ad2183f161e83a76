//! The body type of requests and answers inside the process.

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
