//! Values of rows, from PostgreSQL's text form to JSON and CSV.
//!
//! Everything is written straight from the bytes of the wire. A value that does not look as its
//! type should is written as a string: an answer is valid JSON whatever the server sends.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::data_type::{Conversion, DataType};

/// Integers of more digits may exceed 2^53−1 = 9007199254740991.
const SAFE_DIGITS: usize = 16;
const SAFE_INTEGER: u64 = 9_007_199_254_740_991;

/// PostgreSQL's limit of array dimensions.
const MOST_DIMENSIONS: usize = 6;

/// Appends a value as JSON; `None` is null.
pub fn write_json(value: Option<&[u8]>, data_type: &DataType, out: &mut Vec<u8>) {
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    match &data_type.conversion {
        Conversion::Bool => write_bool(value, out),
        Conversion::Integer { .. } if is_safe_integer(value) => out.extend_from_slice(value),
        Conversion::Float if is_json_number(value) => out.extend_from_slice(value),
        Conversion::Json => write_raw_json(value, out),
        Conversion::Bytes => {
            out.push(b'"');
            write_base64(value, out);
            out.push(b'"');
        }
        Conversion::Instant => {
            let mut text = Vec::with_capacity(value.len() + 4);
            write_instant(value, &mut text);
            write_string(&text, out);
        }
        Conversion::Array { element, delimiter } => {
            let start = out.len();
            if write_array(value, element, *delimiter, out).is_none() {
                out.truncate(start);
                write_string(value, out);
            }
        }
        _ => write_string(value, out),
    }
}

/// Appends a value as a CSV field after RFC 4180; null is the empty field, an empty text `""`.
pub fn write_csv(value: Option<&[u8]>, data_type: &DataType, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    let mut converted = Vec::new();
    let text: &[u8] = match &data_type.conversion {
        Conversion::Bool => {
            write_bool(value, &mut converted);
            &converted
        }
        Conversion::Bytes => {
            write_base64(value, &mut converted);
            &converted
        }
        Conversion::Instant => {
            write_instant(value, &mut converted);
            &converted
        }
        Conversion::Array { .. } => {
            write_json(Some(value), data_type, &mut converted);
            &converted
        }
        _ => value,
    };
    write_csv_text(text, out);
}

/// Appends a text as a CSV field.
pub(super) fn write_csv_text(text: &[u8], out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty()
        || text
            .iter()
            .any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !needs_quotes {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends a JSON string. Bytes that are no UTF-8, from a database without an encoding, become
/// U+FFFD.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let lossy;
    let text = match std::str::from_utf8(text) {
        Ok(_) => text,
        Err(_) => {
            lossy = String::from_utf8_lossy(text);
            lossy.as_bytes()
        }
    };
    out.push(b'"');
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text[start..at]);
        if escape.is_empty() {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
        start = at + 1;
    }
    out.extend_from_slice(&text[start..]);
    out.push(b'"');
}

fn write_bool(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if value == b"t" { b"true" } else { b"false" });
}

fn is_safe_integer(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    !digits.is_empty()
        && digits.len() <= SAFE_DIGITS
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().fold(0, |number: u64, digit| {
            number * 10 + u64::from(digit - b'0')
        }) <= SAFE_INTEGER
}

/// Whether PostgreSQL's form of a float is JSON's too: all but `NaN` and `Infinity` are.
fn is_json_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'))
}

