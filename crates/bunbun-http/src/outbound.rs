//! Requests to hosts that users name (webhooks, jobs): over HTTP/1.1, bounded in time and size, and
//! only where the guard of hosts ([`Egress`]) lets them.
//!
//! A connection goes to an address that was checked, each one anew. Redirects are answers like
//! others: whoever follows one sends another request, which is checked as well.

use std::{
    borrow::Cow,
    error::Error as StdError,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bunbun_core::{
    Classify, Code,
    egress::{Egress, EgressError},
};
use bytes::Bytes;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use crate::body::BoxError;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Bounds of each request.
#[derive(Debug, Clone, Copy)]
pub struct OutboundLimits {
    /// Name resolution and connection, without TLS.
    pub connect_timeout: Duration,
    /// Everything, until the last byte of the answer.
    pub timeout: Duration,
    /// Most bytes of an answer's body.
    pub max_answer_bytes: usize,
}

/// A client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client<HttpsConnector<Guarded>, Full<Bytes>>,
    limits: OutboundLimits,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// No `http` or `https` URL, or one with a password in it.
    #[error("the URL cannot be used: {0}")]
    InvalidUrl(&'static str),
    /// The host may not be or cannot be reached ([`OutboundError::refused`]), speaks no TLS or no
    /// HTTP, or broke off.
    #[error("the exchange failed")]
    Failed(#[source] BoxError),
    /// The answer was not there in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is larger than the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl Classify for OutboundError {
    fn code(&self) -> Code {
        match self {
            Self::InvalidUrl(_) => Code::ValidationFailed,
            Self::Failed(_) => self
                .refused()
                .map_or(Code::ConnectionFailed, Classify::code),
            Self::TooLarge(_) => Code::ConnectionFailed,
            Self::Timeout(_) => Code::Timeout,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        match self {
            // What the other side said in place of HTTP or TLS is nobody's business.
            Self::Failed(_) => self.refused().map_or_else(
                || Some("The host did not answer as an HTTP server does.".into()),
                Classify::public_message,
            ),
            Self::InvalidUrl(_) | Self::Timeout(_) | Self::TooLarge(_) => {
                Some(self.to_string().into())
            }
        }
    }
}

impl OutboundError {
    /// The guard's error, wherever the client has wrapped it.
    #[must_use]
    pub fn refused(&self) -> Option<&EgressError> {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            cause = error.source();
        }
        None
    }
}

impl Outbound {
    /// A client behind this guard. Nothing connects yet.
    #[must_use]
    pub fn new(egress: Egress, limits: OutboundLimits) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(Guarded {
                egress,
                limit: limits.connect_timeout,
            });
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self { client, limits }
    }

    /// Sends a request to an absolute URL and reads the whole answer.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, OutboundError> {
        check_url(request.uri())?;
        let limit = self.limits.timeout;
        timeout(limit, self.exchange(request))
            .await
            .map_err(|_| OutboundError::Timeout(limit))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, OutboundError> {
        let answer = self.client.request(request).await;
        let (parts, body) = answer
            .map_err(|error| OutboundError::Failed(error.into()))?
            .into_parts();
        let limit = self.limits.max_answer_bytes;
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => OutboundError::TooLarge(limit),
            false => OutboundError::Failed(error),
        })?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

fn check_url(url: &Uri) -> Result<(), OutboundError> {
    let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&url.scheme());
    if !is_http || url.host().is_none_or(str::is_empty) {
        return Err(OutboundError::InvalidUrl(
            "it must begin with http:// or https:// and a host",
        ));
    }
    if url.authority().is_some_and(|it| it.as_str().contains('@')) {
        return Err(OutboundError::InvalidUrl(
            "user and password do not belong into it",
        ));
    }
    Ok(())
}

/// Connects to checked addresses only.
#[derive(Debug, Clone)]
struct Guarded {
    egress: Egress,
    limit: Duration,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, EgressError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let Self { egress, limit } = self.clone();
        Box::pin(async move {
            let default = if url.scheme() == Some(&Scheme::HTTPS) {
                443
            } else {
                80
            };
            let host = url.host().unwrap_or_default();
            let port = url.port_u16().unwrap_or(default);
            egress.connect(host, port, limit).await.map(TokioIo::new)
        })
    }
}

#[cfg(test)]
mod tests;
