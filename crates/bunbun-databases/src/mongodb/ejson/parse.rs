//! Extended JSON text to raw BSON, strictly: one value, no duplicate keys, a bounded depth.
//!
//! Both forms are understood whatever the text calls itself. Keys with `$` that are no type
//! wrapper pass through: they are operators. An object that has a type wrapper's key is that
//! type or a fault, never a document.

use std::{
    collections::{HashSet, hash_map::RandomState},
    hash::BuildHasher,
};

use mongodb::bson::RawDocumentBuf;

use super::wrapper;
use crate::mongodb::raw::kind;

/// Deepest nesting of documents and arrays; MongoDB stores no deeper.
pub const MAX_DEPTH: usize = 100;

/// From so many keys on, an object's keys are looked up in a table.
const MANY_KEYS: usize = 24;

/// Why a text is not Extended JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {}", if .pointer.is_empty() { "the top" } else { .pointer })]
pub struct ParseError {
    /// What is wrong; has no value of the caller's in it.
    pub message: String,
    /// JSON pointer of the value it is about.
    pub pointer: String,
    /// The byte at which it was seen.
    pub offset: usize,
}

/// Reads one document.
///
/// # Errors
/// Where the text is not one JSON object or breaks a rule of Extended JSON.
pub fn parse_document(text: &[u8]) -> Result<RawDocumentBuf, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.space();
    if parser.peek() != Some(b'{') {
        return Err(parser.fault("expected an object"));
    }
    parser.document()?;
    parser.end()?;
    Ok(buffer(parser.out))
}

/// Reads one value of any type; the answer is a document with it under the empty key.
///
/// # Errors
/// Where the text is not one JSON value or breaks a rule of Extended JSON.
pub fn parse_value(text: &[u8]) -> Result<RawDocumentBuf, ParseError> {
    let mut parser = Parser::new(text)?;
    parser.out.extend_from_slice(&[0; 6]);
    parser.value(4)?;
    parser.end()?;
    parser.out.push(0);
    set_length(&mut parser.out, 0);
    Ok(buffer(parser.out))
}

fn buffer(bytes: Vec<u8>) -> RawDocumentBuf {
    RawDocumentBuf::from_bytes(bytes).expect("the parser frames what it writes")
}