/// JSON as the server keeps it. Line breaks between its tokens become spaces, for the formats that
/// have one row per line; inside of strings they are escaped anyway.
fn write_raw_json(value: &[u8], out: &mut Vec<u8>) {
    if std::str::from_utf8(value).is_err() {
        write_string(value, out);
        return;
    }
    let start = out.len();
    out.extend_from_slice(value);
    if memchr::memchr2(b'\n', b'\r', value).is_some() {
        for byte in &mut out[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

fn write_base64(value: &[u8], out: &mut Vec<u8>) {
    let bytes = match value.strip_prefix(b"\\x") {
        Some(hex) => hex
            .chunks_exact(2)
            .map(|pair| (hex_digit(pair[0]) << 4) | hex_digit(pair[1]))
            .collect::<Vec<u8>>(),
        // A session that asked for `bytea_output = escape`.
        None => unescape(value),
    };
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The buffer is exactly as long as the padded encoding.
    let written = STANDARD
        .encode_slice(&bytes, &mut out[start..])
        .unwrap_or(0);
    out.truncate(start + written);
}

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', b'\\', rest @ ..] => {
                bytes.push(b'\\');
                rest
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// `2024-01-02 03:04:05.6+00` becomes `2024-01-02T03:04:05.6Z`; years before 1 and after 9999 get
/// ISO 8601's sign and six digits; `infinity` and whatever else stay as they are.
fn write_instant(value: &[u8], out: &mut Vec<u8>) {
    let (text, is_before_christ) = match value.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (value, false),
    };
    let year_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let year = std::str::from_utf8(&text[..year_digits])
        .ok()
        .and_then(|year| year.parse().ok());
    let (Some(year @ 1_i64..), Some(b'-')) = (year, text.get(year_digits)) else {
        out.extend_from_slice(value);
        return;
    };
    if is_before_christ && year == 1 {
        out.extend_from_slice(b"0000");
    } else if is_before_christ {
        out.extend_from_slice(format!("-{:06}", year - 1).as_bytes());
    } else if year_digits > 4 {
        out.extend_from_slice(format!("+{year:06}").as_bytes());
    } else {
        out.extend_from_slice(&text[..year_digits]);
    }
    let rest = &text[year_digits..];
    let Some(space) = memchr::memchr(b' ', rest) else {
        out.extend_from_slice(rest);
        return;
    };
    out.extend_from_slice(&rest[..space]);
    out.push(b'T');
    let time = &rest[space + 1..];
    match time.iter().position(|byte| matches!(byte, b'+' | b'-')) {
        None => out.extend_from_slice(time),
        Some(zone) => {
            out.extend_from_slice(&time[..zone]);
            match &time[zone..] {
                b"+00" => out.push(b'Z'),
                // A session that asked for another time zone: `+01` is not ISO 8601, `+01:00` is.
                offset => {
                    out.extend_from_slice(offset);
                    if offset.len() == 3 {
                        out.extend_from_slice(b":00");
                    }
                }
            }
        }
    }
}

/// `{1,NULL,"a,b"}` or, with explicit bounds, `[0:1]={1,2}`, as JSON; `None` when it is neither.
fn write_array(value: &[u8], element: &DataType, delimiter: u8, out: &mut Vec<u8>) -> Option<()> {
    let start = match value.first()? {
        b'[' => memchr::memchr(b'=', value)? + 1,
        _ => 0,
    };
    let mut rest = value.get(start..)?;
    let mut depth = 0_usize;
    let mut text = Vec::new();
    loop {
        match *rest.first()? {
            b'{' => {
                depth += 1;
                if depth > MOST_DIMENSIONS {
                    return None;
                }
                out.push(b'[');
                rest = &rest[1..];
                continue;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                out.push(b']');
                rest = &rest[1..];
                if depth == 0 {
                    return rest.is_empty().then_some(());
                }
                continue;
            }
            byte if byte == delimiter => {
                out.push(b',');
                rest = &rest[1..];
                continue;
            }
            _ if depth == 0 => return None,
            b'"' => {
                rest = quoted(&rest[1..], &mut text)?;
                write_json(Some(&text), element, out);
            }
            _ => {
                let end = rest
                    .iter()
                    .position(|&byte| byte == delimiter || byte == b'}')?;
                let item = &rest[..end];
                let is_null = item == b"NULL";
                write_json((!is_null).then_some(item), element, out);
                rest = &rest[end..];
            }
        }
    }
}

/// Reads up to the closing quote into `text`; returns what follows it.
fn quoted<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    text.clear();
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                text.push(*byte);
                rest
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests;
