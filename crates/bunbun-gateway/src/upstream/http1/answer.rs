//! Reads an answer: its head, and its body by whichever framing it has (RFC 9112 §6.3).

use std::{
    mem::MaybeUninit,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};
use http_body::{Frame, SizeHint};

use super::{Connection, Error, RequestHead};
use crate::chunked::Chunk;

/// The first read has room for most answers whole.
pub(super) const FIRST_READ: usize = 4 * 1024;
/// Large bodies are read in parts that grow up to this.
const LARGEST_READ: usize = 256 * 1024;
const MAX_HEAD_BYTES: usize = 256 * 1024;
const MAX_HEADERS: usize = 256;
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// How a body ends, and whether the connection can be used again afterwards.
#[derive(Debug)]
pub(crate) struct Framing {
    body: BodyFraming,
    pub(super) keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunk),
    /// With the connection.
    Close,
    /// The connection belongs to another protocol now.
    Upgraded,
    /// It has ended.
    Ended,
}

impl Connection {
    /// Waits for the head of the final answer; informational ones are passed over.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &RequestHead<'_>,
    ) -> Poll<Result<(Parts, Framing), Error>> {
        loop {
            if !self.read.is_empty()
                && let Some((parts, framing)) = self.parse_head(request)?
            {
                if parts.status.is_informational()
                    && parts.status != StatusCode::SWITCHING_PROTOCOLS
                {
                    continue;
                }
                return Poll::Ready(Ok((parts, framing)));
            }
            if self.read.len() > MAX_HEAD_BYTES {
                return Poll::Ready(Err(Error::Malformed("its head is too large")));
            }
            if !ready!(self.poll_fill(cx, FIRST_READ))? {
                return Poll::Ready(Err(Error::Closed));
            }
        }
    }

    /// The head at the beginning of what was read, once it is complete.
    fn parse_head(&mut self, request: &RequestHead<'_>) -> Result<Option<(Parts, Framing)>, Error> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        let status = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, &self.read, &mut space)
            .map_err(|_| Error::Malformed("its head is not HTTP/1"))?;
        let httparse::Status::Complete(length) = status else {
            return Ok(None);
        };
        let is_http_1_0 = parsed.version == Some(0);
        let status = parsed
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or(Error::Malformed("its status is none"))?;
        let places: Vec<_> = parsed
            .headers
            .iter()
            .map(|header| Place::of(header, &self.read))
            .collect();
        let head = self.read.split_to(length).freeze();
        let mut headers = headers(&head, &places)?;
        let framing = framing(&mut headers, status, is_http_1_0, request)?;
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = status;
        parts.version = if is_http_1_0 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        };
        parts.headers = headers;
        Ok(Some((parts, framing)))
    }
}

/// Where in a head a header stands.
struct Place {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

impl Place {
    fn of(header: &httparse::Header<'_>, within: &[u8]) -> Self {
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - within.as_ptr() as usize;
            start..start + part.len()
        };
        Self {
            name: range(header.name.as_bytes()),
            // An empty value may lie anywhere.
            value: match header.value {
                [] => 0..0,
                value => range(value),
            },
        }
    }
}

