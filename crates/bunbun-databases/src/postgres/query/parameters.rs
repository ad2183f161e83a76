//! JSON values to parameters of a statement, by the types that the statement itself wants.
//!
//! Parameters travel in text form, so that every type is served, also those that only the server
//! knows. What can be checked here is checked here, for a message that names the parameter; the
//! rest is refused by PostgreSQL. JSON's `null` is always SQL's null. Numbers beyond the precision
//! of JSON readers are written as strings.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{BufMut, BytesMut};
use serde_json::{Number, Value, json};
use tokio_postgres::types::{IsNull, Type};

use super::{
    super::error::Error,
    data_type::{Conversion, DataType},
};

/// PostgreSQL's limit of array dimensions.
const MOST_DIMENSIONS: usize = 6;

/// The greatest integer up to which every integer has an exact JSON number.
const SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

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
pub fn encode(value: &Value, data_type: &Type, out: &mut BytesMut) -> Result<IsNull, Unfit> {
    encode_as(value, &DataType::of(data_type), out)
}

/// As [`encode`], with a type that may be the user's own.
///
/// # Errors
/// As [`encode`].
pub fn encode_as(value: &Value, data_type: &DataType, out: &mut BytesMut) -> Result<IsNull, Unfit> {
    if value.is_null() {
        return Ok(IsNull::Yes);
    }
    match &data_type.conversion {
        Conversion::Bool => out.put_slice(boolean(value)?),
        Conversion::Integer { least, greatest } => {
            let number = integer(value)?;
            if number < i128::from(*least) || number > i128::from(*greatest) {
                return Err(Unfit::new(format!(
                    "out of the range of {}",
                    data_type.name
                )));
            }
            out.put_slice(number.to_string().as_bytes());
        }
        Conversion::Float | Conversion::Numeric => decimal(value, &data_type.name, out)?,
        Conversion::Json => json_text(value, out),
        Conversion::Bytes => bytes(value, out)?,
        Conversion::Uuid => {
            let text = value
                .as_str()
                .ok_or_else(|| Unfit::new("expected a UUID as a string"))?;
            let id = uuid::Uuid::try_parse(text).map_err(|_| Unfit::new("not a UUID"))?;
            out.put_slice(
                id.hyphenated()
                    .encode_lower(&mut uuid::Uuid::encode_buffer())
                    .as_bytes(),
            );
        }
        Conversion::Instant => {
            let Value::String(text) = value else {
                return Err(Unfit::new(format!(
                    "expected {} as ISO 8601 text",
                    data_type.name
                )));
            };
            instant(text, out)?;
        }
        Conversion::Array { element, delimiter } => match value {
            Value::Array(items) => array(items, element, *delimiter, 1, out)?,
            Value::String(text) => plain(text, out)?,
            _ => {
                return Err(Unfit::new(format!(
                    "expected an array for {}",
                    data_type.name
                )));
            }
        },
        Conversion::Text => match value {
            Value::String(text) => plain(text, out)?,
            other => json_text(other, out),
        },
        Conversion::Other => match value {
            Value::String(text) => plain(text, out)?,
            Value::Array(_) | Value::Object(_) => {
                return Err(Unfit::new(format!(
                    "write a value of type {} as a string in PostgreSQL's own form",
                    data_type.name
                )));
            }
            other => json_text(other, out),
        },
    }
    Ok(IsNull::No)
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

fn json_text(value: &Value, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out.writer(), value);
}

fn boolean(value: &Value) -> Result<&'static [u8], Unfit> {
    let truth = match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
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

fn integer(value: &Value) -> Result<i128, Unfit> {
    let expected = || Unfit::new("expected an integer, as a number or a numeric string");
    match value {
        Value::Number(number) => whole(number).ok_or_else(expected),
        Value::String(text) => text.trim().parse().map_err(|_| expected()),
        _ => Err(expected()),
    }
}

fn whole(number: &Number) -> Option<i128> {
    if let Some(integer) = number.as_i128() {
        return Some(integer);
    }
    let float = number.as_f64()?;
    (float.fract() == 0.0 && float.abs() <= SAFE_INTEGER).then_some(float as i128)
}

fn decimal(value: &Value, name: &str, out: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Value::Number(number) => out.put_slice(number.to_string().as_bytes()),
        Value::String(text) if is_decimal(text.trim()) => out.put_slice(text.trim().as_bytes()),
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
fn bytes(value: &Value, out: &mut BytesMut) -> Result<(), Unfit> {
    const INDIFFERENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT);
    let expected = || Unfit::new("expected bytes as base64");
    let text = value.as_str().ok_or_else(expected)?;
    if let Some(hex) = text.strip_prefix("\\x") {
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(expected());
        }
        out.put_slice(text.as_bytes());
        return Ok(());
    }
    let decoded = STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
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
    items: &[Value],
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
    // An array inside an array of JSON is an element, not a dimension.
    let nests = element.conversion != Conversion::Json;
    out.put_u8(b'{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.put_u8(delimiter);
        }
        match item {
            Value::Array(inner) if nests => {
                array(inner, element, delimiter, dimension + 1, out)?;
            }
            Value::Null => out.put_slice(b"NULL"),
            item => {
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
