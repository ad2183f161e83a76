//! The part of PostgreSQL's lexer that decides where text ends: quotes, comments, words.
//!
//! Follows `src/backend/parser/scan.l` with `standard_conforming_strings = on` (the runner sets
//! it). Operators and numbers come out as [`Token::Other`], one byte at a time: for finding the
//! ends of statements their exact extent does not matter.

use std::ops::Range;

use super::split::{Fault, SplitError};

/// One lexical unit; white space and comments never come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted identifier or keyword.
    Word(Range<usize>),
    /// A string constant or a quoted identifier.
    Quoted,
    /// `;`
    Semicolon,
    /// `(`
    Open,
    /// `)`
    Close,
    /// Any other byte, and where it stands.
    Other(u8),
}

/// Walks over SQL text (without NUL characters) from token to token.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    position: usize,
    token_start: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at a byte offset, which must be a character boundary.
    pub(super) const fn new(sql: &'a str, position: usize) -> Self {
        Self {
            sql,
            bytes: sql.as_bytes(),
            position,
            token_start: position,
        }
    }

    /// The byte after the last token.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// The first byte of the last token.
    pub(super) const fn token_start(&self) -> usize {
        self.token_start
    }

    /// The next token, or `None` at the end.
    pub(super) fn next_token(&mut self) -> Result<Option<Token>, SplitError> {
        self.skip_space_and_comments()?;
        self.token_start = self.position;
        let Some(&byte) = self.bytes.get(self.position) else {
            return Ok(None);
        };
        let token = match byte {
            b'\'' => self.quoted(Fault::UnterminatedString, b'\'')?,
            b'"' => self.quoted(Fault::UnterminatedIdentifier, b'"')?,
            b'e' | b'E' if self.peek(1) == Some(b'\'') => self.escape_string()?,
            b'$' => self.dollar()?,
            b'\\' => return Err(self.fault(Fault::MetaCommand)),
            _ if is_word_start(byte) => self.word(),
            _ => {
                self.position += 1;
                match byte {
                    b';' => Token::Semicolon,
                    b'(' => Token::Open,
                    b')' => Token::Close,
                    _ => Token::Other(byte),
                }
            }
        };
        Ok(Some(token))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.position + ahead).copied()
    }

    /// An error about the token that began at `token_start`.
    fn fault(&self, fault: Fault) -> SplitError {
        SplitError::at(self.sql, self.token_start, fault)
    }

    fn skip_space_and_comments(&mut self) -> Result<(), SplitError> {
        while let Some(byte) = self.peek(0) {
            match byte {
                _ if is_space(byte) => self.position += 1,
                b'-' if self.peek(1) == Some(b'-') => {
                    self.position = line_end(self.bytes, self.position);
                }
                b'/' if self.peek(1) == Some(b'*') => self.block_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    /// `/* … */`, which nest.
    fn block_comment(&mut self) -> Result<(), SplitError> {
        self.token_start = self.position;
        self.position += 2;
        let mut depth = 1_usize;
        while depth > 0 {
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.position += 2;
                }
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.position += 2;
                }
                (Some(_), _) => self.position += 1,
                (None, _) => return Err(self.fault(Fault::UnterminatedComment)),
            }
        }
        Ok(())
    }

    /// `'…'` or `"…"`: only the doubled quote is special. A string that goes on after a line
    /// break comes out as a second token, which makes no difference here.
    fn quoted(&mut self, unterminated: Fault, quote: u8) -> Result<Token, SplitError> {
        self.position += 1;
        loop {
            let rest = self.bytes.get(self.position..).unwrap_or_default();
            let Some(found) = memchr::memchr(quote, rest) else {
                return Err(self.fault(unterminated));
            };
            self.position += found + 1;
            if self.peek(0) != Some(quote) {
                return Ok(Token::Quoted);
            }
            self.position += 1;
        }
    }

    /// `E'…'`: a backslash takes the next byte with it, and a continuation after a line break
    /// (`E'a'⏎'b\''`) is still such a string.
    fn escape_string(&mut self) -> Result<Token, SplitError> {
        self.position += 2;
        loop {
            let rest = self.bytes.get(self.position..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'\'', b'\\', rest) else {
                return Err(self.fault(Fault::UnterminatedString));
            };
            self.position += found + 1;
            let escaped = rest.get(found) == Some(&b'\\');
            if escaped || self.peek(0) == Some(b'\'') {
                self.position += 1;
            } else if let Some(inside) = continuation(self.bytes, self.position) {
                self.position = inside;
            } else {
                return Ok(Token::Quoted);
            }
        }
    }

    /// `$tag$ … $tag$`, else a parameter (`$1`) or a stray dollar sign.
    fn dollar(&mut self) -> Result<Token, SplitError> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let tag = rest.get(1..).unwrap_or_default();
        let length = match tag.first() {
            Some(&first) if is_word_start(first) => tag
                .iter()
                .position(|&byte| byte == b'$' || !is_word_part(byte))
                .unwrap_or(tag.len()),
            _ => 0,
        };
        if tag.get(length) != Some(&b'$') {
            self.position += 1;
            return Ok(Token::Other(b'$'));
        }
        let (delimiter, body) = rest.split_at(length + 2);
        match memchr::memmem::find(body, delimiter) {
            Some(found) => {
                self.position += delimiter.len() + found + delimiter.len();
                Ok(Token::Quoted)
            }
            None => Err(self.fault(Fault::UnterminatedDollarQuote)),
        }
    }

    fn word(&mut self) -> Token {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|&byte| !is_word_part(byte))
            .unwrap_or(rest.len());
        self.position += length;
        Token::Word(self.token_start..self.position)
    }
}

/// PostgreSQL's white space. Others (no-break space, byte order mark) are parts of words there.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// Where a `--` comment ends: at either line break character, or at the end of the text.
fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    memchr::memchr2(b'\n', b'\r', rest).map_or(bytes.len(), |found| from + found)
}

/// If a string constant that closed just before `from` goes on after white space with a line
/// break in it, the offset just inside the reopened quote.
fn continuation(bytes: &[u8], from: usize) -> Option<usize> {
    let mut position = from;
    let mut broken = false;
    loop {
        match bytes.get(position)? {
            b'\'' if broken => return Some(position + 1),
            b'\n' | b'\r' => {
                broken = true;
                position += 1;
            }
            &byte if is_space(byte) => position += 1,
            b'-' if bytes.get(position + 1) == Some(&b'-') => {
                position = line_end(bytes, position);
            }
            _ => return None,
        }
    }
}
