//! JSON values to parameters of a statement, by the types that the statement itself wants.
//!
//! Parameters travel in text form, so that every type is served, also those that only the server
//! knows. What can be checked here is checked here, for a message that names the parameter; the
//! rest is refused by PostgreSQL. JSON's `null` is always SQL's null. Values are kept as the text
//! that the caller wrote: a number reaches PostgreSQL with every digit it has.

use std::borrow::Cow;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json, value::RawValue};
use tokio_postgres::types::{IsNull, Type};

use super::{
    super::error::Error,
    data_type::{Conversion, DataType},
};

/// PostgreSQL's limit of array dimensions.
const MOST_DIMENSIONS: usize = 6;

/// Most arrays and objects inside of each other: as many as `serde_json` reads into a [`Value`].
const DEEPEST: usize = 127;

/// Most digits of an integer; those of every type have fewer.
const MOST_DIGITS: usize = 38;

/// A parameter's value: JSON as the caller wrote it.
#[derive(Debug, Clone)]
pub struct Parameter(Box<RawValue>);

impl Parameter {
    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.0
    }
}

impl From<Value> for Parameter {
    fn from(value: Value) -> Self {
        let raw = serde_json::value::to_raw_value(&value);
        Self(raw.expect("a Value has text keys and finite numbers only"))
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // Raw text is skipped over without recursion, thus without a limit.
        if is_too_deep(raw.get()) {
            return Err(D::Error::custom(format!(
                "more than {DEEPEST} arrays and objects inside of each other"
            )));
        }
        Ok(Self(raw))
    }
}

/// Whether valid JSON nests deeper than allowed.
fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        if in_text {
            in_text = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

/// A value as far as conversion has to look into it.
enum Given<'a> {
    Null,
    Bool(bool),
    /// A number's own digits.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// The JSON text of an array.
    Array(&'a str),
    Object,
}

impl<'a> Given<'a> {
    fn read(value: &'a RawValue) -> Result<Self, Unfit> {
        let json = value.get();
        Ok(match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::Text(text(json)?),
            Some(b'[') => Self::Array(json),
            Some(b'{') => Self::Object,
            _ => Self::Number(json),
        })
    }
}

/// The text that a JSON string stands for.
fn text(json: &str) -> Result<Cow<'_, str>, Unfit> {
    match json.get(1..json.len().saturating_sub(1)) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|_| Unfit::new("a string with an escape that stands for no character")),
    }
}

/// Why a JSON value does not fit its parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unfit {
    /// What is expected; never repeats the value.
    pub message: String,
}

impl Unfit {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    /// The public error for parameter `index`, from 0.
    pub(super) fn into_error(self, index: usize) -> Error {
        let pointer = format!("/params/{index}");
        Error::Invalid {
            message: format!("Parameter ${}: {}.", index + 1, self.message),
            details: json!({"errors": [{"pointer": pointer, "message": self.message}]}),
        }
    }
}

/// Appends a value in the text form of a type. Never panics, whatever the value.
///
/// # Errors
/// [`Unfit`] when the value cannot be one of this type; what was appended then is of no use.
pub fn encode(value: &RawValue, data_type: &Type, out: &mut BytesMut) -> Result<IsNull, Unfit> {
    encode_as(value, &DataType::of(data_type), out)
}

/// As [`encode`], with a type that may be the user's own.
///
/// # Errors
/// As [`encode`].
pub fn encode_as(
    value: &RawValue,
    data_type: &DataType,
    out: &mut BytesMut,
) -> Result<IsNull, Unfit> {
    let given = Given::read(value)?;
    if matches!(given, Given::Null) {
        return Ok(IsNull::Yes);
    }
    match (&data_type.conversion, given) {
        (Conversion::Bool, given) => out.put_slice(boolean(&given)?),
        (Conversion::Integer { least, greatest }, given) => {
            let number = integer(&given)?;
            if number < i128::from(*least) || number > i128::from(*greatest) {
                return Err(Unfit::new(format!(
                    "out of the range of {}",
                    data_type.name
                )));
            }
            out.put_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        (Conversion::Float | Conversion::Numeric, given) => decimal(&given, &data_type.name, out)?,
        (Conversion::Json, _) => out.put_slice(value.get().as_bytes()),
        (Conversion::Bytes, given) => bytes(&given, out)?,
        (Conversion::Uuid, given) => uuid_text(&given, out)?,
        (Conversion::Instant, Given::Text(text)) => instant(&text, out)?,
        (Conversion::Instant, _) => {
            return Err(Unfit::new(format!(
                "expected {} as ISO 8601 text",
                data_type.name
            )));
        }
        (Conversion::Array { element, delimiter }, Given::Array(json)) => {
            array(json, element, *delimiter, 1, out)?;
        }
        (Conversion::Array { .. } | Conversion::Text | Conversion::Other, Given::Text(text)) => {
            plain(&text, out)?;
        }
        (Conversion::Array { .. }, _) => {
            return Err(Unfit::new(format!(
                "expected an array for {}",
                data_type.name
            )));
        }
        (Conversion::Other, Given::Array(_) | Given::Object) => {
            return Err(Unfit::new(format!(
                "write a value of type {} as a string in PostgreSQL's own form",
                data_type.name
            )));
        }
        (Conversion::Text | Conversion::Other, _) => out.put_slice(value.get().as_bytes()),
    }
    Ok(IsNull::No)
}

fn uuid_text(value: &Given<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    let Given::Text(text) = value else {
        return Err(Unfit::new("expected a UUID as a string"));
    };
    let id = uuid::Uuid::try_parse(text).map_err(|_| Unfit::new("not a UUID"))?;
    let mut buffer = uuid::Uuid::encode_buffer();
    out.put_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes());
    Ok(())
}

