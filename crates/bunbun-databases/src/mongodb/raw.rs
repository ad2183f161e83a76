//! Raw BSON (bsonspec.org, version 1.1), read in place: elements as slices of what the server sent.
//!
//! The driver's own reader makes a value of every element; writing JSON needs the bytes only.

use std::str;

/// BSON that breaks the specification; only a faulty server or a fault of ours makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed BSON: {0}")]
pub struct Malformed(pub &'static str);

/// The type bytes of elements.
pub mod kind {
    #![expect(missing_docs, reason = "the names are the specification's")]
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOLEAN: u8 = 0x08;
    pub const DATE: u8 = 0x09;
    pub const NULL: u8 = 0x0A;
    pub const REGEX: u8 = 0x0B;
    pub const DB_POINTER: u8 = 0x0C;
    pub const CODE: u8 = 0x0D;
    pub const SYMBOL: u8 = 0x0E;
    pub const CODE_WITH_SCOPE: u8 = 0x0F;
    pub const INT32: u8 = 0x10;
    pub const TIMESTAMP: u8 = 0x11;
    pub const INT64: u8 = 0x12;
    pub const DECIMAL128: u8 = 0x13;
    pub const MAX_KEY: u8 = 0x7F;
    pub const MIN_KEY: u8 = 0xFF;
}

/// One element of a document or array.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Its type byte.
    pub kind: u8,
    /// Its name; in arrays the index as text.
    pub key: &'a str,
    /// Its value, exactly as long as its type says.
    pub value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The document or array that it is.
    #[must_use]
    pub fn as_nested(&self) -> Option<&'a [u8]> {
        matches!(self.kind, kind::DOCUMENT | kind::ARRAY).then_some(self.value)
    }

    /// The text that it is.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        (self.kind == kind::STRING)
            .then(|| string(self.value).ok().map(|(text, _)| text))
            .flatten()
    }
}

/// The elements of a document or array, which must be exactly `bytes`.
///
/// # Errors
/// Where the frame is broken; broken elements show while iterating.
pub fn elements(bytes: &[u8]) -> Result<Elements<'_>, Malformed> {
    let length = int32(bytes)?;
    if usize::try_from(length) != Ok(bytes.len()) || bytes.len() < 5 {
        return Err(Malformed("a document's length is not its own"));
    }
    match bytes.split_last() {
        Some((0, rest)) => Ok(Elements { rest: &rest[4..] }),
        _ => Err(Malformed("a document does not end with zero")),
    }
}

/// Iterates over elements; ends after the first fault.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        let element = element(kind, rest);
        self.rest = match &element {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(element.map(|(element, _)| element))
    }
}

fn element(kind: u8, bytes: &[u8]) -> Result<(Element<'_>, &[u8]), Malformed> {
    let (key, rest) = cstring(bytes)?;
    let length = length(kind, rest)?;
    let (value, rest) = rest
        .split_at_checked(length)
        .ok_or(Malformed("an element is cut off"))?;
    Ok((Element { kind, key, value }, rest))
}

/// How many bytes the value at the beginning of `bytes` has.
pub(super) fn length(kind: u8, bytes: &[u8]) -> Result<usize, Malformed> {
    let prefixed = |extra: usize| {
        let length = usize::try_from(int32(bytes)?).map_err(|_| Malformed("a negative length"))?;
        Ok(length.saturating_add(extra))
    };
    Ok(match kind {
        kind::DOUBLE | kind::DATE | kind::TIMESTAMP | kind::INT64 => 8,
        kind::STRING | kind::CODE | kind::SYMBOL => prefixed(4)?,
        kind::DOCUMENT | kind::ARRAY | kind::CODE_WITH_SCOPE => prefixed(0)?,
        kind::BINARY => prefixed(5)?,
        kind::UNDEFINED | kind::NULL | kind::MIN_KEY | kind::MAX_KEY => 0,
        kind::OBJECT_ID => 12,
        kind::BOOLEAN => 1,
        kind::REGEX => {
            let (pattern, rest) = cstring(bytes)?;
            let (options, _) = cstring(rest)?;
            pattern.len() + options.len() + 2
        }
        kind::DB_POINTER => prefixed(4 + 12)?,
        kind::INT32 => 4,
        kind::DECIMAL128 => 16,
        _ => return Err(Malformed("an unknown type")),
    })
}

/// The four bytes at the beginning as a number.
///
/// # Errors
/// Where there are fewer.
pub fn int32(bytes: &[u8]) -> Result<i32, Malformed> {
    bytes
        .first_chunk()
        .map(|bytes| i32::from_le_bytes(*bytes))
        .ok_or(Malformed("a number is cut off"))
}

/// The eight bytes at the beginning as a number.
///
/// # Errors
/// Where there are fewer.
pub fn int64(bytes: &[u8]) -> Result<i64, Malformed> {
    bytes
        .first_chunk()
        .map(|bytes| i64::from_le_bytes(*bytes))
        .ok_or(Malformed("a number is cut off"))
}

/// A text that ends with zero, and what follows it.
///
/// # Errors
/// Where the zero is missing or it is not UTF-8.
pub fn cstring(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let end = memchr::memchr(0, bytes).ok_or(Malformed("a name does not end"))?;
    let text = str::from_utf8(&bytes[..end]).map_err(|_| Malformed("a name is not UTF-8"))?;
    Ok((text, &bytes[end + 1..]))
}

/// A text with its length before it, and what follows it.
///
/// # Errors
/// Where the length is wrong or it is not UTF-8.
pub fn string(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let length = usize::try_from(int32(bytes)?).map_err(|_| Malformed("a negative length"))?;
    let (text, rest) = bytes[4..]
        .split_at_checked(length)
        .ok_or(Malformed("a text is cut off"))?;
    let Some((0, text)) = text.split_last() else {
        return Err(Malformed("a text does not end with zero"));
    };
    let text = str::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8"))?;
    Ok((text, rest))
}

/// The element with this key, if there is one and everything before it is well-formed.
#[must_use]
pub fn get<'a>(document: &'a [u8], key: &str) -> Option<Element<'a>> {
    elements(document)
        .ok()?
        .map_while(Result::ok)
        .find(|element| element.key == key)
}
