//! The type wrappers of Extended JSON: objects that stand for a value of another type.
//!
//! They are recognised on the document that the object became: what stands inside a wrapper has
//! been converted already.

use std::str::FromStr as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mongodb::bson::{Decimal128, oid::ObjectId};
use uuid::Uuid;

use super::date;
use crate::mongodb::raw::{self, Element, kind};

/// Whether an object with this key must be a type wrapper.
pub(super) fn is_key(key: &[u8]) -> bool {
    key.first() == Some(&b'$')
        && matches!(
            &key[1..],
            b"oid"
                | b"symbol"
                | b"numberInt"
                | b"numberLong"
                | b"numberDouble"
                | b"numberDecimal"
                | b"binary"
                | b"uuid"
                | b"code"
                | b"timestamp"
                | b"regularExpression"
                | b"dbPointer"
                | b"date"
                | b"minKey"
                | b"maxKey"
                | b"undefined"
        )
}

/// Appends the value that the wrapper stands for; its type.
pub(super) fn convert(document: &[u8], out: &mut Vec<u8>) -> Result<u8, String> {
    let members: Vec<Element<'_>> = raw::elements(document)
        .and_then(Iterator::collect)
        .map_err(|error| error.to_string())?;
    let [first, rest @ ..] = members.as_slice() else {
        return Err("an empty type wrapper".to_owned());
    };
    if let Some(kind) = pair(&members, out)? {
        return Ok(kind);
    }
    let name = members
        .iter()
        .find(|member| is_key(member.key.as_bytes()))
        .map_or(first.key, |member| member.key);
    if !rest.is_empty() {
        return Err(format!("{name} beside other keys"));
    }
    single(first, out).ok_or_else(|| format!("a value that {name} cannot have"))
}

/// The wrappers of two keys, in any order.
fn pair(members: &[Element<'_>], out: &mut Vec<u8>) -> Result<Option<u8>, String> {
    let (Some(code), Some(scope)) = (find(members, "$code"), find(members, "$scope")) else {
        let (Some(binary), Some(subtype)) = (find(members, "$binary"), find(members, "$type"))
        else {
            return Ok(None);
        };
        // The form of Extended JSON v1.
        let is_legacy = members.len() == 2 && binary.kind == kind::STRING;
        let kind = is_legacy.then(|| append_binary(binary.as_str()?, subtype.as_str()?, out));
        return kind
            .flatten()
            .map(Some)
            .ok_or_else(|| "a value that $binary cannot have".to_owned());
    };
    if members.len() != 2 || scope.kind != kind::DOCUMENT || code.kind != kind::STRING {
        return Err("a value that $code with $scope cannot have".to_owned());
    }
    let length = i32::try_from(4 + code.value.len() + scope.value.len());
    let length = length.map_err(|_| "a $code that is too long")?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(code.value);
    out.extend_from_slice(scope.value);
    Ok(Some(kind::CODE_WITH_SCOPE))
}

fn find<'e, 'a>(members: &'e [Element<'a>], key: &str) -> Option<&'e Element<'a>> {
    members.iter().find(|member| member.key == key)
}

/// The wrappers of one key; `None` where the value is not of its kind.
fn single(member: &Element<'_>, out: &mut Vec<u8>) -> Option<u8> {
    match member.key {
        "$oid" => {
            let id = ObjectId::parse_str(member.as_str()?).ok()?;
            out.extend_from_slice(&id.bytes());
            Some(kind::OBJECT_ID)
        }
        "$symbol" => same_form(member, kind::SYMBOL, out),
        "$code" => same_form(member, kind::CODE, out),
        "$numberInt" => {
            let number: i32 = integer(member.as_str()?)?.try_into().ok()?;
            out.extend_from_slice(&number.to_le_bytes());
            Some(kind::INT32)
        }
        "$numberLong" => {
            out.extend_from_slice(&integer(member.as_str()?)?.to_le_bytes());
            Some(kind::INT64)
        }
        "$numberDouble" => {
            out.extend_from_slice(&double(member.as_str()?)?.to_le_bytes());
            Some(kind::DOUBLE)
        }
        "$numberDecimal" => {
            let text = member.as_str().filter(|text| is_decimal(text))?;
            let number = Decimal128::from_str(text).ok()?;
            out.extend_from_slice(&number.bytes());
            Some(kind::DECIMAL128)
        }
        "$binary" => {
            let [base64, subtype] = members(member, ["base64", "subType"])?;
            append_binary(base64.as_str()?, subtype.as_str()?, out)
        }
        "$uuid" => append_uuid(member.as_str()?, out),
        "$timestamp" => {
            let [seconds, increment] = members(member, ["t", "i"])?;
            let bits = u64::from(unsigned(&seconds)?) << 32 | u64::from(unsigned(&increment)?);
            out.extend_from_slice(&bits.to_le_bytes());
            Some(kind::TIMESTAMP)
        }
        "$regularExpression" => {
            let [pattern, options] = members(member, ["pattern", "options"])?;
            append_regex(pattern.as_str()?, options.as_str()?, out)
        }
        "$dbPointer" => {
            let [namespace, id] = members(member, ["$ref", "$id"])?;
            if namespace.kind != kind::STRING || id.kind != kind::OBJECT_ID {
                return None;
            }
            out.extend_from_slice(namespace.value);
            out.extend_from_slice(id.value);
            Some(kind::DB_POINTER)
        }
        "$date" => {
            let milliseconds = match member.kind {
                kind::INT64 => raw::int64(member.value).ok()?,
                _ => date::parse(member.as_str()?)?,
            };
            out.extend_from_slice(&milliseconds.to_le_bytes());
            Some(kind::DATE)
        }
        "$minKey" => is_one(member).then_some(kind::MIN_KEY),
        "$maxKey" => is_one(member).then_some(kind::MAX_KEY),
        "$undefined" => {
            (member.kind == kind::BOOLEAN && member.value == [1]).then_some(kind::UNDEFINED)
        }
        _ => None,
    }
}

