//! HTTP/1.1 towards upstreams (RFC 9112), without a task of its own: whoever waits for the answer
//! drives the connection, so that a request costs no wake-up and no channel.
//!
//! [`request`] writes, [`answer`] reads. A connection carries one request at a time and goes back
//! to the pool when the answer's last byte has passed and nothing is left over on it.

mod answer;
mod request;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bunbun_core::task;
use bunbun_http::BoxError;
use bytes::BytesMut;
use http::Response;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

pub(crate) use answer::{Answer, AnswerBody};
pub(crate) use request::{RequestHead, Sending};

/// Why a connection gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The connection failed.
    #[error("the connection broke off")]
    Io(#[from] io::Error),
    /// The upstream closed it before the answer was complete.
    #[error("the upstream closed the connection")]
    Closed,
    /// What it sent is not HTTP/1.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    /// The request's own body failed.
    #[error("the request's body broke off")]
    Body(#[source] BoxError),
}

/// A failure of an exchange, and whether the request can be sent again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// The upstream provably got nothing of the request.
    pub(crate) unsent: bool,
    /// Bytes of an answer came: an idle connection that was closed meanwhile is not the reason.
    pub(crate) answered: bool,
}

/// An open connection to an upstream.
pub(crate) struct Connection {
    io: Io,
    /// What has arrived and is not used yet. Holds no memory while the connection is idle.
    read: BytesMut,
    /// How much the next read of a body asks for.
    read_size: usize,
}

impl Connection {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            read_size: answer::FIRST_READ,
        }
    }

    /// Whether an idle connection is of no use any more: the upstream has closed it, or has sent
    /// what nobody asked for. Asks the kernel only when the runtime has news of it.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = [0_u8; 1];
        let mut probe = ReadBuf::new(&mut space);
        // TLS may have tickets to read, which are no news.
        Pin::new(&mut self.io)
            .poll_read(&mut cx, &mut probe)
            .is_ready()
    }

    /// The same, asked of the kernel: the runtime may not have heard of it yet. Worth a system call
    /// where the request cannot be sent a second time.
    pub(crate) fn is_closed_now(&self) -> bool {
        let stream = match &self.io {
            Io::Tcp(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
            Io::Receiving(..) => return true,
        };
        let mut space = [MaybeUninit::uninit(); 1];
        let peeked = SockRef::from(stream).peek(&mut space);
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Failure`]; the connection is closed then.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        head: &RequestHead<'_>,
        body: crate::body::EdgeBody,
    ) -> Result<Response<Answer>, Failure> {
        let mut sending = Sending::new(head, body);
        let mut fault = None;
        let answered = poll_fn(|cx| self.poll_answer(cx, head, &mut sending, &mut fault)).await;
        let (parts, mut framing) = answered.map_err(|error| Failure {
            unsent: sending.is_unsent() && !matches!(error, Error::Body(_)),
            answered: !self.read.is_empty() || matches!(error, Error::Malformed(_)),
            error,
        })?;
        let connection = if fault.is_some() {
            framing.keep_alive = false;
            self
        } else if sending.is_done() {
            self
        } else {
            Box::new(self.finish_sending(sending))
        };
        Ok(Response::from_parts(
            parts,
            Answer::new(connection, framing),
        ))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        head: &RequestHead<'_>,
        sending: &mut Sending,
        fault: &mut Option<io::Error>,
    ) -> Poll<Result<(http::response::Parts, answer::Framing), Error>> {
        if fault.is_none() {
            match sending.poll(&mut self.io, cx) {
                // An upstream that refuses early closes its receiving side: its answer counts, and
                // it may still be on its way to us. Without one the end of the stream is.
                Poll::Ready(Err(Error::Io(error))) => *fault = Some(error),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        let answered = ready!(self.poll_head(cx, head));
        Poll::Ready(answered.map_err(|error| fault.take().map_or(error, Error::Io)))
    }

    /// The answer began before the request had ended: the rest is sent beside it. Such a
    /// connection is not used again.
    fn finish_sending(self, mut sending: Sending) -> Self {
        let (reader, mut writer) = tokio::io::split(self.io);
        let sender = task::spawn_quiet(async move {
            let sent = poll_fn(|cx| sending.poll(&mut writer, cx)).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "the rest of a request was not taken");
            }
        });
        Self {
            io: Io::Receiving(reader, AbortOnDrop(sender)),
            read: self.read,
            read_size: self.read_size,
        }
    }

    /// Reads more. `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<bool>> {
        self.read.reserve(most);
        let read = tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read);
        let count = ready!(read)?;
        Poll::Ready(Ok(count > 0))
    }
}

/// The bytes of an upgraded connection.
impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a connection consists of.
pub(crate) enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// The receiving half; the other is busy with the rest of a request.
    Receiving(
        tokio::io::ReadHalf<Self>,
        #[expect(dead_code, reason = "held, not read")] AbortOnDrop,
    ),
}

/// Ends a task that nobody needs any more.
pub(crate) struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls a method of whichever stream it is; the receiving half cannot be written to.
macro_rules! of_stream {
    ($io:expr, $stream:ident => $call:expr, $receiving:expr) => {
        match $io {
            Io::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Io::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Io::Receiving(..) => $receiving,
        }
    };
}

fn one_way<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Receiving(half, _) => Pin::new(half).poll_read(cx, buf),
            both => of_stream!(both, stream => stream.poll_read(cx, buf), one_way()),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        of_stream!(&mut *self, stream => stream.poll_write(cx, buf), one_way())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_stream!(&mut *self, stream => stream.poll_write_vectored(cx, bufs), one_way())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(&mut *self, stream => stream.poll_flush(cx), Poll::Ready(Ok(())))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_stream!(&mut *self, stream => stream.poll_shutdown(cx), Poll::Ready(Ok(())))
    }
}
