//! The head check: finds every request head in a connection's bytes and refuses what two HTTP
//! servers could frame differently (RFC 9112 §6, §11.2), which is how requests are smuggled.
//!
//! hyper repairs some of these (it drops `Content-Length` beside `Transfer-Encoding`), so a
//! handler never sees them: the check has to stand before it. To find the next head the scanner
//! follows the body's framing, but only counts its bytes.

use crate::chunked::Chunk;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeadFault {
    /// Something ambiguous or malformed: 400.
    Malformed = 1,
    /// The head is larger than the limit: 431.
    HeadTooLarge,
    /// The request target is longer than the limit: 414.
    TargetTooLong,
    /// The head did not arrive in time: 408.
    TooSlow,
}

impl HeadFault {
    /// Back from its number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Malformed),
            2 => Some(Self::HeadTooLarge),
            3 => Some(Self::TargetTooLong),
            4 => Some(Self::TooSlow),
            _ => None,
        }
    }
}

/// The largest head, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The longest request target, in bytes.
pub const MAX_TARGET_BYTES: usize = 16 * 1024;
/// The most header lines.
pub const MAX_HEADERS: usize = 100;

/// How a request's body ends, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body follows.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
    /// No body follows, and the client wants another protocol afterwards.
    Upgrade,
}

/// What the scanner says about the bytes it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// So many of the bytes may be passed on; the rest must be held back.
    pub pass: usize,
    /// What comes after them.
    pub next: Next,
}

/// What comes after the bytes that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: all bytes are used.
    More,
    /// The beginning of a head whose end is not there yet.
    PartialHead,
    /// The client waits for an upgrade: nothing may pass before the answer is known.
    Upgrade,
    /// A head that is refused; nothing after it may pass.
    Refused(HeadFault),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunk),
}

/// Follows one HTTP/1 connection.
#[derive(Debug)]
pub struct HeadScanner {
    state: State,
    heads: u64,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self {
            state: State::Head,
            heads: 0,
        }
    }
}

impl HeadScanner {
    /// How many heads have passed.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the bytes that come next belong to a body.
    #[must_use]
    pub const fn is_in_body(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Looks at the next bytes of the connection. Bytes that were held back come again, at the
    /// beginning of the next call.
    pub fn advance(&mut self, bytes: &[u8]) -> Advance {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Head => match Self::head(&bytes[at..]) {
                    Ok(Some((length, framing))) => {
                        at += length;
                        self.heads += 1;
                        match framing {
                            Framing::None | Framing::Length(0) => {}
                            Framing::Upgrade => {
                                return Advance {
                                    pass: at,
                                    next: Next::Upgrade,
                                };
                            }
                            Framing::Length(left) => self.state = State::Length(left),
                            Framing::Chunked => {
                                self.state = State::Chunked(Chunk::START);
                            }
                        }
                    }
                    Ok(None) => {
                        return Advance {
                            pass: at,
                            next: Next::PartialHead,
                        };
                    }
                    Err(fault) => {
                        return Advance {
                            pass: at,
                            next: Next::Refused(fault),
                        };
                    }
                },
                State::Length(left) => {
                    let here = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len() - at);
                    at += here;
                    let left = left - here as u64;
                    self.state = if left == 0 {
                        State::Head
                    } else {
                        State::Length(left)
                    };
                }
                State::Chunked(chunk) => match chunk.step(&bytes[at..]) {
                    Ok((used, Some(next))) => {
                        at += used;
                        self.state = State::Chunked(next);
                    }
                    Ok((used, None)) => {
                        at += used;
                        self.state = State::Head;
                    }
                    Err(fault) => {
                        return Advance {
                            pass: at,
                            next: Next::Refused(fault),
                        };
                    }
                },
            }
        }
        Advance {
            pass: at,
            next: Next::More,
        }
    }

    /// The length and framing of the head at the beginning of the bytes, once it is complete.
    fn head(bytes: &[u8]) -> Result<Option<(usize, Framing)>, HeadFault> {
        // RFC 9112 §2.2: an empty line before the request line is to be ignored.
        let blank = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        match find_end(&bytes[blank..]) {
            Some(length) if length > MAX_HEAD_BYTES => Err(HeadFault::HeadTooLarge),
            Some(length) => {
                let framing = check(&bytes[blank..blank + length])?;
                Ok(Some((blank + length, framing)))
            }
            None if bytes.len() > MAX_HEAD_BYTES => {
                Err(if memchr::memchr(b'\n', &bytes[blank..]).is_none() {
                    HeadFault::TargetTooLong
                } else {
                    HeadFault::HeadTooLarge
                })
            }
            None => Ok(None),
        }
    }
}

