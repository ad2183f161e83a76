//! A socket whose incoming bytes pass the head check before hyper sees them.
//!
//! A refused head is replaced by a harmless one, and the connection's [`Wire`] tells the edge to
//! answer that request with the fault: so a refusal has a body, a request id and a log line like
//! every other answer. Nothing after a refused head is read.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::head::{HeadFault, HeadScanner, Next};

/// What hyper gets in place of a refused head.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How long a client that was refused may go on sending until it looks at its answer.
const LINGER: Duration = Duration::from_secs(2);

const HTTP: u8 = 0;
const UPGRADE_PENDING: u8 = 1;
const UPGRADE_DONE: u8 = 2;
const UPGRADE_DECLINED: u8 = 3;

/// What the socket and the edge tell each other about one connection.
#[derive(Debug, Default)]
pub struct Wire {
    heads: AtomicU64,
    served: AtomicU64,
    fault: AtomicU8,
    upgrade: AtomicU8,
    waiting: Mutex<Option<Waker>>,
    /// Set at each read; the keep-alive sweep clears it.
    active: AtomicBool,
}

impl Wire {
    /// Called once per request, in order: the fault, if this request is a refused one.
    pub fn next_request(&self) -> Option<HeadFault> {
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = HeadFault::from_number(self.fault.load(Ordering::Relaxed))?;
        (served > self.heads.load(Ordering::Relaxed)).then_some(fault)
    }

    /// The answer to an upgrade request is known: 101 or not.
    pub fn decide_upgrade(&self, upgraded: bool) {
        let decision = if upgraded {
            UPGRADE_DONE
        } else {
            UPGRADE_DECLINED
        };
        let pending = self.upgrade.compare_exchange(
            UPGRADE_PENDING,
            decision,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if pending.is_ok()
            && let Some(waker) = self.waiting.lock().take()
        {
            waker.wake();
        }
    }

    /// Whether bytes arrived since the last call.
    pub fn take_activity(&self) -> bool {
        self.active.swap(false, Ordering::Relaxed)
    }
}

/// A socket behind the head check.
pub struct CheckedIo<IO> {
    io: IO,
    wire: Arc<Wire>,
    scanner: HeadScanner,
    mode: Mode,
    /// Bytes that are held back; the first `ready` of them may pass.
    held: Vec<u8>,
    ready: usize,
    /// Longest time between a head's first and last byte.
    head_timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Longest time in which the peer takes nothing of what is written.
    write_timeout: Option<Duration>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the end of our own bytes is sent.
    shut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    AwaitUpgrade,
    /// After 101: bytes pass as they are.
    Opaque,
    /// After a refused head: nothing passes any more.
    Closed,
}

impl<IO> CheckedIo<IO> {
    /// Checks what arrives on a socket.
    pub fn new(io: IO, wire: Arc<Wire>, head_timeout: Duration) -> Self {
        Self {
            io,
            wire,
            scanner: HeadScanner::default(),
            mode: Mode::Http,
            held: Vec::new(),
            ready: 0,
            head_timeout,
            deadline: None,
            write_timeout: None,
            write_deadline: None,
            shut: false,
        }
    }

    /// Ends the connection when the peer takes nothing for so long, before an upgrade.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = Some(timeout);
        self
    }

    /// Passes on what a write said, unless it has waited for too long.
    fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let Some(timeout) = self.write_timeout.filter(|_| self.mode != Mode::Opaque) else {
            return Poll::Pending;
        };
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        )))
    }

    /// The socket itself.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    fn refuse(&mut self, fault: HeadFault) {
        self.wire
            .heads
            .store(self.scanner.heads(), Ordering::Relaxed);
        self.wire.fault.store(fault as u8, Ordering::Relaxed);
        self.mode = Mode::Closed;
        self.deadline = None;
        self.held.truncate(self.ready);
        if !self.scanner.is_in_body() {
            self.held.extend_from_slice(SUBSTITUTE);
        }
        self.ready = self.held.len();
    }

    /// Takes up what the scanner said after `pass` bytes.
    fn follow(&mut self, next: Next) {
        match next {
            Next::More => self.deadline = None,
            Next::PartialHead => {
                if self.deadline.is_none() {
                    self.deadline = Some(Box::pin(tokio::time::sleep(self.head_timeout)));
                }
            }
            Next::Upgrade => {
                self.deadline = None;
                self.wire.upgrade.store(UPGRADE_PENDING, Ordering::Release);
                self.mode = Mode::AwaitUpgrade;
            }
            Next::Refused(fault) => self.refuse(fault),
        }
    }

    /// Looks at the held bytes again, from the beginning of the partial head.
    fn scan_held(&mut self) {
        let advance = self.scanner.advance(&self.held);
        self.ready = advance.pass;
        self.follow(advance.next);
    }

    /// Moves held bytes that may pass to the reader.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.ready -= count;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }
}

