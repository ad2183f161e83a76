//! Bytes in JSON and in URLs. Redis knows bytes only; what is not UTF-8 travels as base64.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use serde::{Deserialize, Serialize};

use super::error::invalid;
use crate::Error;

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextEncoding {
    /// As they are; they have to be UTF-8.
    #[default]
    Utf8,
    /// Base64, in answers with padding; in requests also the URL-safe alphabet and no padding.
    Base64,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ANY_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const ANY_URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl TextEncoding {
    /// The encoding that all of these need: base64 as soon as one is not UTF-8.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Self {
        if all
            .into_iter()
            .all(|bytes| std::str::from_utf8(bytes).is_ok())
        {
            Self::Utf8
        } else {
            Self::Base64
        }
    }

    /// Bytes as text.
    #[must_use]
    pub fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    /// Text as bytes.
    ///
    /// # Errors
    /// When it is to be base64 and is not.
    pub fn read(self, text: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Base64 => {
                // A lone `=` is how the empty key is written where something has to stand.
                let text = text.trim_end_matches('=');
                ANY_STANDARD
                    .decode(text)
                    .or_else(|_| ANY_URL_SAFE.decode(text))
                    .map_err(|_| invalid("A text that is marked as base64 is not base64."))
            }
        }
    }
}

/// Whether a pattern means exactly one key; then it is that key.
#[must_use]
pub(super) fn literal(pattern: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return None,
            b'\\' => key.push(*bytes.next().unwrap_or(byte)),
            other => key.push(*other),
        }
    }
    Some(key)
}

/// A pattern that means everything beginning with these bytes.
#[must_use]
pub(super) fn beginning_with(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::{TextEncoding, beginning_with, literal};

    #[test]
    fn base64_is_read_in_both_alphabets_with_and_without_padding() {
        for text in ["/+8=", "/+8", "_-8", "_-8="] {
            assert_eq!(
                TextEncoding::Base64.read(text).unwrap(),
                [0xff, 0xef],
                "{text}"
            );
        }
        assert_eq!(TextEncoding::Base64.read("=").unwrap(), b"");
        assert!(TextEncoding::Base64.read("no base64!").is_err());
    }

    #[test]
    fn a_text_stays_text_and_other_bytes_become_base64() {
        let all: [&[u8]; 2] = ["grün".as_bytes(), b"\r\n\0"];
        assert_eq!(TextEncoding::of(all), TextEncoding::Utf8);
        assert_eq!(TextEncoding::of([&b"\xff"[..]]), TextEncoding::Base64);
        assert_eq!(TextEncoding::Base64.write(b"\xff"), "/w==");
    }

    #[test]
    fn a_pattern_without_wildcards_is_a_key() {
        assert_eq!(literal(b"user:1").unwrap(), b"user:1");
        assert_eq!(literal(br"what\?").unwrap(), b"what?");
        assert_eq!(literal(br"ends\").unwrap(), br"ends\");
        assert!(literal(b"user:*").is_none());
        assert!(literal(b"[ab]").is_none());
        assert_eq!(beginning_with(b"a*b"), br"a\*b*");
    }
}
