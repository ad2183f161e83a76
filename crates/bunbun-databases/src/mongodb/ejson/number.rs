//! Doubles as text: the shortest that reads back as the same, always with a point.

use std::io::Write as _;

/// Appends a double as the specification writes it: `1.0`, `1.2345678921232E+18`, `NaN`.
pub(super) fn write_double(number: f64, out: &mut Vec<u8>) {
    if number.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if number.is_infinite() {
        let text: &[u8] = if number > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        };
        out.extend_from_slice(text);
    } else {
        write_finite(number, out);
    }
}

fn write_finite(number: f64, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing into memory does not fail.
    let _ = write!(out, "{number:?}");
    let Some(exponent) = out[start..].iter().position(|&byte| byte == b'e') else {
        return;
    };
    let exponent = start + exponent;
    let tail = out.split_off(exponent + 1);
    out[exponent] = b'E';
    if !out[start..].contains(&b'.') {
        out.truncate(exponent);
        out.extend_from_slice(b".0E");
    }
    if tail.first() != Some(&b'-') {
        out.push(b'+');
    }
    out.extend_from_slice(&tail);
}