/// The headers of a head, whose values share its memory.
fn headers(head: &Bytes, places: &[Place]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(places.len() + 8);
    for Place { name, value } in places {
        let name = HeaderName::from_bytes(&head[name.clone()])
            .map_err(|_| Error::Malformed("a header's name is none"))?;
        let value = HeaderValue::from_maybe_shared(head.slice(value.clone()))
            .map_err(|_| Error::Malformed("a header's value is none"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// How the answer's body ends.
fn framing(
    headers: &mut HeaderMap,
    status: StatusCode,
    is_http_1_0: bool,
    request: &RequestHead<'_>,
) -> Result<Framing, Error> {
    let says = |token: &str| {
        headers.get_all(CONNECTION).iter().any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case(token))
        })
    };
    let mut keep_alive = if is_http_1_0 {
        says("keep-alive")
    } else {
        !says("close")
    };
    let length = content_length(headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let body = if status == StatusCode::SWITCHING_PROTOCOLS {
        if !request.upgrade {
            return Err(Error::Malformed("nobody asked for another protocol"));
        }
        keep_alive = false;
        BodyFraming::Upgraded
    } else if status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *request.method == Method::HEAD
    {
        BodyFraming::Ended
    } else if let Some(coding) = coding {
        // Any other coding would have to be passed on, and is the connection's business.
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if is_http_1_0 || !is_chunked || codings.next().is_some() {
            return Err(Error::Malformed("its transfer coding is not chunked"));
        }
        BodyFraming::Chunked(Chunk::START)
    } else {
        match length {
            Some(0) => BodyFraming::Ended,
            Some(length) => BodyFraming::Length(length),
            None => {
                keep_alive = false;
                BodyFraming::Close
            }
        }
    };
    Ok(Framing { body, keep_alive })
}

/// The length; several must agree, and one is left.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let (mut length, mut count) = (None, 0);
    for value in headers.get_all(CONTENT_LENGTH) {
        let found = std::str::from_utf8(value.as_bytes())
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            // What does not fit a signed number is negative to some.
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|length| i64::try_from(*length).is_ok())
            .ok_or(Error::Malformed("its length is no number"))?;
        if length.replace(found).is_some_and(|other| other != found) {
            return Err(Error::Malformed("it has two lengths"));
        }
        count += 1;
    }
    if let Some(length) = length.filter(|_| count > 1) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length)
}

/// What follows an answer's head.
pub(crate) enum Answer {
    /// All of the body is there. The connection can be used again, if it is given.
    Whole(Bytes, Option<Box<Connection>>),
    /// The body is on its way.
    Streamed(AnswerBody),
    /// The connection speaks the other protocol from here on.
    Upgraded(Box<Connection>),
}

impl Answer {
    pub(super) fn new(mut connection: Box<Connection>, framing: Framing) -> Self {
        let whole = match framing.body {
            BodyFraming::Upgraded => return Self::Upgraded(connection),
            BodyFraming::Ended => Bytes::new(),
            BodyFraming::Length(length)
                if usize::try_from(length).is_ok_and(|l| l <= connection.read.len()) =>
            {
                take(&mut connection.read, length).unwrap_or_default()
            }
            body => {
                return Self::Streamed(AnswerBody {
                    connection: Some(connection),
                    framing: body,
                    keep_alive: framing.keep_alive,
                    trailers: Vec::new(),
                    broken: None,
                });
            }
        };
        let usable = framing.keep_alive.then_some(connection);
        Self::Whole(whole, usable.and_then(reusable))
    }
}

/// The connection, where nothing is left over on it that could be taken for the next answer.
fn reusable(mut connection: Box<Connection>) -> Option<Box<Connection>> {
    let is_whole = !matches!(connection.io, super::Io::Receiving(..));
    let is_clean = connection.read.is_empty() && is_whole;
    connection.read = BytesMut::new();
    connection.read_size = FIRST_READ;
    is_clean.then_some(connection)
}

/// The body of an answer, read as it is asked for.
pub(crate) struct AnswerBody {
    /// Taken when the body has ended.
    connection: Option<Box<Connection>>,
    framing: BodyFraming,
    keep_alive: bool,
    /// The trailer section so far.
    trailers: Vec<u8>,
    /// What is said at the next turn.
    broken: Option<Error>,
}

impl AnswerBody {
    /// The connection for the next request, once the body has ended.
    pub(crate) fn take_connection(&mut self) -> Option<Box<Connection>> {
        let has_ended = self.framing == BodyFraming::Ended && self.keep_alive;
        self.connection
            .take()
            .filter(|_| has_ended)
            .and_then(reusable)
    }

    pub(crate) const fn is_end_stream(&self) -> bool {
        matches!(self.framing, BodyFraming::Ended)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.framing {
            BodyFraming::Length(left) => SizeHint::with_exact(left),
            BodyFraming::Ended => SizeHint::with_exact(0),
            _ => SizeHint::new(),
        }
    }

