//! The bodies that flow through the data plane: streamed with back-pressure, never held whole.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bunbun_core::task;
use bunbun_http::{
    Body, BoxError,
    body::{BodyTooLarge, Fault},
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::{
    refusal::Refusal,
    upstream::{Lease, http1::AnswerBody},
};

/// Longest wait for the end of a stream whose bytes are all there.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A body, without an allocation where it is empty or there already.
#[derive(Default)]
pub enum EdgeBody {
    /// No body.
    #[default]
    Empty,
    /// All of it.
    Full(Option<Bytes>),
    /// From a socket.
    Socket(Box<SocketBody>),
    /// From a service in this process.
    Boxed(Body),
}

impl EdgeBody {
    /// A copy, where the body can be sent again.
    pub fn replay(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Socket(_) | Self::Boxed(_) => None,
        }
    }

    /// As the body of the process's own services.
    pub fn into_boxed(self) -> Body {
        match self {
            Self::Boxed(body) => body,
            other => Body::new(other),
        }
    }
}

impl HttpBody for EdgeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Socket(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Socket(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Socket(body) => body.source.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

/// The body stopped coming.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no data for {0:?}")]
pub struct Stalled(pub Duration);

/// How a request's body fares, for whoever waits for what comes after it.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    last_ms: AtomicU64,
    waiting: AtomicBool,
    fault: OnceLock<Refusal>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            fault: OnceLock::new(),
        }
    }
}

