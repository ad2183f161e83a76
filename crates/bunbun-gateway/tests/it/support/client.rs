//! A client of raw bytes: it sends what it is told and reads answers strictly.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::PATIENCE;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were read and belong to nothing yet.
    buffered: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's first value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }

    /// The id under which the gateway remembers the request.
    #[track_caller]
    pub(crate) fn request_id(&self) -> &str {
        self.header("x-request-id")
            .expect("every answer has a request id")
    }
}

impl Client {
    /// Connects.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self {
            stream,
            buffered: Vec::new(),
        }
    }

    /// The socket.
    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes. A peer that has closed already is no failure: its answer tells.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes to a peer that must take them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes the sending half.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Reads once; false at the end of the stream.
    #[track_caller]
    fn read_more(&mut self) -> bool {
        let mut space = [0_u8; 16 * 1024];
        match self.stream.read(&mut space) {
            Ok(0) => false,
            Ok(count) => {
                self.buffered.extend_from_slice(&space[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing more came after {:?}",
                    String::from_utf8_lossy(&self.buffered)
                )
            }
            // A reset is an end, too.
            Err(_) => false,
        }
    }

    /// The next answer to a request that is no `HEAD`, with its body; 1xx answers but 101 are
    /// answers of their own.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer to a request of this method.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        loop {
            if let Some((answer, used)) = parse(&self.buffered, method, false) {
                self.buffered.drain(..used);
                return answer;
            }
            if !self.read_more() {
                let whole = parse(&self.buffered, method, true);
                let Some((answer, used)) = whole else {
                    panic!(
                        "no answer but {:?}",
                        String::from_utf8_lossy(&self.buffered)
                    );
                };
                self.buffered.drain(..used);
                return answer;
            }
        }
    }

    /// So many bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffered.len() < count {
            assert!(
                self.read_more(),
                "ended after {:?}",
                String::from_utf8_lossy(&self.buffered)
            );
        }
        self.buffered.drain(..count).collect()
    }

    /// Everything up to the end of the stream.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.buffered)
    }
}

/// All answers in the bytes of a connection that was closed; none of them to `HEAD`.
#[track_caller]
pub(crate) fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let Some((answer, used)) = parse(bytes, "GET", true) else {
            panic!("no answer: {:?}", String::from_utf8_lossy(bytes));
        };
        all.push(answer);
        bytes = &bytes[used..];
    }
    all
}

/// The answer at the beginning and its length; `None` where it is not complete.
#[track_caller]
fn parse(bytes: &[u8], method: &str, ended: bool) -> Option<(Answer, usize)> {
    let mut space = [httparse::EMPTY_HEADER; 200];
    let mut head = httparse::Response::new(&mut space);
    let httparse::Status::Complete(start) = head.parse(bytes).expect("an answer's head") else {
        return None;
    };
    let mut answer = Answer {
        status: head.code.expect("a status"),
        headers: head
            .headers
            .iter()
            .map(|h| {
                (
                    h.name.to_owned(),
                    String::from_utf8_lossy(h.value).into_owned(),
                )
            })
            .collect(),
        body: Vec::new(),
    };
    let rest = &bytes[start..];
    if method == "HEAD" || answer.status < 200 || matches!(answer.status, 204 | 304) {
        return Some((answer, start));
    }
    if answer
        .header("transfer-encoding")
        .is_some_and(|value| value.contains("chunked"))
    {
        let (body, used) = chunked(rest)?;
        answer.body = body;
        return Some((answer, start + used));
    }
    if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().expect("a length");
        answer.body = rest.get(..length)?.to_vec();
        return Some((answer, start + length));
    }
    answer.body = rest.to_vec();
    ended.then_some((answer, bytes.len()))
}

/// A chunked body and the length of its encoding, trailers included.
pub(super) fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let end = bytes.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((&bytes[at..at + end], at + end + 2))
    };
    loop {
        let (size, after) = line(at)?;
        let size = size.split(|b| *b == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).expect("a chunk's size");
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        at = after;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
    }
    loop {
        let (trailer, after) = line(at)?;
        at = after;
        if trailer.is_empty() {
            return Some((body, at));
        }
    }
}