    /// Says that the body broke off, one turn late: what the client's side holds of the answer is
    /// sent first, so that the client sees an answer that breaks off, not a connection that does.
    fn break_off<T>(&mut self, cx: &Context<'_>, error: Error) -> Poll<Option<Result<T, Error>>> {
        self.connection = None;
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        loop {
            let frame = match &mut self.framing {
                BodyFraming::Ended | BodyFraming::Upgraded => return Poll::Ready(None),
                BodyFraming::Close => take(&mut connection.read, u64::MAX),
                BodyFraming::Length(left) => {
                    let data = take(&mut connection.read, *left);
                    *left -= data.as_ref().map_or(0, |data| data.len() as u64);
                    if *left == 0 {
                        self.framing = BodyFraming::Ended;
                    }
                    data
                }
                BodyFraming::Chunked(chunk) => {
                    match dechunk(chunk, connection, &mut self.trailers) {
                        Ok(Dechunked::Data(data)) => Some(data),
                        Ok(Dechunked::More) => None,
                        Ok(Dechunked::End) => {
                            self.framing = BodyFraming::Ended;
                            return Poll::Ready(trailers(&self.trailers).transpose());
                        }
                        Err(error) => return self.break_off(cx, error),
                    }
                }
            };
            if let Some(data) = frame {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            match ready!(connection.poll_more(cx, self.framing)) {
                Ok(true) => {}
                Ok(false) if self.framing == BodyFraming::Close => {
                    self.framing = BodyFraming::Ended;
                }
                Ok(false) => return self.break_off(cx, Error::Closed),
                Err(error) => return self.break_off(cx, error.into()),
            }
        }
    }
}

impl Connection {
    /// Reads more of a body, in larger parts while the upstream fills them.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        framing: BodyFraming,
    ) -> Poll<std::io::Result<bool>> {
        let left = match framing {
            BodyFraming::Length(left) | BodyFraming::Chunked(Chunk::Data(left)) => left,
            _ => u64::MAX,
        };
        // A little beyond the end, so that what is left over there is seen.
        let size = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .clamp(FIRST_READ, self.read_size);
        let more = ready!(self.poll_fill(cx, size))?;
        if self.read.len() >= self.read_size {
            self.read_size = (self.read_size * 2).min(LARGEST_READ);
        } else if self.read.len() < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(FIRST_READ);
        }
        Poll::Ready(Ok(more))
    }
}

fn take(read: &mut BytesMut, most: u64) -> Option<Bytes> {
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(read.len());
    (count > 0).then(|| read.split_to(count).freeze())
}

enum Dechunked {
    Data(Bytes),
    More,
    End,
}

/// Takes the next data of a chunked body from what was read.
fn dechunk(
    chunk: &mut Chunk,
    connection: &mut Connection,
    trailers: &mut Vec<u8>,
) -> Result<Dechunked, Error> {
    let read = &mut connection.read;
    while let Some(first) = read.first() {
        if let Chunk::Data(_) = chunk {
            let (used, next) = advance(*chunk, read)?;
            *chunk = next.unwrap_or(Chunk::START);
            return Ok(Dechunked::Data(read.split_to(used).freeze()));
        }
        let in_trailer = matches!(chunk, Chunk::Trailer { .. });
        // Servers exist that fill the size up with spaces.
        let is_space = matches!(chunk, Chunk::Size { digits: 1.., .. }) && b" \t".contains(first);
        let bytes = if is_space { b";" } else { &read[..] };
        if in_trailer {
            trailers.push(*first);
            if trailers.len() > MAX_TRAILER_BYTES {
                return Err(Error::Malformed("its trailers are too large"));
            }
        }
        let (used, next) = advance(*chunk, bytes)?;
        read.advance(used);
        match next {
            Some(next) => *chunk = next,
            None => return Ok(Dechunked::End),
        }
    }
    Ok(Dechunked::More)
}

fn advance(chunk: Chunk, bytes: &[u8]) -> Result<(usize, Option<Chunk>), Error> {
    chunk
        .step(bytes)
        .map_err(|_| Error::Malformed("its chunks are malformed"))
}

/// The trailers as a frame; `None` where there are none.
fn trailers(section: &[u8]) -> Result<Option<Frame<Bytes>>, Error> {
    if section == b"\r\n" {
        return Ok(None);
    }
    let mut space = [httparse::EMPTY_HEADER; 64];
    let malformed = || Error::Malformed("its trailers are malformed");
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(section, &mut space)
    else {
        return Err(malformed());
    };
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| malformed())?;
        trailers.append(name, value);
    }
    Ok(Some(Frame::trailers(trailers)))
}