impl Progress {
    fn note(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Whether the next part of the body has yet to come from the client.
    pub fn waits_for_client(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Why the client's side of the body failed.
    pub fn fault(&self) -> Option<Refusal> {
        self.fault.get().cloned()
    }

    /// The moment of the last movement.
    pub fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

/// Where a body comes from.
enum Source {
    /// From hyper: a client, or an upstream that speaks HTTP/2.
    Hyper(Incoming),
    /// From an upstream that speaks HTTP/1.
    Http1(Box<AnswerBody>),
    /// From nowhere any more.
    Ended,
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Hyper(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Http1(body) => body.poll_frame(cx).map_err(Into::into),
            Self::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(incoming) => incoming.is_end_stream(),
            Self::Http1(body) => body.is_end_stream(),
            Self::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(incoming) => incoming.size_hint(),
            Self::Http1(body) => body.size_hint(),
            Self::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Waits for the answer to a request, as long as it may take. The clock runs from the last movement
/// of the request's body: a long upload is not a slow answer.
pub(crate) async fn answered<F: Future>(
    answering: F,
    first_byte_timeout: Duration,
    progress: Option<&Progress>,
) -> Option<F::Output> {
    let Some(progress) = progress else {
        return tokio::time::timeout(first_byte_timeout, answering)
            .await
            .ok();
    };
    let mut answering = std::pin::pin!(answering);
    let mut since = Instant::now();
    loop {
        let deadline = since + first_byte_timeout;
        let wait = tokio::time::timeout_at(deadline.into(), &mut answering).await;
        if let Ok(output) = wait {
            return Some(output);
        }
        // While the client is the one who is waited for, its own timeout holds.
        since = if progress.waits_for_client() {
            Instant::now()
        } else {
            since.max(progress.last())
        };
        if since + first_byte_timeout <= Instant::now() {
            return None;
        }
    }
}

/// A body from a service in this process, on its way to another: reports when it moves.
pub(crate) struct Watched {
    pub(crate) body: Body,
    pub(crate) progress: Arc<Progress>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.progress.waiting.store(true, Ordering::Relaxed);
            return Poll::Pending;
        };
        self.progress.note();
        if let Some(Err(error)) = &frame {
            let fault = match Fault::of(error) {
                Fault::TooLarge(_) => Refusal::BodyTooLarge,
                Fault::BrokeOff => Refusal::BadRequest("the body broke off"),
            };
            let _ = self.progress.fault.set(fault);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body from a socket, with a limit on its silence and size.
pub struct SocketBody {
    source: Source,
    idle_timeout: Duration,
    /// Armed only while the body is silent.
    timer: Option<Pin<Box<Sleep>>>,
    limit: u64,
    seen: u64,
    without_trailers: bool,
    progress: Option<Arc<Progress>>,
    /// Given back at the body's end.
    lease: Option<Lease>,
}

impl SocketBody {
    /// Limits a body's silence.
    pub fn new(incoming: Incoming, idle_timeout: Duration) -> Self {
        Self::of(Source::Hyper(incoming), idle_timeout)
    }

    /// The same for the answer of an HTTP/1 upstream.
    pub(crate) fn of_answer(body: AnswerBody, idle_timeout: Duration) -> Self {
        Self::of(Source::Http1(Box::new(body)), idle_timeout)
    }

    fn of(source: Source, idle_timeout: Duration) -> Self {
        Self {
            source,
            idle_timeout,
            timer: None,
            limit: u64::MAX,
            seen: 0,
            without_trailers: false,
            progress: None,
            lease: None,
        }
    }

    /// Limits its size in bytes.
    #[must_use]
    pub fn with_limit(mut self, limit: Option<u64>) -> Self {
        self.limit = limit.unwrap_or(u64::MAX);
        self
    }

    /// Drops its trailers: a client's could claim what its headers may not, and servers exist that
    /// read both as one.
    #[must_use]
    pub fn without_trailers(mut self) -> Self {
        self.without_trailers = true;
        self
    }

    /// Reports when it moves.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Gives the upstream's connection back when the body has ended well.
    #[must_use]
    pub(crate) fn with_lease(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back(match &mut self.source {
                Source::Hyper(_) | Source::Ended => None,
                Source::Http1(body) => body.take_connection(),
            });
        }
    }

    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<Stalled> {
        let timeout = self.idle_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx).map(|()| Stalled(timeout))
    }

    fn broke<T>(
        &self,
        refusal: Refusal,
        error: impl Into<BoxError>,
    ) -> Poll<Option<Result<T, BoxError>>> {
        if let Some(progress) = &self.progress {
            let _ = progress.fault.set(refusal);
        }
        Poll::Ready(Some(Err(error.into())))
    }
}

/// An HTTP/2 upstream may end its stream in a frame of its own, after the last byte. Whoever is
/// content with the bytes drops the body before: the stream would be reset, and an upstream ends
/// connections on which that happens often.
impl Drop for SocketBody {
    fn drop(&mut self) {
        let Source::Hyper(incoming) = &mut self.source else {
            return;
        };
        let is_whole = incoming.size_hint().exact() == Some(0) && !incoming.is_end_stream();
        if let Some(lease) = self.lease.take().filter(|_| is_whole)
            && let Source::Hyper(mut incoming) = std::mem::replace(&mut self.source, Source::Ended)
        {
            task::spawn_quiet(async move {
                let _lease = lease;
                let end = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
                let _ = tokio::time::timeout(END_TIMEOUT, end).await;
            });
        }
    }
}

impl HttpBody for SocketBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = self.source.poll_frame(cx) else {
            if let Some(progress) = &self.progress {
                progress.waiting.store(true, Ordering::Relaxed);
            }
            let stalled = ready!(self.stalled(cx));
            return self.broke(Refusal::BodyTimeout, stalled);
        };
        self.timer = None;
        let frame = match frame {
            None => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                return self.broke(Refusal::BadRequest("the body broke off"), error);
            }
            Some(Ok(frame)) if self.without_trailers && frame.is_trailers() => {
                self.end();
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => frame,
        };
        self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.seen > self.limit {
            return self.broke(Refusal::BodyTooLarge, BodyTooLarge { limit: self.limit });
        }
        if let Some(progress) = &self.progress {
            progress.note();
        }
        if self.source.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
