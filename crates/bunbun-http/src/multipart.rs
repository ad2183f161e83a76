//! `multipart/form-data` (RFC 7578) as it arrives: parts are read in their order, and never more
//! of a part is held than what has just come from the network.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bunbun_core::{Classify, Code};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::Body as _;
use memchr::memmem::Finder;

use crate::body::{Body, BoxError, Fault};

/// Longest head of a part, and longest text before the first part.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY_BYTES: usize = 70;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MultipartError {
    /// The media type is another one, or names no boundary.
    #[error("The body must be a form: send 'Content-Type: multipart/form-data; boundary=…'.")]
    NotMultipart,
    /// The form breaks a rule.
    #[error("The form is malformed: {0}.")]
    Malformed(&'static str),
    /// A field of text is longer than its limit.
    #[error("The field '{name}' is longer than {limit} bytes.")]
    FieldTooLong {
        /// Which.
        name: String,
        /// Its limit.
        limit: usize,
    },
    /// The body itself failed.
    #[error("{}", Fault::of(.0))]
    Body(#[source] BoxError),
}

impl Classify for MultipartError {
    fn code(&self) -> Code {
        match self {
            Self::Body(error) => Fault::of(error).code(),
            _ => Code::InvalidRequest,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(self.to_string().into())
    }
}

/// What stands above a part's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// The field's name.
    pub name: String,
    /// The file's name on the client's machine, where it is a file.
    pub file_name: Option<String>,
    /// Its media type.
    pub content_type: Option<HeaderValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// A delimiter has been read.
    Delimited,
    /// Within the content of a part.
    Content,
    /// The closing delimiter has been read.
    Ended,
}

/// A form that is being read.
pub struct Multipart {
    body: Body,
    body_ended: bool,
    buffer: BytesMut,
    delimiter: Finder<'static>,
    state: State,
}

impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multipart")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Multipart {
    /// Reads a body of this media type.
    ///
    /// # Errors
    /// [`MultipartError::NotMultipart`].
    pub fn new(content_type: Option<&HeaderValue>, body: Body) -> Result<Self, MultipartError> {
        let boundary = content_type
            .and_then(|value| value.to_str().ok())
            .and_then(boundary)
            .ok_or(MultipartError::NotMultipart)?;
        let delimiter = format!("\r\n--{boundary}");
        Ok(Self {
            body,
            body_ended: false,
            // The first delimiter stands at the beginning of a line, too, but there is no line
            // before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            state: State::Preamble,
        })
    }

    /// The head of the next part; `None` after the last. What is left of the part before it is
    /// passed over.
    ///
    /// # Errors
    /// A malformed or broken-off form.
    pub async fn next_part(&mut self) -> Result<Option<PartHead>, MultipartError> {
        std::future::poll_fn(|cx| self.poll_next_part(cx)).await
    }

    /// The next bytes of the part's content; `None` at its end.
    ///
    /// # Errors
    /// A broken-off form.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole content of a short part.
    ///
    /// # Errors
    /// Content that is longer than `limit` bytes or no UTF-8, and a broken-off form.
    pub async fn text(&mut self, name: &str, limit: usize) -> Result<String, MultipartError> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if text.len() + chunk.len() > limit {
                let name = name.to_owned();
                return Err(MultipartError::FieldTooLong { name, limit });
            }
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| MultipartError::Malformed("a field is not UTF-8"))
    }

    /// As [`Self::next_part`].
    ///
    /// # Errors
    /// A malformed or broken-off form.
    pub fn poll_next_part(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<PartHead>, MultipartError>> {
        loop {
            match self.state {
                State::Ended => return Poll::Ready(Ok(None)),
                State::Preamble => ready!(self.poll_preamble(cx))?,
                State::Content => while ready!(self.poll_chunk(cx))?.is_some() {},
                State::Delimited => {
                    if self.buffer.starts_with(b"--") {
                        self.state = State::Ended;
                        continue;
                    }
                    if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                        let head = self.buffer.split_to(end + 4).freeze();
                        let head = head_of_part(&head[..end])?;
                        self.state = State::Content;
                        return Poll::Ready(Ok(Some(head)));
                    }
                    if self.buffer.len() > MAX_HEAD_BYTES {
                        let what = "the head of a part is too long";
                        return Poll::Ready(Err(MultipartError::Malformed(what)));
                    }
                    ready!(self.poll_more(cx))?;
                }
            }
        }
    }

    fn poll_preamble(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MultipartError>> {
        loop {
            if let Some(at) = self.delimiter.find(&self.buffer) {
                self.pass_delimiter(at);
                return Poll::Ready(Ok(()));
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                let what = "it does not begin with its boundary";
                return Poll::Ready(Err(MultipartError::Malformed(what)));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// As [`Self::chunk`].
    ///
    /// # Errors
    /// A broken-off form.
    pub fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, MultipartError>> {
        if self.state != State::Content {
            return Poll::Ready(Ok(None));
        }
        loop {
            if let Some(at) = self.delimiter.find(&self.buffer) {
                if at > 0 {
                    return Poll::Ready(Ok(Some(self.buffer.split_to(at).freeze())));
                }
                self.pass_delimiter(0);
                return Poll::Ready(Ok(None));
            }
            // The last bytes may be the beginning of a delimiter.
            let kept = self.delimiter.needle().len() - 1;
            let certain = self.buffer.len().saturating_sub(kept);
            if certain > 0 {
                return Poll::Ready(Ok(Some(self.buffer.split_to(certain).freeze())));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    fn pass_delimiter(&mut self, at: usize) {
        let _ = self.buffer.split_to(at + self.delimiter.needle().len());
        self.state = State::Delimited;
    }

    /// Reads what the network has.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MultipartError>> {
        if self.body_ended {
            let what = "it ends before its closing boundary";
            return Poll::Ready(Err(MultipartError::Malformed(what)));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => self.body_ended = true,
            Some(Err(error)) => return Poll::Ready(Err(MultipartError::Body(error))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The boundary of a media type, where that is `multipart/form-data`.
fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    let sound = (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
        && boundary.bytes().all(|b| (b' '..=b'~').contains(&b))
        && !boundary.ends_with(' ');
    sound.then_some(boundary)
}

/// Reads the lines above a part's content. The first is what is left of the delimiter's line.
fn head_of_part(head: &[u8]) -> Result<PartHead, MultipartError> {
    let malformed = MultipartError::Malformed;
    let head = std::str::from_utf8(head).map_err(|_| malformed("a part's head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    if lines.next().is_none_or(|rest| !rest.trim().is_empty()) {
        return Err(malformed("something follows a boundary on its line"));
    }
    let (mut disposition, mut content_type) = (None, None);
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or(malformed("a line of a part's head is no header"))?;
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut content_type,
            _ => continue,
        };
        if slot.replace(value.trim()).is_some() {
            return Err(malformed("a part has a header twice"));
        }
    }
    let (kind, parameters) = disposition
        .and_then(|text| text.split_once(';'))
        .ok_or(malformed("a part has no name"))?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(malformed("a part is no form-data"));
    }
    let content_type = content_type
        .map(HeaderValue::from_str)
        .transpose()
        .map_err(|_| malformed("a part's Content-Type is no header value"))?;
    Ok(PartHead {
        name: parameter(parameters, "name").ok_or(malformed("a part has no name"))?,
        file_name: parameter(parameters, "filename"),
        content_type,
    })
}

/// A parameter of a header, unquoted. Browsers write a quote as `%22`, older clients as `\"`.
fn parameter(mut rest: &str, wanted: &str) -> Option<String> {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            None => {
                let (value, after) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
            Some(quoted) => unquote(quoted)?,
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// The text up to the closing quote, and what follows that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text.replace("%22", "\""), &quoted[at + 1..])),
            // Only these two: old browsers sent whole Windows paths.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                text.extend(characters.next().map(|(_, escaped)| escaped));
            }
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests;
