//! Sends one request: choose an address, take or open a connection, send, wait for the head of
//! the answer, and repeat only what is provably unsent or safe to repeat.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use http::{Method, Request, Response, Uri, Version, header::HOST, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Upstream, balance,
    connection::{self, Sender},
    endpoint::{Endpoint, InFlight},
};
use crate::{
    body::{self, EdgeBody, OnEnd, Progress},
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

/// The connection that an answer comes from; goes back to the pool when the answer has ended.
pub struct Lease {
    sender: Option<Sender>,
    endpoint: InFlight,
    shard: usize,
    _permit: OwnedSemaphorePermit,
}

impl OnEnd for Lease {
    fn ended(&mut self) {
        if let Some(sender @ Sender::Http1(_)) = self.sender.take() {
            self.endpoint.0.put_idle(self.shard, sender);
        }
    }
}

/// What became of one attempt.
enum Attempt {
    Answered(Response<Incoming>, Option<Sender>),
    /// There is no connection to this address.
    Unreachable(Request<EdgeBody>, SendError),
    /// The connection was an idle one and died before it took anything of the request.
    Unsent(Request<EdgeBody>, SendError),
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
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<EdgeBody>,
        options: &SendOptions,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let permit = self.permit().await?;
        self.budget.earn();
        let repeatable = is_idempotent(request.method());
        let (uri, host) = (request.uri().clone(), request.headers().get(HOST).cloned());
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
            let copy = if repeatable { replay(&request) } else { None };
            let attempt = self.attempt(&endpoint, request, options, afresh).await;
            let (again, error) = match attempt {
                Attempt::Answered(response, sender) => {
                    endpoint.breaker.succeeded();
                    let shard = options.shard;
                    return Ok((
                        response,
                        Lease {
                            sender,
                            endpoint: in_flight,
                            shard,
                            _permit: permit,
                        },
                    ));
                }
                Attempt::Unreachable(back, error) => {
                    tried.push(endpoint);
                    unsent += 1;
                    // A recreated container has a new address: ask for it before giving up.
                    self.resolve().await;
                    let elsewhere = unsent <= MAX_UNSENT && self.has_other(&tried);
                    (Some(back).filter(|_| elsewhere), error)
                }
                Attempt::Unsent(back, error) => (
                    Some(back).filter(|_| !std::mem::replace(&mut afresh, true)),
                    error,
                ),
                Attempt::Stale(error) => (
                    copy.filter(|_| !std::mem::replace(&mut afresh, true)),
                    error,
                ),
                Attempt::Refused(error) => {
                    unsent += 1;
                    (copy.filter(|_| unsent <= MAX_UNSENT), error)
                }
                Attempt::Failed(error) => {
                    tried.push(endpoint);
                    let granted = repeats < options.retries && self.budget.spend();
                    repeats += 1;
                    (copy.filter(|_| granted), error)
                }
                Attempt::ClientFailed(error) => return Err(error),
                Attempt::TimedOut => {
                    return Err(SendError {
                        refusal: Refusal::UpstreamTimeout,
                        cause: None,
                    });
                }
            };
            let Some(again) = again else {
                return Err(error);
            };
            failure = Some(error);
            request = again;
            // What `address` did for one connection does not hold for the next.
            *request.uri_mut() = uri.clone();
            if let Some(host) = &host {
                request.headers_mut().insert(HOST, host.clone());
            }
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SendError> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(self.settings.connect_timeout, waiting).await {
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
        let again = self.resolve_again().await;
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

    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        mut request: Request<EdgeBody>,
        options: &SendOptions,
        afresh: bool,
    ) -> Attempt {
        // However this ends, also by the client's going away: a half-open breaker's probe does
        // not stay taken.
        let _probe = Probe(endpoint);
        let idle = if afresh {
            None
        } else {
            self.idle_sender(endpoint, options.shard).await
        };
        let reused = idle.is_some();
        let sender = match idle {
            Some(sender) => sender,
            None => match self.open(endpoint, options, afresh).await {
                Ok(sender) => sender,
                Err(error) => return Attempt::Unreachable(request, error),
            },
        };
        if let Err(error) = self.address(endpoint, &sender, &mut request, options.keep_host) {
            return Attempt::ClientFailed(error);
        }
        match exchange(sender, request, options).await {
            Exchange::Answered(response, sender) => Attempt::Answered(response, sender),
            Exchange::Unsent(back, error) if reused => {
                Attempt::Unsent(back, failed(Refusal::UpstreamFailed, error))
            }
            Exchange::Unsent(back, error) => {
                endpoint.breaker.failed(&self.breaker);
                Attempt::Unreachable(back, failed(Refusal::UpstreamFailed, error))
            }
            Exchange::Failed(error) if let Some(fault) = options.client_fault() => {
                Attempt::ClientFailed(failed(fault, error))
            }
            Exchange::Failed(error) if is_refused_stream(&error) => {
                Attempt::Refused(failed(Refusal::UpstreamFailed, error))
            }
            // An idle connection that the upstream closed just now says nothing of its health.
            Exchange::Failed(error) if reused => {
                Attempt::Stale(failed(Refusal::UpstreamFailed, error))
            }
            // The address took the connection, so it is there. That one request made it drop it,
            // or was too slow, must not close the service to everyone else: whoever finds such a
            // request could keep the breaker open.
            Exchange::Failed(error) => {
                endpoint.breaker.succeeded();
                Attempt::Failed(failed(Refusal::UpstreamFailed, error))
            }
            Exchange::TimedOut => {
                endpoint.breaker.succeeded();
                Attempt::TimedOut
            }
        }
    }

    /// A connection from the pool that can take a request now.
    async fn idle_sender(&self, endpoint: &Endpoint, shard: usize) -> Option<Sender> {
        loop {
            let mut sender = endpoint.take_idle(shard, self.settings.keepalive)?;
            let Sender::Http1(http1) = &mut sender else {
                return Some(sender);
            };
            // Given back at its answer's last byte, its driver may need one more turn to be ready.
            if http1.is_ready() {
                return Some(sender);
            }
            let ready = tokio::time::timeout(Duration::from_millis(20), http1.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(sender);
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
                false => self.idle_sender(endpoint, options.shard).await,
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
        // Boxed: a request on a connection that is open already needs no room for a handshake.
        let opening = connection::connect(endpoint.address, origin, tls, options.upgrade, timeout);
        match Box::pin(opening).await {
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

    /// Puts scheme, host and base path where the connection's protocol wants them.
    fn address(
        &self,
        endpoint: &Endpoint,
        sender: &Sender,
        request: &mut Request<EdgeBody>,
        keep_host: bool,
    ) -> Result<(), SendError> {
        let origin = &self.origins[endpoint.origin];
        // HTTP/1.0 clients may have sent none to keep.
        if !keep_host || !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, origin.authority.clone());
        }
        let invalid =
            |error: http::Error| failed(Refusal::BadRequest("the path cannot be sent"), error);
        let plain = origin.base_path.is_empty();
        let is_http2 = matches!(sender, Sender::Http2(_));
        *request.version_mut() = if is_http2 {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        };
        if plain && !is_http2 {
            return Ok(());
        }
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        let path = format!("{}{path}", origin.base_path);
        let mut uri = Uri::builder().path_and_query(path);
        if is_http2 {
            let host = request
                .headers_mut()
                .remove(HOST)
                .unwrap_or_else(|| origin.authority.clone());
            let scheme = if origin.protocol == connection::Protocol::Https {
                "https"
            } else {
                "http"
            };
            uri = uri.scheme(scheme).authority(host.as_bytes());
        }
        *request.uri_mut() = uri.build().map_err(invalid)?;
        Ok(())
    }
}

enum Exchange {
    Answered(Response<Incoming>, Option<Sender>),
    Unsent(Request<EdgeBody>, hyper::Error),
    Failed(hyper::Error),
    TimedOut,
}

async fn exchange(sender: Sender, request: Request<EdgeBody>, options: &SendOptions) -> Exchange {
    match sender {
        Sender::Http1(mut sender) => {
            let sending = sender.try_send_request(request);
            match timed(sending, options).await {
                None => Exchange::TimedOut,
                Some(Ok(response)) => Exchange::Answered(response, Some(Sender::Http1(sender))),
                Some(Err(mut error)) => match error.take_message() {
                    Some(back) => Exchange::Unsent(back, error.into_error()),
                    None => Exchange::Failed(error.into_error()),
                },
            }
        }
        Sender::Http2(mut sender) => {
            let sending = sender.try_send_request(request);
            match timed(sending, options).await {
                None => Exchange::TimedOut,
                Some(Ok(response)) => Exchange::Answered(response, None),
                Some(Err(mut error)) => match error.take_message() {
                    Some(back) => Exchange::Unsent(back, error.into_error()),
                    None => Exchange::Failed(error.into_error()),
                },
            }
        }
    }
}

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
fn is_idempotent(method: &Method) -> bool {
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