impl<IO: AsyncRead + Unpin> CheckedIo<IO> {
    /// The usual case: nothing is held back, and all that arrives may pass as it lies.
    fn poll_fresh(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Read>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let bytes = &buf.filled()[start..];
        if bytes.is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        self.wire.active.store(true, Ordering::Relaxed);
        let advance = self.scanner.advance(bytes);
        self.held.extend_from_slice(&bytes[advance.pass..]);
        buf.set_filled(start + advance.pass);
        self.follow(advance.next);
        Poll::Ready(Ok(if advance.pass > 0 {
            Read::Delivered
        } else {
            Read::Held
        }))
    }

    /// More of a head whose beginning is held back.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Read>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.refuse(HeadFault::TooSlow);
            return Poll::Ready(Ok(Read::Held));
        }
        let mut space = [0_u8; 4096];
        let mut more = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut more))?;
        if more.filled().is_empty() {
            return Poll::Ready(Ok(Read::End));
        }
        self.wire.active.store(true, Ordering::Relaxed);
        self.held.extend_from_slice(more.filled());
        self.scan_held();
        Poll::Ready(Ok(Read::Held))
    }

    /// Whether the upgrade was decided; while it is not, the client's bytes stay in the kernel.
    fn poll_upgrade(&mut self, cx: &Context<'_>) -> Poll<()> {
        *self.wire.waiting.lock() = Some(cx.waker().clone());
        match self.wire.upgrade.load(Ordering::Acquire) {
            UPGRADE_DONE => {
                self.mode = Mode::Opaque;
                self.ready = self.held.len();
            }
            UPGRADE_DECLINED => {
                self.wire.upgrade.store(HTTP, Ordering::Release);
                self.mode = Mode::Http;
                self.scan_held();
            }
            _ => return Poll::Pending,
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> CheckedIo<IO> {
    /// Takes for a moment what a client sends after a request that was refused half-way. A socket
    /// that is closed with unread bytes is reset, and the reset can overtake the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mode != Mode::Closed && !(self.mode == Mode::Http && self.scanner.is_in_body()) {
            return Poll::Ready(());
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0_u8; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// What one read brought.
enum Read {
    /// Bytes for the reader.
    Delivered,
    /// Bytes that are held back for now.
    Held,
    /// The end of the stream.
    End,
}

impl<IO: AsyncRead + Unpin> AsyncRead for CheckedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.ready > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            let read = match this.mode {
                // A body that is malformed ends early. After a refused head, an end would make hyper
                // give up the answer to it.
                Mode::Closed if this.scanner.is_in_body() => return Poll::Ready(Ok(())),
                Mode::Closed => return Poll::Pending,
                Mode::Opaque => {
                    this.wire.active.store(true, Ordering::Relaxed);
                    return Pin::new(&mut this.io).poll_read(cx, buf);
                }
                Mode::AwaitUpgrade => {
                    ready!(this.poll_upgrade(cx));
                    Read::Held
                }
                Mode::Http if this.held.is_empty() => ready!(this.poll_fresh(cx, buf))?,
                Mode::Http => ready!(this.poll_head(cx))?,
            };
            match read {
                Read::Held => {}
                Read::Delivered | Read::End => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CheckedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.bound(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.shut = true;
        }
        this.poll_linger(cx).map(Ok)
    }
}
