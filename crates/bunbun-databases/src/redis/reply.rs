//! Taking answers apart. A server may answer anything; nothing here trusts its shape.

use std::collections::HashMap;

use redis::{Value, VerbatimFormat};

/// The elements of a list or set; whatever else is empty.
pub(super) fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) | Value::Set(values) => values,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
        _ => Vec::new(),
    }
}

/// Pairs of a map, or of a list in which names and values alternate.
pub(super) fn pairs(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Map(pairs) => pairs,
        other => {
            let mut values = list(other).into_iter();
            let mut pairs = Vec::with_capacity(values.len() / 2);
            while let (Some(name), Some(value)) = (values.next(), values.next()) {
                pairs.push((name, value));
            }
            pairs
        }
    }
}

/// Pairs by their names.
pub(super) fn map(value: Value) -> HashMap<String, Value> {
    pairs(value)
        .into_iter()
        .filter_map(|(name, value)| Some((text(&name)?, value)))
        .collect()
}

/// Any scalar as text, lossily where it is none.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The bytes of a string.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::VerbatimString {
            format: VerbatimFormat::Text | VerbatimFormat::Markdown | VerbatimFormat::Unknown(_),
            text,
        } => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// A whole number.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// A number that is not negative.
pub(super) fn count(value: &Value) -> u64 {
    integer(value)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// A score.
pub(super) fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}
