//! Raw BSON to Extended JSON text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mongodb::bson::Decimal128;

use super::{Format, date, number, text};
use crate::mongodb::raw::{self, Malformed, kind};

/// Deepest nesting that is written; MongoDB itself stores 100 levels.
const MAX_DEPTH: usize = 200;

/// Appends a document as a JSON object.
///
/// # Errors
/// Where the bytes are not one BSON document; `out` has a part of it then.
pub fn write_document(bytes: &[u8], format: Format, out: &mut Vec<u8>) -> Result<(), Malformed> {
    Writer { format, out }.document(bytes, 0)
}

/// Appends an array as a JSON array.
///
/// # Errors
/// Where the bytes are not one BSON array; `out` has a part of it then.
pub fn write_array(bytes: &[u8], format: Format, out: &mut Vec<u8>) -> Result<(), Malformed> {
    Writer { format, out }.array(bytes, 0)
}

/// Appends one value.
///
/// # Errors
/// Where the bytes are not a value of the element's type; `out` has a part of it then.
pub fn write_value(
    element: &raw::Element<'_>,
    format: Format,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    Writer { format, out }.value(element.kind, element.value, 0)
}

struct Writer<'o> {
    format: Format,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn document(&mut self, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nested too deeply"));
        }
        let mut separator = b'{';
        for element in raw::elements(bytes)? {
            let element = element?;
            self.out.push(separator);
            separator = b',';
            text::write(element.key, self.out);
            self.out.push(b':');
            self.value(element.kind, element.value, depth + 1)?;
        }
        if separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("nested too deeply"));
        }
        let mut separator = b'[';
        for element in raw::elements(bytes)? {
            let element = element?;
            self.out.push(separator);
            separator = b',';
            self.value(element.kind, element.value, depth + 1)?;
        }
        if separator == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
        Ok(())
    }

    fn value(&mut self, kind: u8, value: &[u8], depth: usize) -> Result<(), Malformed> {
        match kind {
            kind::STRING => text::write(whole(value)?, self.out),
            kind::DOCUMENT => self.document(value, depth)?,
            kind::ARRAY => self.array(value, depth)?,
            kind::NULL => self.put("null"),
            kind::BOOLEAN => match value {
                [0] => self.put("false"),
                [1] => self.put("true"),
                _ => return Err(Malformed("a boolean is neither 0 nor 1")),
            },
            kind::DOUBLE | kind::INT32 | kind::INT64 | kind::DECIMAL128 => {
                self.number(kind, value)?;
            }
            kind::OBJECT_ID => self.object_id(value)?,
            kind::DATE => self.date(raw::int64(value)?),
            kind::BINARY => self.binary(value)?,
            kind::UNDEFINED => self.put(r#"{"$undefined":true}"#),
            kind::MIN_KEY => self.put(r#"{"$minKey":1}"#),
            kind::MAX_KEY => self.put(r#"{"$maxKey":1}"#),
            kind::REGEX => {
                let (pattern, rest) = raw::cstring(value)?;
                let (options, _) = raw::cstring(rest)?;
                self.put(r#"{"$regularExpression":{"pattern":"#);
                text::write(pattern, self.out);
                self.put(r#","options":"#);
                text::write(options, self.out);
                self.put("}}");
            }
            kind::TIMESTAMP => {
                let bits = raw::int64(value)?.cast_unsigned();
                self.put(r#"{"$timestamp":{"t":"#);
                self.put(itoa::Buffer::new().format(bits >> 32));
                self.put(r#","i":"#);
                self.put(itoa::Buffer::new().format(bits & 0xFFFF_FFFF));
                self.put("}}");
            }
            kind::CODE => {
                self.put(r#"{"$code":"#);
                text::write(whole(value)?, self.out);
                self.out.push(b'}');
            }
            kind::CODE_WITH_SCOPE => {
                let (code, scope) = raw::string(value.get(4..).unwrap_or_default())?;
                self.put(r#"{"$code":"#);
                text::write(code, self.out);
                self.put(r#","$scope":"#);
                self.document(scope, depth + 1)?;
                self.out.push(b'}');
            }
            kind::SYMBOL => {
                self.put(r#"{"$symbol":"#);
                text::write(whole(value)?, self.out);
                self.out.push(b'}');
            }
            kind::DB_POINTER => {
                let (namespace, id) = raw::string(value)?;
                self.put(r#"{"$dbPointer":{"$ref":"#);
                text::write(namespace, self.out);
                self.put(r#","$id":"#);
                self.object_id(id)?;
                self.put("}}");
            }
            _ => return Err(Malformed("an unknown type")),
        }
        Ok(())
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, kind: u8, value: &[u8]) -> Result<(), Malformed> {
        let relaxed = self.format != Format::Canonical;
        match kind {
            kind::INT32 | kind::INT64 => {
                let (name, number) = if kind == kind::INT32 {
                    (r#"{"$numberInt":""#, i64::from(raw::int32(value)?))
                } else {
                    (r#"{"$numberLong":""#, raw::int64(value)?)
                };
                if !relaxed {
                    self.put(name);
                }
                self.put(itoa::Buffer::new().format(number));
                if !relaxed {
                    self.put(r#""}"#);
                }
            }
            kind::DOUBLE => {
                let number = f64::from_bits(raw::int64(value)?.cast_unsigned());
                if relaxed && number.is_finite() {
                    number::write_double(number, self.out);
                } else {
                    self.put(r#"{"$numberDouble":""#);
                    number::write_double(number, self.out);
                    self.put(r#""}"#);
                }
            }
            _ => {
                let bytes = value
                    .try_into()
                    .map_err(|_| Malformed("a decimal is cut off"))?;
                let text = Decimal128::from_bytes(bytes).to_string();
                self.wrapped(r#"{"$numberDecimal":"#, |writer| {
                    writer.out.push(b'"');
                    writer.put(&text);
                    writer.out.push(b'"');
                });
            }
        }
        Ok(())
    }

    /// A string in its wrapper, or bare where the form is plain.
    fn wrapped(&mut self, wrapper: &str, write: impl FnOnce(&mut Self)) {
        if self.format == Format::Plain {
            return write(self);
        }
        self.put(wrapper);
        write(self);
        self.out.push(b'}');
    }

    fn object_id(&mut self, value: &[u8]) -> Result<(), Malformed> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        if value.len() != 12 {
            return Err(Malformed("an ObjectId has not 12 bytes"));
        }
        self.wrapped(r#"{"$oid":"#, |writer| {
            writer.out.push(b'"');
            for byte in value {
                writer.out.push(DIGITS[usize::from(byte >> 4)]);
                writer.out.push(DIGITS[usize::from(byte & 15)]);
            }
            writer.out.push(b'"');
        });
        Ok(())
    }

    fn date(&mut self, milliseconds: i64) {
        if self.format != Format::Canonical && date::is_readable(milliseconds) {
            self.wrapped(r#"{"$date":"#, |writer| {
                writer.out.push(b'"');
                date::write(milliseconds, writer.out);
                writer.out.push(b'"');
            });
        } else {
            self.put(r#"{"$date":{"$numberLong":""#);
            self.put(itoa::Buffer::new().format(milliseconds));
            self.put(r#""}}"#);
        }
    }

    fn binary(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let (&subtype, mut bytes) = value
            .get(4..)
            .and_then(<[u8]>::split_first)
            .ok_or(Malformed("a binary value is cut off"))?;
        // The old generic type has its length twice.
        if subtype == 0x02 {
            let inner = raw::int32(bytes)?;
            bytes = &bytes[4..];
            if usize::try_from(inner) != Ok(bytes.len()) {
                return Err(Malformed("a binary value's two lengths differ"));
            }
        }
        let is_plain = self.format == Format::Plain;
        self.put(if is_plain {
            "\""
        } else {
            r#"{"$binary":{"base64":""#
        });
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        STANDARD
            .encode_slice(bytes, &mut self.out[start..])
            .map_err(|_| Malformed("a binary value is too long"))?;
        if is_plain {
            self.out.push(b'"');
            return Ok(());
        }
        self.put(r#"","subType":""#);
        let (high, low) = (subtype >> 4, subtype & 15);
        for digit in [high, low] {
            self.out
                .push(char::from_digit(digit.into(), 16).map_or(b'0', |c| c as u8));
        }
        self.put(r#""}}"#);
        Ok(())
    }
}

/// A text that is the whole value.
fn whole(value: &[u8]) -> Result<&str, Malformed> {
    match raw::string(value)? {
        (text, []) => Ok(text),
        _ => Err(Malformed("a text is longer than it says")),
    }
}
