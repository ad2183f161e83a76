//! Writes a request: head and body leave in as few writes as there can be, and no more of the body
//! is taken than the upstream has taken before.

use std::{
    io::{IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, HOST},
};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::Error;
use crate::body::EdgeBody;

/// What a request's head is made of.
pub(crate) struct RequestHead<'r> {
    pub(crate) method: &'r Method,
    /// Put before the path.
    pub(crate) base_path: &'r str,
    /// Path and query.
    pub(crate) target: &'r str,
    pub(crate) host: &'r HeaderValue,
    /// All other headers; `Host` and `Content-Length` among them do not count.
    pub(crate) headers: &'r HeaderMap,
    /// Whether 101 is an answer to it.
    pub(crate) upgrade: bool,
}

/// How the body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// All of it is loaded.
    Done,
}

/// A request on its way.
pub(crate) struct Sending {
    /// The head, and the sizes of chunks.
    out: Vec<u8>,
    at: usize,
    /// What of the body comes after `out`, and what after that.
    data: Bytes,
    tail: &'static [u8],
    body: EdgeBody,
    framing: Framing,
    sent: bool,
    done: bool,
}

impl Sending {
    pub(crate) fn new(head: &RequestHead<'_>, body: EdgeBody) -> Self {
        let (framing, length) = match &body {
            EdgeBody::Empty => {
                let expected = matches!(*head.method, Method::POST | Method::PUT | Method::PATCH);
                (Framing::Done, expected.then_some(0))
            }
            body => match body.size_hint().exact() {
                Some(length) => (Framing::Length(length), Some(length)),
                None => (Framing::Chunked, None),
            },
        };
        Self {
            out: encode(head, framing, length),
            at: 0,
            data: Bytes::new(),
            tail: b"",
            body,
            framing,
            sent: false,
            done: false,
        }
    }

    /// Whether all is sent.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether nothing is.
    pub(crate) const fn is_unsent(&self) -> bool {
        !self.sent
    }

    /// Sends what can be sent now; ready when all is.
    pub(crate) fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        while !self.done {
            // The first part of the body leaves with the head, where it is there already.
            let waits = self.data.is_empty()
                && self.tail.is_empty()
                && self.framing != Framing::Done
                && self.poll_load(cx)?.is_pending();
            if self.has_output() {
                ready!(self.poll_write(io, cx))?;
                continue;
            }
            if waits || self.framing == Framing::Done {
                ready!(Pin::new(&mut *io).poll_flush(cx))?;
            }
            if waits {
                return Poll::Pending;
            }
            self.done = self.framing == Framing::Done;
        }
        Poll::Ready(Ok(()))
    }

    fn has_output(&self) -> bool {
        self.at < self.out.len() || !self.data.is_empty() || !self.tail.is_empty()
    }

    /// Takes the next part of the body.
    fn poll_load(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let data = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => data,
                // Trailers stay here: the edge has dropped a client's already.
                _ => return Poll::Ready(Ok(())),
            },
            Some(Err(error)) => return Poll::Ready(Err(Error::Body(error))),
            None => {
                match self.framing {
                    Framing::Length(1..) => {
                        let short = "the body is shorter than its length";
                        return Poll::Ready(Err(Error::Body(short.into())));
                    }
                    Framing::Chunked => self.tail = b"0\r\n\r\n",
                    _ => {}
                }
                self.finish_body();
                return Poll::Ready(Ok(()));
            }
        };
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(0) => self.finish_body(),
                Some(after) => *left = after,
                None => {
                    let long = "the body is longer than its length";
                    return Poll::Ready(Err(Error::Body(long.into())));
                }
            },
            Framing::Chunked => {
                if self.at == self.out.len() {
                    self.out.clear();
                    self.at = 0;
                }
                let _ = write!(self.out, "{:x}\r\n", data.len());
                self.tail = b"\r\n";
            }
            Framing::Done => {}
        }
        self.data = data;
        Poll::Ready(Ok(()))
    }

    /// The body is not needed any more; what it holds is free for the next request.
    fn finish_body(&mut self) {
        self.framing = Framing::Done;
        self.body = EdgeBody::Empty;
    }

    fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let out = &self.out[self.at..];
        let written = if self.data.is_empty() && self.tail.is_empty() {
            Pin::new(io).poll_write(cx, out)
        } else {
            let slices = [
                IoSlice::new(out),
                IoSlice::new(&self.data),
                IoSlice::new(self.tail),
            ];
            Pin::new(io).poll_write_vectored(cx, &slices)
        };
        let mut count = ready!(written)?;
        if count == 0 {
            return Poll::Ready(Err(Error::Closed));
        }
        self.sent = true;
        let of_out = count.min(self.out.len() - self.at);
        self.at += of_out;
        count -= of_out;
        let of_data = count.min(self.data.len());
        self.data.advance(of_data);
        count -= of_data;
        self.tail = &self.tail[count.min(self.tail.len())..];
        Poll::Ready(Ok(()))
    }
}

/// The head's bytes.
fn encode(head: &RequestHead<'_>, framing: Framing, length: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for part in [head.method.as_str(), " ", head.base_path, head.target] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.host.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.headers {
        if *name == HOST || *name == CONTENT_LENGTH {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if let Some(length) = length {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
    } else if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