/// The length of the head: up to and with the first empty line. Bare line feeds end lines here,
/// so that [`check`] sees and refuses them.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'\n', &bytes[from..]) {
        let line_end = from + found;
        match &bytes[line_end + 1..] {
            [b'\n', ..] => return Some(line_end + 2),
            [b'\r', b'\n', ..] => return Some(line_end + 3),
            _ => from = line_end + 1,
        }
    }
    None
}

/// Checks one complete head, including its empty line.
///
/// # Errors
/// Why it is refused.
pub fn check(head: &[u8]) -> Result<Framing, HeadFault> {
    let mut lines = Lines { rest: head };
    check_request_line(lines.next().ok_or(HeadFault::Malformed)??)?;
    let mut found = Found::default();
    let mut count = 0;
    for line in &mut lines {
        let line = line?;
        if line.is_empty() {
            return found.framing(head);
        }
        count += 1;
        if count > MAX_HEADERS {
            return Err(HeadFault::HeadTooLarge);
        }
        found.header(line)?;
    }
    Err(HeadFault::Malformed)
}

struct Lines<'h> {
    rest: &'h [u8],
}

impl<'h> Iterator for Lines<'h> {
    type Item = Result<&'h [u8], HeadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(end + 1);
        self.rest = rest;
        // Every line ends in CR LF: a bare LF is a line's end for some servers only.
        Some(line.strip_suffix(b"\r\n").ok_or(HeadFault::Malformed))
    }
}

fn check_request_line(line: &[u8]) -> Result<(), HeadFault> {
    let first = memchr::memchr(b' ', line).ok_or(HeadFault::Malformed)?;
    let last = memchr::memrchr(b' ', line).ok_or(HeadFault::Malformed)?;
    let target = line.get(first + 1..last).ok_or(HeadFault::Malformed)?;
    if target.len() > MAX_TARGET_BYTES {
        return Err(HeadFault::TargetTooLong);
    }
    let version = &line[last + 1..];
    if !is_token(&line[..first]) || !(version == b"HTTP/1.1" || version == b"HTTP/1.0") {
        return Err(HeadFault::Malformed);
    }
    // A fragment never travels; spaces and controls would be another request line elsewhere.
    if target.is_empty() || target.iter().any(|b| matches!(b, 0..=0x20 | 0x7f | b'#')) {
        return Err(HeadFault::Malformed);
    }
    // What hyper cannot read it would answer itself, without a body or a request id.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-._~?&=%+,:@!$'()*;".contains(b);
    if (target[0] != b'/' || !target.iter().all(plain)) && http::Uri::try_from(target).is_err() {
        return Err(HeadFault::Malformed);
    }
    Ok(())
}

/// The characters of methods and names (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| TOKEN[usize::from(*byte)])
}

#[derive(Default)]
struct Found {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Found {
    fn header(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let colon = memchr::memchr(b':', line).ok_or(HeadFault::Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // No folded line, no empty name, no space before the colon.
        if !is_token(name) {
            return Err(HeadFault::Malformed);
        }
        // A bare CR is a line's end for some servers, NUL a value's; no control has a meaning.
        // Without an early exit, so that the compiler looks at many bytes at once.
        let is_control = |b: u8| (b < b' ' && b != b'\t') || b == 0x7f;
        if value.iter().fold(false, |found, b| found | is_control(*b)) {
            return Err(HeadFault::Malformed);
        }
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value.trim_ascii()).ok_or(HeadFault::Malformed)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadFault::Malformed);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::Malformed);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, head: &[u8]) -> Result<Framing, HeadFault> {
        let http_1_0 = memchr::memmem::find(head, b"\r\n")
            .is_some_and(|end| head[..end].ends_with(b" HTTP/1.0"));
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(HeadFault::Malformed),
            // HTTP/1.0 knows no chunks: a proxy of that age would not see where the body ends.
            (true, None) if http_1_0 => Err(HeadFault::Malformed),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) if length > 0 => Ok(Framing::Length(length)),
            (false, _) if self.upgrade => Ok(Framing::Upgrade),
            (false, _) => Ok(Framing::None),
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests;
