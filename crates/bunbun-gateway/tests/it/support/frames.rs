//! A client of HTTP/2 that sends any frame, and so can break rules.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

/// A frame (RFC 9113 §4).
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A client that sends any frame.
pub(crate) struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects and sends preface and empty settings.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut this = Self { stream };
        this.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        this.send(SETTINGS, 0, 0, b"");
        this
    }

    fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame; false when the peer has closed.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len())
            .expect("a small payload")
            .to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.raw(&frame)
    }

    /// Sends a request's head without a body.
    pub(crate) fn request(&mut self, stream: u32, headers: &[(&str, &[u8])]) -> bool {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(headers))
    }

    /// The next frame; `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    /// Frames until one fits; the last one is `None` where the connection ended first.
    #[track_caller]
    pub(crate) fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if fits(&frame) {
                return Some(frame);
            }
        }
    }

    /// How the peer ended a stream: its answer's status where it is 200 or 400, or a reset.
    #[track_caller]
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let ours = |frame: &Frame| {
            frame.kind == GOAWAY
                || (frame.stream == stream && matches!(frame.kind, HEADERS | RST_STREAM))
        };
        match self.until(ours) {
            None => Outcome::Closed,
            Some(Frame { kind: GOAWAY, .. }) => Outcome::Closed,
            Some(Frame {
                kind: RST_STREAM, ..
            }) => Outcome::Reset,
            // HPACK's static table has some statuses by index.
            Some(frame) => match frame.payload.first() {
                Some(0x88) => Outcome::Answered(200),
                Some(0x8c) => Outcome::Answered(400),
                Some(0x8d) => Outcome::Answered(404),
                _ => Outcome::Answered(0),
            },
        }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A status; 0 for those that have no index of their own.
    Answered(u16),
    Reset,
    Closed,
}

/// A block of literals that are not indexed (RFC 7541 §6.2.2).
pub(crate) fn block(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    }
    block
}

pub(crate) fn string(block: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).expect("a byte"));
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).expect("a byte") | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).expect("a byte"));
    }
    block.extend_from_slice(text);
}
