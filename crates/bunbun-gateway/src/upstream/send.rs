//! Sends one request: choose an address, take or open a connection, send, wait for the head of
//! the answer, and repeat only what is provably unsent or safe to repeat.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{Method, Request, Response, Uri, Version, header::HOST, uri::PathAndQuery};
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Upstream, balance,
    connection::{self, Origin, Sender},
    endpoint::{Endpoint, InFlight},
    http1::{self, Answer, Connection, RequestHead},
};
use crate::{
    body::{self, EdgeBody, Progress, SocketBody},
    refusal::Refusal,
};

/// How often a request is sent to another address because none took it.
const MAX_UNSENT: usize = 3;

/// How one request is to be sent.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// Which worker's connections to use.
    pub shard: usize,
    /// Longest wait for the answer's head after the request is sent.
    pub first_byte_timeout: Duration,
    /// How often a request that is safe to repeat is repeated after a failure.
    pub retries: u8,
    /// Use an HTTP/1 connection of its own: it may become a tunnel.
    pub upgrade: bool,
    /// Keep the request's own `Host`.
    pub keep_host: bool,
    /// When the request's body last moved.
    pub progress: Option<Arc<Progress>>,
}

impl SendOptions {
    fn client_fault(&self) -> Option<Refusal> {
        self.progress.as_ref().and_then(|progress| progress.fault())
    }
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
#[error("{}", refusal.label())]
pub struct SendError {
    /// What the client is told.
    pub refusal: Refusal,
    /// Why, for the log.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The place of a request that is under way, until its answer has ended.
pub struct Lease {
    endpoint: InFlight,
    shard: usize,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer has ended; its connection, if it can be used again, goes back to the pool.
    pub(crate) fn give_back(self, connection: Option<Box<Connection>>) {
        if let Some(connection) = connection {
            self.endpoint
                .0
                .put_idle(self.shard, Sender::Http1(connection));
        }
    }
}

/// The body of an upstream's answer.
pub(crate) enum UpstreamBody {
    Http1(Answer),
    Http2(Incoming),
}

impl UpstreamBody {
    /// As the body of an answer to a client. At its end the connection goes back to the pool.
    pub(crate) fn into_edge(self, lease: Lease, idle_timeout: Duration) -> EdgeBody {
        let body = match self {
            Self::Http1(Answer::Whole(bytes, connection)) => {
                lease.give_back(connection);
                return match bytes.is_empty() {
                    true => EdgeBody::Empty,
                    false => EdgeBody::Full(Some(bytes)),
                };
            }
            Self::Http1(Answer::Upgraded(_)) => return EdgeBody::Empty,
            Self::Http1(Answer::Streamed(body)) => SocketBody::of_answer(body, idle_timeout),
            Self::Http2(incoming) if incoming.is_end_stream() => return EdgeBody::Empty,
            Self::Http2(incoming) => SocketBody::new(incoming, idle_timeout),
        };
        EdgeBody::Socket(Box::new(body.with_lease(lease)))
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Response<UpstreamBody>),
    /// There is no connection to this address.
    Unreachable(SendError),
    /// The connection was an idle one and died before it took anything of the request.
    Unsent(SendError),
    /// The connection was an idle one and died before any answer.
    Stale(SendError),
    /// The upstream has not begun with it: HTTP/2 says so. The connection is good.
    Refused(SendError),
    Failed(SendError),
    /// The client's body broke off or stopped: the upstream is not to blame.
    ClientFailed(SendError),
    /// No answer in time; whether it was executed is unknown.
    TimedOut,
}

impl Upstream {
    /// Sends a request. Its URI is the path for the upstream; the scheme and host are set here.
    ///
    /// # Errors
    /// [`SendError`] when there is no answer; a request that may have been executed is repeated
    /// only when its method is idempotent and its body is there to send again.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<EdgeBody>,
        options: &SendOptions,
    ) -> Result<(Response<UpstreamBody>, Lease), SendError> {
        let permit = self.permit().await?;
        self.budget.earn();
        let is_replayable = request.body().replay().is_some();
        let is_repeatable = is_replayable && is_idempotent(request.method());
        let (mut tried, mut unsent, mut repeats) = (Vec::new(), 0, 0);
        // Set when an idle connection turned out to be dead: its siblings may be, too.
        let mut afresh = options.upgrade;
        let mut failure = None;
        loop {
            let endpoint = match self.pick(&tried).await {
                Ok(endpoint) => endpoint,
                // That no address is left is the consequence of the failure before.
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            let in_flight = InFlight::new(Arc::clone(&endpoint));
            let attempt = self.attempt(&endpoint, &mut request, options, afresh).await;
            let (is_granted, error) = match attempt {
                Attempt::Answered(response) => {
                    endpoint.breaker.succeeded();
                    let lease = Lease {
                        endpoint: in_flight,
                        shard: options.shard,
                        _permit: permit,
                    };
                    return Ok((response, lease));
                }
                Attempt::Unreachable(error) => {
                    tried.push(endpoint);
                    unsent += 1;
                    // A recreated container has a new address: ask for it before giving up.
                    Box::pin(self.resolve()).await;
                    (unsent <= MAX_UNSENT && self.has_other(&tried), error)
                }
                Attempt::Unsent(error) => (
                    is_replayable && !std::mem::replace(&mut afresh, true),
                    error,
                ),
                Attempt::Stale(error) => (
                    is_repeatable && !std::mem::replace(&mut afresh, true),
                    error,
                ),
                Attempt::Refused(error) => {
                    unsent += 1;
                    (is_repeatable && unsent <= MAX_UNSENT, error)
                }
                Attempt::Failed(error) => {
                    tried.push(endpoint);
                    let granted = repeats < options.retries && self.budget.spend();
                    repeats += 1;
                    (is_repeatable && granted, error)
                }
                Attempt::ClientFailed(error) => return Err(error),
                Attempt::TimedOut => {
                    return Err(SendError {
                        refusal: Refusal::UpstreamTimeout,
                        cause: None,
                    });
                }
            };
            if !is_granted {
                return Err(error);
            }
            failure = Some(error);
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SendError> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Arc::clone(&self.slots).acquire_owned();
        match Box::pin(tokio::time::timeout(self.settings.connect_timeout, waiting)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(SendError {
                refusal: Refusal::UpstreamBusy,
                cause: None,
            }),
        }
    }

    async fn pick(self: &Arc<Self>, tried: &[Arc<Endpoint>]) -> Result<Arc<Endpoint>, SendError> {
        let endpoints = self.endpoints().await;
        if endpoints.is_empty() {
            return Err(SendError {
                refusal: Refusal::NameResolution,
                cause: None,
            });
        }
        if let Some(chosen) = balance::choose(&endpoints, tried) {
            return Ok(chosen);
        }
        let again = Box::pin(self.resolve_again()).await;
        again
            .then(|| balance::choose(&self.endpoints.load(), tried))
            .flatten()
            .ok_or(SendError {
                refusal: Refusal::NoHealthyAddress,
                cause: None,
            })
    }

    /// Whether there is an address that did not fail this request.
    fn has_other(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.endpoints
            .load()
            .iter()
            .any(|e| !tried.iter().any(|t| Arc::ptr_eq(t, e)))
    }

    /// Sends once. The request stays whole where its body can be sent again, or no connection came
    /// about.
    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        request: &mut Request<EdgeBody>,
        options: &SendOptions,
        afresh: bool,
    ) -> Attempt {
        // However this ends, also by the client's going away: a half-open breaker's probe does
        // not stay taken.
        let _probe = Probe(endpoint);
        let once = !(is_idempotent(request.method()) && request.body().replay().is_some());
        let idle = if afresh {
            None
        } else {
            endpoint.take_idle(options.shard, self.settings.keepalive, once)
        };
        let reused = idle.is_some();
        let sender = match idle {
            Some(sender) => sender,
            // Boxed: a request on an open connection needs no room for a handshake.
            None => match Box::pin(self.open(endpoint, options, afresh)).await {
                Ok(sender) => sender,
                Err(error) => return Attempt::Unreachable(error),
            },
        };
        let origin = &self.origins[endpoint.origin];
        match exchange(sender, origin, request, options).await {
            Exchange::Answered(response) => Attempt::Answered(response),
            Exchange::Unsent(error) if reused => Attempt::Unsent(error),
            Exchange::Unsent(error) => {
                endpoint.breaker.failed(&self.breaker);
                // Its body is gone with it, unless it can be made again.
                match request.body().replay() {
                    Some(_) => Attempt::Unreachable(error),
                    None => Attempt::ClientFailed(error),
                }
            }
            Exchange::Invalid(error) => Attempt::ClientFailed(error),
            Exchange::Failed(error) if let Some(fault) = options.client_fault() => {
                Attempt::ClientFailed(SendError {
                    refusal: fault,
                    ..error
                })
            }
            Exchange::Refused(error) => Attempt::Refused(error),
            // An idle connection that the upstream closed just now says nothing of its health.
            Exchange::Failed(error) if reused => Attempt::Stale(error),
            // The address took the connection, so it is there. That one request made it drop it,
            // or was too slow, must not close the service to everyone else: whoever finds such a
            // request could keep the breaker open.
            Exchange::Failed(error) | Exchange::Broken(error) => {
                endpoint.breaker.succeeded();
                Attempt::Failed(error)
            }
            Exchange::TimedOut => {
                endpoint.breaker.succeeded();
                Attempt::TimedOut
            }
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        options: &SendOptions,
        afresh: bool,
    ) -> Result<Sender, SendError> {
        let origin = &self.origins[endpoint.origin];
        let timeout = self.settings.connect_timeout;
        let shares = origin.protocol == connection::Protocol::H2c
            || endpoint.speaks_http2.load(Ordering::Relaxed);
        let _turn = if shares && !options.upgrade {
            let asked = Instant::now();
            let turn = tokio::time::timeout(timeout, endpoint.opening(options.shard).lock()).await;
            let opened = match afresh {
                false => endpoint.take_idle(options.shard, self.settings.keepalive, false),
                // What another request has opened meanwhile is new enough.
                true => endpoint.opened_after(options.shard, asked),
            };
            if let Some(opened) = opened {
                return Ok(opened);
            }
            Some(turn)
        } else {
            None
        };
        let tls = self.tls.as_ref();
        let opening = connection::connect(endpoint.address, origin, tls, options.upgrade, timeout);
        match opening.await {
            Ok(Sender::Http2(sender)) => {
                endpoint.speaks_http2.store(true, Ordering::Relaxed);
                endpoint.put_idle(options.shard, Sender::Http2(sender.clone()));
                Ok(Sender::Http2(sender))
            }
            Ok(sender) => Ok(sender),
            Err(error) => {
                endpoint.breaker.failed(&self.breaker);
                let refusal = match error {
                    connection::ConnectError::Timeout(_) => Refusal::UpstreamTimeout,
                    _ => Refusal::UpstreamFailed,
                };
                Err(failed(refusal, error))
            }
        }
    }
}

enum Exchange {
    Answered(Response<UpstreamBody>),
    Unsent(SendError),
    Failed(SendError),
    /// It failed in the middle of its answer.
    Broken(SendError),
    /// An HTTP/2 upstream has not begun with it.
    Refused(SendError),
    /// It cannot be sent to anyone.
    Invalid(SendError),
    TimedOut,
}

async fn exchange(
    sender: Sender,
    origin: &Origin,
    request: &mut Request<EdgeBody>,
    options: &SendOptions,
) -> Exchange {
    let broken = |error| failed(Refusal::UpstreamFailed, error);
    match sender {
        Sender::Http1(connection) => {
            let body = take_body(request);
            // HTTP/1.0 clients may have sent none to keep.
            let kept = request.headers().get(HOST).filter(|_| options.keep_host);
            let path = request.uri().path_and_query();
            let head = RequestHead {
                method: request.method(),
                base_path: &origin.base_path,
                target: path.map_or("/", PathAndQuery::as_str),
                host: kept.unwrap_or(&origin.authority),
                headers: request.headers(),
                upgrade: options.upgrade,
            };
            match timed(connection.exchange(&head, body), options).await {
                None => Exchange::TimedOut,
                Some(Ok(response)) => Exchange::Answered(response.map(UpstreamBody::Http1)),
                Some(Err(failure)) if failure.unsent => {
                    Exchange::Unsent(failed(Refusal::UpstreamFailed, failure.error))
                }
                Some(Err(failure)) => {
                    let refusal = match failure.error {
                        http1::Error::Malformed(_) => Refusal::UpstreamMalformed,
                        _ => Refusal::UpstreamFailed,
                    };
                    match failure.answered {
                        true => Exchange::Broken(failed(refusal, failure.error)),
                        false => Exchange::Failed(failed(refusal, failure.error)),
                    }
                }
            }
        }
        Sender::Http2(mut sender) => {
            let request = match for_http2(request, origin, options.keep_host) {
                Ok(request) => request,
                Err(error) => {
                    let refusal = Refusal::BadRequest("the path cannot be sent");
                    return Exchange::Invalid(failed(refusal, error));
                }
            };
            let sending = sender.try_send_request(request);
            match timed(sending, options).await {
                None => Exchange::TimedOut,
                Some(Ok(response)) => Exchange::Answered(response.map(UpstreamBody::Http2)),
                Some(Err(mut error)) => match error.take_message() {
                    Some(_) => Exchange::Unsent(broken(error.into_error())),
                    None => match error.into_error() {
                        error if is_refused_stream(&error) => Exchange::Refused(broken(error)),
                        error => Exchange::Failed(broken(error)),
                    },
                },
            }
        }
    }
}

/// The body for one attempt; what can be sent again stays.
fn take_body(request: &mut Request<EdgeBody>) -> EdgeBody {
    match request.body().replay() {
        Some(copy) => copy,
        None => std::mem::take(request.body_mut()),
    }
}

/// The request as HTTP/2 has it: scheme and host in the target.
fn for_http2(
    request: &mut Request<EdgeBody>,
    origin: &Origin,
    keep_host: bool,
) -> Result<Request<EdgeBody>, http::Error> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let scheme = match origin.protocol {
        connection::Protocol::Https => "https",
        _ => "http",
    };
    let kept = request.headers().get(HOST).filter(|_| keep_host);
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(kept.unwrap_or(&origin.authority).as_bytes())
        .path_and_query(format!("{}{path}", origin.base_path))
        .build()?;
    let body = take_body(request);
    let mut sent = Request::new(body);
    *sent.method_mut() = request.method().clone();
    *sent.uri_mut() = uri;
    *sent.headers_mut() = request.headers().clone();
    sent.headers_mut().remove(HOST);
    *sent.version_mut() = Version::HTTP_2;
    Ok(sent)
}

/// Waits for the answer's head. The clock runs from the last movement of the request's body: a
/// long upload is not a slow answer.
async fn timed<F: Future>(sending: F, options: &SendOptions) -> Option<F::Output> {
    body::answered(
        sending,
        options.first_byte_timeout,
        options.progress.as_deref(),
    )
    .await
}

/// Frees a half-open breaker's probe, unless the outcome has done so already.
struct Probe<'e>(&'e Endpoint);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.breaker.abandoned();
    }
}

/// Whether an HTTP/2 upstream said that it has not begun with the request (RFC 9113 §8.7): a new
/// connection is used before the upstream has told how many requests it takes at once.
fn is_refused_stream(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn failed(refusal: Refusal, cause: impl std::error::Error + Send + Sync + 'static) -> SendError {
    SendError {
        refusal,
        cause: Some(Box::new(cause)),
    }
}

/// RFC 9110 §9.2.2.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// A copy of a request whose body can be sent again.
pub(crate) fn replay(request: &Request<EdgeBody>) -> Option<Request<EdgeBody>> {
    let body = request.body().replay()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.version_mut() = request.version();
    Some(copy)
}