/// Exactly these members of a wrapper's document, in any order.
fn members<'a, const N: usize>(member: &Element<'a>, keys: [&str; N]) -> Option<[Element<'a>; N]> {
    if member.kind != kind::DOCUMENT {
        return None;
    }
    let all: Vec<Element<'a>> = raw::elements(member.value)
        .ok()?
        .collect::<Result<_, _>>()
        .ok()?;
    let found: Vec<Element<'a>> = keys
        .iter()
        .filter_map(|key| find(&all, key).copied())
        .collect();
    (all.len() == N).then(|| found.try_into().ok()).flatten()
}

/// A string's bytes are those of a symbol or code, too.
fn same_form(member: &Element<'_>, kind: u8, out: &mut Vec<u8>) -> Option<u8> {
    member.as_str()?;
    out.extend_from_slice(member.value);
    Some(kind)
}

fn is_one(member: &Element<'_>) -> bool {
    member.kind == kind::INT32 && raw::int32(member.value) == Ok(1)
}

fn unsigned(member: &Element<'_>) -> Option<u32> {
    match member.kind {
        kind::INT32 => raw::int32(member.value).ok()?.try_into().ok(),
        kind::INT64 => raw::int64(member.value).ok()?.try_into().ok(),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    // Rust would take a plus sign as well.
    (!text.starts_with('+'))
        .then(|| text.parse().ok())
        .flatten()
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust's other names of these would pass otherwise.
        _ if text
            .bytes()
            .any(|b| b.is_ascii_alphabetic() && b != b'e' && b != b'E') =>
        {
            None
        }
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The grammar of decimal numbers, which bson's own reader takes loosely: digits with at most one
/// point and an exponent, or the name of a special value.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["inf", "infinity", "nan"]
        .iter()
        .any(|name| unsigned.eq_ignore_ascii_case(name))
    {
        return true;
    }
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (significand, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((significand, exponent)) => (significand, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = significand.split_once('.').unwrap_or((significand, ""));
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && are_digits(digits)
    });
    are_digits(whole) && are_digits(fraction) && whole.len() + fraction.len() > 0 && exponent_is_one
}

fn append_binary(base64: &str, subtype: &str, out: &mut Vec<u8>) -> Option<u8> {
    if !(1..=2).contains(&subtype.len()) || !subtype.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let subtype = u8::from_str_radix(subtype, 16).ok()?;
    let bytes = STANDARD.decode(base64).ok()?;
    let length = i32::try_from(bytes.len()).ok()?;
    if subtype == 0x02 {
        out.extend_from_slice(&length.checked_add(4)?.to_le_bytes());
        out.push(subtype);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.extend_from_slice(&length.to_le_bytes());
        out.push(subtype);
    }
    out.extend_from_slice(&bytes);
    Some(kind::BINARY)
}

/// Appends a UUID in its usual form as binary of subtype 4.
fn append_uuid(text: &str, out: &mut Vec<u8>) -> Option<u8> {
    let id = Uuid::try_parse(text).ok()?;
    // The crate reads other forms, too.
    if !id.hyphenated().to_string().eq_ignore_ascii_case(text) {
        return None;
    }
    out.extend_from_slice(&16_i32.to_le_bytes());
    out.push(0x04);
    out.extend_from_slice(id.as_bytes());
    Some(kind::BINARY)
}

fn append_regex(pattern: &str, options: &str, out: &mut Vec<u8>) -> Option<u8> {
    if pattern.contains('\0') || options.contains('\0') {
        return None;
    }
    // BSON wants the options in alphabetical order.
    let mut options = options.as_bytes().to_vec();
    options.sort_unstable();
    out.extend_from_slice(pattern.as_bytes());
    out.push(0);
    // Options are ASCII in practice; sorted bytes of others would be no text.
    out.extend_from_slice(options.is_ascii().then_some(options.as_slice())?);
    out.push(0);
    Some(kind::REGEX)
}