/// Writes the length of the document that goes from `start` to the end.
pub(super) fn set_length(out: &mut [u8], start: usize) {
    let length = i32::try_from(out.len() - start).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

enum Step {
    Index(usize),
    /// Where the key stands in the output.
    Key(usize, usize),
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    out: Vec<u8>,
    path: Vec<Step>,
    hasher: RandomState,
    /// Hashes of the keys of all objects that are open.
    keys: Vec<u64>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t [u8]) -> Result<Self, ParseError> {
        let parser = Self {
            text,
            at: 0,
            out: Vec::with_capacity(text.len() + 16),
            path: Vec::new(),
            hasher: RandomState::new(),
            keys: Vec::new(),
        };
        match std::str::from_utf8(text) {
            Ok(_) => Ok(parser),
            Err(error) => Err(ParseError {
                offset: error.valid_up_to(),
                ..parser.fault("not UTF-8")
            }),
        }
    }

    fn fault(&self, message: impl Into<String>) -> ParseError {
        let mut pointer = String::new();
        for step in &self.path {
            pointer.push('/');
            match *step {
                Step::Index(index) => pointer.push_str(&index.to_string()),
                Step::Key(start, end) => {
                    let key = self.out.get(start..end).unwrap_or_default();
                    let key = String::from_utf8_lossy(key);
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
            }
        }
        let (message, offset) = (message.into(), self.at);
        ParseError {
            message,
            pointer,
            offset,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, message: &str) -> Result<(), ParseError> {
        self.space();
        if self.peek() != Some(byte) {
            return Err(self.fault(message));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ParseError> {
        self.space();
        if self.at < self.text.len() {
            return Err(self.fault("something follows the value"));
        }
        Ok(())
    }

    /// Reads a value, appends it and writes its type to `type_at`.
    fn value(&mut self, type_at: usize) -> Result<(), ParseError> {
        self.space();
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => {
                let start = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                self.string()?;
                self.out.push(0);
                let length = self.out.len() - start - 4;
                let length = i32::try_from(length).map_err(|_| self.fault("too long a string"))?;
                self.out[start..start + 4].copy_from_slice(&length.to_le_bytes());
                kind::STRING
            }
            Some(b't') => self.word("true", kind::BOOLEAN, &[1])?,
            Some(b'f') => self.word("false", kind::BOOLEAN, &[0])?,
            Some(b'n') => self.word("null", kind::NULL, &[])?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.fault("expected a value")),
        };
        self.out[type_at] = kind;
        Ok(())
    }

    fn word(&mut self, word: &str, kind: u8, value: &[u8]) -> Result<u8, ParseError> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        self.out.extend_from_slice(value);
        Ok(kind)
    }

    fn number(&mut self) -> Result<u8, ParseError> {
        let start = self.at;
        self.skip(|byte| byte == b'-');
        let digits = self.at;
        let whole = self.skip(|byte| byte.is_ascii_digit());
        if whole == 0 || (whole > 1 && self.text[digits] == b'0') || digits - start > 1 {
            return Err(self.fault("not a number"));
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_integer = false;
            if self.skip(|byte| byte.is_ascii_digit()) == 0 {
                return Err(self.fault("not a number"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            is_integer = false;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.skip(|byte| byte.is_ascii_digit()) == 0 {
                return Err(self.fault("not a number"));
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        if is_integer && let Ok(number) = text.parse::<i64>() {
            if let Ok(number) = i32::try_from(number) {
                self.out.extend_from_slice(&number.to_le_bytes());
                return Ok(kind::INT32);
            }
            self.out.extend_from_slice(&number.to_le_bytes());
            return Ok(kind::INT64);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                self.out.extend_from_slice(&number.to_le_bytes());
                Ok(kind::DOUBLE)
            }
            _ => Err(self.fault("a number out of range")),
        }
    }

    fn skip(&mut self, is_part: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&is_part) {
            self.at += 1;
        }
        self.at - start
    }

    /// Appends the content of a string, decoded.
    fn string(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .iter()
                .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
                .ok_or_else(|| self.fault("a string does not end"))?;
            self.out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                _ => return Err(self.fault("a control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        let escaped = self.text.get(self.at + 1).copied();
        self.at += 2;
        let byte = match escaped {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let character = self.unicode()?;
                let mut buffer = [0; 4];
                self.out
                    .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                return Ok(());
            }
            _ => return Err(self.fault("an unknown escape in a string")),
        };
        self.out.push(byte);
        Ok(())
    }

    fn unicode(&mut self) -> Result<char, ParseError> {
        let first = self.four_digits()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.text[self.at..].starts_with(b"\\u") {
                    return Err(self.fault("half a surrogate pair in a string"));
                }
                self.at += 2;
                let second = self.four_digits()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.fault("half a surrogate pair in a string"));
                }
                0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.fault("half a surrogate pair in a string"))
    }

    fn four_digits(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.fault("an unknown escape in a string"))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn deeper(&self, depth: usize) -> Result<(), ParseError> {
        if depth >= MAX_DEPTH {
            return Err(self.fault(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn array(&mut self) -> Result<u8, ParseError> {
        // The document around everything is a level too.
        self.deeper(self.path.len())?;
        self.at += 1;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.space();
        let mut index = 0;
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                let type_at = self.out.len();
                self.out.push(0);
                self.out
                    .extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
                self.out.push(0);
                self.path.push(Step::Index(index));
                self.value(type_at)?;
                self.path.pop();
                index += 1;
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.fault("expected ',' or ']'")),
                }
            }
        }
        self.out.push(0);
        set_length(&mut self.out, start);
        Ok(kind::ARRAY)
    }

    /// The document around everything, which is never a type wrapper.
    fn document(&mut self) -> Result<(), ParseError> {
        if self.members(0)? {
            return Err(self.fault("a type wrapper where a document must stand"));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<u8, ParseError> {
        self.deeper(self.path.len())?;
        let start = self.out.len();
        if !self.members(start)? {
            return Ok(kind::DOCUMENT);
        }
        let document = self.out.split_off(start);
        wrapper::convert(&document, &mut self.out).map_err(|message| self.fault(message))
    }

    /// Appends an object as a document; whether it has a key of a type wrapper.
    fn members(&mut self, start: usize) -> Result<bool, ParseError> {
        self.at += 1;
        self.out.extend_from_slice(&[0; 4]);
        let open = self.keys.len();
        let mut table = HashSet::new();
        let mut is_wrapper = false;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                is_wrapper |= self.member(open, &mut table)?;
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(self.fault("expected ',' or '}'")),
                }
            }
        }
        self.keys.truncate(open);
        self.out.push(0);
        set_length(&mut self.out, start);
        Ok(is_wrapper)
    }

    fn member(&mut self, open: usize, table: &mut HashSet<u64>) -> Result<bool, ParseError> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in quotes"));
        }
        let type_at = self.out.len();
        self.out.push(0);
        self.string()?;
        let key = &self.out[type_at + 1..];
        if key.contains(&0) {
            return Err(self.fault("a key with a NUL character"));
        }
        let is_wrapper = wrapper::is_key(key);
        let hash = self.hasher.hash_one(key);
        self.path.push(Step::Key(type_at + 1, self.out.len()));
        if !self.is_new(hash, open, table) {
            return Err(self.fault("a key that stands twice"));
        }
        self.out.push(0);
        self.expect(b':', "expected ':'")?;
        self.value(type_at)?;
        self.path.pop();
        Ok(is_wrapper)
    }

    /// Remembers a key of the innermost object. That two keys share a hash is as likely as
    /// guessing the process's random seed.
    fn is_new(&mut self, hash: u64, open: usize, table: &mut HashSet<u64>) -> bool {
        let known = &self.keys[open..];
        if known.len() < MANY_KEYS {
            let is_new = !known.contains(&hash);
            self.keys.push(hash);
            return is_new;
        }
        if table.is_empty() {
            table.extend(known);
        }
        table.insert(hash)
    }
}
