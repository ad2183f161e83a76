//! Numbers and booleans of JSON bodies that come as text: the original's schemas turn `"60"` into
//! 60 and `"true"` into true, and clients rely on it.

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Itself(T),
    Text(String),
}

fn read<'de, T, D>(deserializer: D, what: &str) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + std::str::FromStr,
    D: Deserializer<'de>,
{
    let written = Option::<Written<T>>::deserialize(deserializer)
        .map_err(|_| Error::custom(format!("must be {what}")))?;
    match written {
        None => Ok(None),
        Some(Written::Itself(value)) => Ok(Some(value)),
        Some(Written::Text(text)) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| Error::custom(format!("must be {what}"))),
    }
}

/// A whole number.
pub(crate) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    read(deserializer, "integer")?.ok_or_else(|| Error::custom("must be integer"))
}

/// A whole number, null or nothing.
pub(crate) fn optional_integer<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + std::str::FromStr,
    D: Deserializer<'de>,
{
    read(deserializer, "integer")
}

/// True, false, null or nothing.
pub(crate) fn optional_boolean<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    read(deserializer, "boolean")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(deserialize_with = "super::integer")]
        number: i64,
        #[serde(default, deserialize_with = "super::optional_boolean")]
        flag: Option<bool>,
    }

    #[test]
    fn text_counts_as_what_it_says() {
        for (json, number, flag) in [
            (r#"{"number": 60}"#, 60, None),
            (r#"{"number": "60", "flag": "true"}"#, 60, Some(true)),
            (r#"{"number": -1, "flag": null}"#, -1, None),
            (r#"{"number": 0, "flag": false}"#, 0, Some(false)),
        ] {
            let body: Body = serde_json::from_str(json).unwrap();
            assert_eq!((body.number, body.flag), (number, flag), "{json}");
        }
        for json in [
            r#"{}"#,
            r#"{"number": "x"}"#,
            r#"{"number": []}"#,
            r#"{"number": 1, "flag": "maybe"}"#,
        ] {
            assert!(serde_json::from_str::<Body>(json).is_err(), "{json}");
        }
    }
}
