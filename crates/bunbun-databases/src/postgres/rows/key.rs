//! A row's key in a URL: the text of its value, or, for several columns and for a text that begins
//! with `[` or `~`, a JSON list of the values in the order of the key. What no path may hold, such
//! as control characters and dot segments, goes as `~` and that list in base64url.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, value::RawValue};

use super::{
    super::{error::Error, query::Parameter},
    shape::{Shape, TableName},
    statement::{Place, Statement, refused},
};

/// The key as it stands in a URL, before percent-encoding.
pub(super) fn write(values: &[&RawValue]) -> String {
    if let [value] = values {
        let text = match serde_json::from_str::<Value>(value.get()) {
            Ok(Value::String(text)) => text,
            _ => value.get().to_owned(),
        };
        if !text.starts_with(['[', '~']) && may_stand_in_a_path(&text) {
            return text;
        }
    }
    let items: Vec<&str> = values.iter().map(|value| value.get()).collect();
    let list = format!("[{}]", items.join(","));
    if may_stand_in_a_path(&list) {
        return list;
    }
    format!("~{}", URL_SAFE_NO_PAD.encode(list))
}

/// Whether every server on the way reads a path with this text, percent-encoded, in one way.
fn may_stand_in_a_path(text: &str) -> bool {
    let is_dots = |part: &str| {
        let name = part.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    };
    !text.is_empty()
        && !text.chars().any(|char| char.is_control() || char == '\\')
        && !text.split('/').any(is_dots)
}

/// The values of a key.
pub(super) fn read(key: &str, shape: &Shape, table: &TableName) -> Result<Vec<Parameter>, Error> {
    if shape.key.is_empty() {
        return Err(Error::NotAllowed {
            message: format!(
                "'{}.{}' has no primary key, and no unique index over columns that are never null, \
                 by which one row could be told from the others; use POST /query.",
                table.schema, table.name
            ),
        });
    }
    let place = Place::new("/key", "key");
    let columns = shape.key.join(", ");
    let list = |json: &[u8]| {
        serde_json::from_slice::<Vec<Parameter>>(json)
            .map_err(|_| refused(&place, "not a list in JSON"))
    };
    let values = match key.as_bytes() {
        [b'[', ..] => list(key.as_bytes())?,
        [b'~', encoded @ ..] => {
            let json = URL_SAFE_NO_PAD.decode(encoded);
            list(&json.map_err(|_| refused(&place, "not base64url"))?)?
        }
        _ => vec![Value::String(key.to_owned()).into()],
    };
    if values.len() != shape.key.len() {
        let message = format!("expected a JSON list of the values of {columns}");
        return Err(refused(&place, message));
    }
    if values.iter().any(|value| value.json().get() == "null") {
        return Err(refused(&place, "a key is never null"));
    }
    Ok(values)
}

/// Writes the condition that a row has this key.
pub(super) fn write_condition(values: &[Parameter], shape: &Shape, out: &mut Statement) {
    for (index, (name, value)) in shape.key.iter().zip(values).enumerate() {
        out.push(if index > 0 { " and " } else { "" });
        out.column(name);
        out.push(" = ");
        out.bind(value.clone(), Place::new("/key", "key"));
        if let Some(text_type) = shape.text_type(name) {
            out.push("::text::");
            out.push(text_type);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{may_stand_in_a_path, write};

    #[test]
    fn a_key_is_written_so_that_it_can_be_read() {
        let key = |values: &[&str]| {
            let values: Vec<Box<RawValue>> = values
                .iter()
                .map(|value| RawValue::from_string((*value).to_owned()).expect("JSON"))
                .collect();
            write(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>())
        };
        assert_eq!(key(&["42"]), "42");
        assert_eq!(key(&["\"a/b\""]), "a/b");
        assert_eq!(key(&["\"[x\""]), "[\"[x\"]");
        assert_eq!(key(&["\"\""]), "[\"\"]");
        assert_eq!(key(&["\"~x\""]), "[\"~x\"]");
        assert_eq!(key(&["\"..\""]), "[\"..\"]");
        for hidden in ["\"a/../b\"", "\"a\\\\b\"", "\"\\r\\n\"", "\"./x\""] {
            let key = key(&[hidden]);
            assert!(
                key.starts_with('~') || key.starts_with("[\""),
                "{hidden}: {key}"
            );
            assert!(may_stand_in_a_path(&key), "{hidden}: {key}");
        }
        assert_eq!(key(&["1", "\"a\""]), "[1,\"a\"]");
    }
}
