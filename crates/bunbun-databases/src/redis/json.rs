//! Any answer of Redis as JSON.

use redis::Value;
use serde_json::{Map, Number, json};

use super::text::TextEncoding;

/// Whether every string in the answer is text.
pub(super) fn encoding_of(value: &Value) -> TextEncoding {
    let fits = match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).is_ok(),
        Value::Array(all) | Value::Set(all) | Value::Push { data: all, .. } => all
            .iter()
            .all(|value| encoding_of(value) == TextEncoding::Utf8),
        Value::Map(pairs) => pairs.iter().all(|(name, value)| {
            encoding_of(name) == TextEncoding::Utf8 && encoding_of(value) == TextEncoding::Utf8
        }),
        Value::Attribute { data, .. } => encoding_of(data) == TextEncoding::Utf8,
        _ => true,
    };
    if fits {
        TextEncoding::Utf8
    } else {
        TextEncoding::Base64
    }
}

/// The answer as JSON, its strings in the given encoding.
pub(super) fn write(value: Value, encoding: TextEncoding) -> serde_json::Value {
    let all = |values: Vec<Value>| -> serde_json::Value {
        values
            .into_iter()
            .map(|value| write(value, encoding))
            .collect()
    };
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Int(number) => number.into(),
        Value::BulkString(bytes) => encoding.write(&bytes).into(),
        Value::SimpleString(text) => text.into(),
        Value::VerbatimString { text, .. } => text.into(),
        Value::Okay => "OK".into(),
        Value::Boolean(truth) => truth.into(),
        Value::Double(number) => score(number),
        Value::BigNumber(number) => number.to_string().into(),
        Value::Array(values) | Value::Set(values) => all(values),
        Value::Push { data, .. } => all(data),
        Value::Attribute { data, .. } => write(*data, encoding),
        Value::ServerError(error) => json!({ "error": error.code() }),
        Value::Map(pairs) => {
            let mut members = Map::new();
            for (name, value) in pairs {
                let name = match write(name, encoding) {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                members.insert(name, write(value, encoding));
            }
            members.into()
        }
        _ => serde_json::Value::Null,
    }
}

/// A number, or `"inf"`, `"-inf"`, `"nan"`, which JSON does not know.
#[must_use]
pub fn score(number: f64) -> serde_json::Value {
    Number::from_f64(number).map_or_else(
        || number.to_string().to_lowercase().into(),
        serde_json::Value::Number,
    )
}