fn plain(text: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    if text.contains('\0') {
        return Err(Unfit::new(
            "PostgreSQL's texts cannot hold the character U+0000",
        ));
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

fn boolean(value: &Given<'_>) -> Result<&'static [u8], Unfit> {
    let truth = match value {
        Given::Bool(truth) => Some(*truth),
        Given::Number("0") => Some(false),
        Given::Number("1") => Some(true),
        Given::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    match truth {
        Some(true) => Ok(b"t"),
        Some(false) => Ok(b"f"),
        None => Err(Unfit::new("expected true or false")),
    }
}

fn integer(value: &Given<'_>) -> Result<i128, Unfit> {
    let expected = || Unfit::new("expected an integer, as a number or a numeric string");
    match value {
        Given::Number(number) => whole(number).ok_or_else(expected),
        Given::Text(text) => text.trim().parse().map_err(|_| expected()),
        _ => Err(expected()),
    }
}

/// A JSON number as an integer, also where it is written as `3.0` or `1e3`; `None` when it is none,
/// to the last digit, or has too many.
fn whole(number: &str) -> Option<i128> {
    // Faster than the wide type, and enough for all but the longest.
    if let Ok(integer) = number.parse::<i64>() {
        return Some(integer.into());
    }
    if let Ok(integer) = number.parse() {
        return Some(integer);
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{integer}{fraction}");
    let digits = all.trim_end_matches('0');
    if matches!(digits, "" | "-") {
        return Some(0);
    }
    let dropped = i64::try_from(all.len() - digits.len()).ok()?;
    let scale = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(dropped)?;
    let zeros = usize::try_from(scale).ok()?;
    if digits.len().checked_add(zeros)? > MOST_DIGITS {
        return None;
    }
    format!("{digits}{}", "0".repeat(zeros)).parse().ok()
}

fn decimal(value: &Given<'_>, name: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Given::Number(number) => out.put_slice(number.as_bytes()),
        Given::Text(text) if is_decimal(text.trim()) => out.put_slice(text.trim().as_bytes()),
        _ => {
            return Err(Unfit::new(format!(
                "expected a number for {name}, as a number or a numeric string"
            )));
        }
    }
    Ok(())
}

/// Whether PostgreSQL reads a text as a decimal number. Its length is not limited.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["nan", "infinity", "inf"]
        .iter()
        .any(|word| unsigned.eq_ignore_ascii_case(word))
    {
        return true;
    }
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_fits
}

/// Base64 (standard or for URLs, padded or not), or PostgreSQL's own `\x` hexadecimal.
fn bytes(value: &Given<'_>, out: &mut BytesMut) -> Result<(), Unfit> {
    const INDIFFERENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT);
    let expected = || Unfit::new("expected bytes as base64");
    let Given::Text(text) = value else {
        return Err(expected());
    };
    if let Some(hex) = text.strip_prefix("\\x") {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(expected());
        }
        out.put_slice(text.as_bytes());
        return Ok(());
    }
    let decoded = STANDARD
        .decode(text.as_bytes())
        .or_else(|_| URL_SAFE.decode(text.as_bytes()))
        .map_err(|_| expected())?;
    out.put_slice(b"\\x");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(decoded.len() * 2);
    for byte in decoded {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
    Ok(())
}

/// Dates go as they are, except for ISO 8601's year 0 and its years of six digits and a sign, which
/// PostgreSQL writes with `BC` or without sign.
fn instant(text: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    if let Some(rest) = text.strip_prefix("0000-") {
        return plain(&format!("0001-{rest} BC"), out);
    }
    let expanded = || -> Option<(i32, &str)> {
        let sign = text.starts_with(['+', '-']).then(|| text.get(..7))??;
        let rest = text.get(7..)?;
        rest.starts_with('-').then_some(())?;
        Some((sign.parse().ok()?, rest))
    };
    match expanded() {
        Some((year, rest)) if year > 0 => plain(&format!("{year:04}{rest}"), out),
        Some((year, rest)) => plain(&format!("{:04}{rest} BC", 1 - year), out),
        None => plain(text, out),
    }
}

fn array(
    json: &str,
    element: &DataType,
    delimiter: u8,
    dimension: usize,
    out: &mut BytesMut,
) -> Result<(), Unfit> {
    if dimension > MOST_DIMENSIONS {
        return Err(Unfit::new(format!(
            "an array has at most {MOST_DIMENSIONS} dimensions"
        )));
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(json).map_err(|_| Unfit::new("not an array"))?;
    // An array inside an array of JSON is an element, not a dimension.
    let nests = element.conversion != Conversion::Json;
    out.put_u8(b'{');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(delimiter);
        }
        match item.get() {
            inner if nests && inner.starts_with('[') => {
                array(inner, element, delimiter, dimension + 1, out)?;
            }
            "null" => out.put_slice(b"NULL"),
            _ => {
                let mut text = BytesMut::new();
                encode_as(item, element, &mut text)?;
                out.put_u8(b'"');
                for byte in text {
                    if matches!(byte, b'"' | b'\\') {
                        out.put_u8(b'\\');
                    }
                    out.put_u8(byte);
                }
                out.put_u8(b'"');
            }
        }
    }
    out.put_u8(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;
