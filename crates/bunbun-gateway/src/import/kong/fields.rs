//! Reading a mapping field by field: what is left over at the end is not silently dropped but
//! listed.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::{ImportError, Untranslated, is_printable};

/// A result of reading.
pub(super) type Outcome<T> = Result<T, ImportError>;

/// Most entries of the list; a file with more is no configuration of a person.
const MAX_ENTRIES: usize = 5_000;

/// The list of what has no counterpart.
#[derive(Debug, Default)]
pub(super) struct Findings {
    entries: Vec<Untranslated>,
    overflow: bool,
}

impl Findings {
    /// Adds an entry.
    pub(super) fn note(
        &mut self,
        path: impl Into<String>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.entries.len() >= MAX_ENTRIES {
            self.overflow = true;
            return;
        }
        self.entries.push(Untranslated {
            path: path.into(),
            reason: reason.into(),
            hint: hint.into(),
        });
    }

    /// The entries, unless there were too many.
    pub(super) fn finish(mut self) -> Outcome<Vec<Untranslated>> {
        if self.overflow {
            return Err(ImportError::TooMany {
                what: "parts that cannot be translated",
                limit: MAX_ENTRIES,
            });
        }
        // A route with several paths may say the same of each.
        let mut told = HashSet::new();
        self.entries
            .retain(|entry| told.insert((entry.path.clone(), entry.reason.clone())));
        Ok(self.entries)
    }
}

/// A text of the file for a message: short, printable.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if is_printable(c) { c } else { '?' })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// Whether a text is filled in later, from the environment or a vault.
pub(super) fn is_placeholder(text: &str) -> bool {
    text.contains('$') || text.contains("{vault://")
}

/// Names for entries of a list: `services[auth]`, or by position where there is no name.
pub(super) fn label(parent: &str, list: &str, name: Option<&str>, index: usize) -> String {
    let dot = if parent.is_empty() { "" } else { "." };
    match name {
        Some(name) => format!("{parent}{dot}{list}[{}]", shown(name)),
        None => format!("{parent}{dot}{list}[{index}]"),
    }
}

/// A mapping that is being read.
#[derive(Debug)]
pub(super) struct Fields {
    /// Where it stands.
    pub(super) path: String,
    map: Map<String, Value>,
}

impl Fields {
    /// A mapping at a path.
    pub(super) fn new(value: Value, path: String) -> Outcome<Self> {
        match value {
            Value::Object(map) => Ok(Self { path, map }),
            Value::Null => Ok(Self {
                path,
                map: Map::new(),
            }),
            _ => Err(ImportError::Shape {
                path,
                expected: "a mapping",
            }),
        }
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn shape<T>(&self, key: &str, expected: &'static str) -> Outcome<T> {
        Err(ImportError::Shape {
            path: self.at(key),
            expected,
        })
    }

    /// Takes a field as it is; `null` is no field.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// Takes a text. Numbers and booleans are what YAML makes of an unquoted text.
    pub(super) fn text(&mut self, key: &str) -> Outcome<Option<String>> {
        self.take(key)
            .map_or(Ok(None), |value| match as_text(value) {
                Some(text) => Ok(Some(text)),
                None => self.shape(key, "a text"),
            })
    }

    /// Takes a list of texts; one text is a list of one.
    pub(super) fn texts(&mut self, key: &str) -> Outcome<Option<Vec<String>>> {
        let values = match self.take(key) {
            None => return Ok(None),
            Some(Value::Array(values)) => values,
            // An empty list as Lua writes it.
            Some(Value::Object(map)) if map.is_empty() => Vec::new(),
            Some(value) => vec![value],
        };
        let texts: Option<Vec<String>> = values.into_iter().map(as_text).collect();
        texts.map_or_else(
            || self.shape(key, "a list of texts"),
            |texts| Ok(Some(texts)),
        )
    }

    /// Takes a flag.
    pub(super) fn flag(&mut self, key: &str) -> Outcome<Option<bool>> {
        self.take(key).map_or(Ok(None), |value| match value {
            Value::Bool(flag) => Ok(Some(flag)),
            _ => self.shape(key, "true or false"),
        })
    }

    /// Takes a number, not negative.
    pub(super) fn number(&mut self, key: &str) -> Outcome<Option<f64>> {
        self.take(key).map_or(Ok(None), |value| {
            match value.as_f64().filter(|number| *number >= 0.0) {
                Some(number) => Ok(Some(number)),
                None => self.shape(key, "a number that is not negative"),
            }
        })
    }

    /// Takes a whole number, not negative.
    pub(super) fn whole(&mut self, key: &str) -> Outcome<Option<u64>> {
        self.take(key).map_or(Ok(None), |value| {
            // 60000.0 is a whole number as well.
            let whole = value.as_u64().or_else(|| {
                let number = value.as_f64()?;
                let fits = number.fract() == 0.0 && (0.0..1e15).contains(&number);
                fits.then(|| format!("{number:.0}").parse().ok())?
            });
            whole.map_or_else(
                || self.shape(key, "a whole number that is not negative"),
                |number| Ok(Some(number)),
            )
        })
    }

    /// Takes a list of anything.
    pub(super) fn list(&mut self, key: &str) -> Outcome<Vec<Value>> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(Value::Object(map)) if map.is_empty() => Ok(Vec::new()),
            Some(_) => self.shape(key, "a list"),
        }
    }

    /// Takes a mapping; one that is not there is empty.
    pub(super) fn fields(&mut self, key: &str) -> Outcome<Self> {
        let path = self.at(key);
        Self::new(self.take(key).unwrap_or(Value::Null), path)
    }

    /// Takes a reference to another entity: its name or id, alone or in a mapping.
    pub(super) fn reference(&mut self, key: &str) -> Outcome<Option<String>> {
        match self.map.get(key) {
            Some(Value::Object(_)) => {
                let mut fields = self.fields(key)?;
                for by in ["id", "name", "username"] {
                    if let Some(text) = fields.text(by)? {
                        return Ok(Some(text));
                    }
                }
                self.shape(key, "a name or an id")
            }
            _ => self.text(key),
        }
    }

    /// Takes a field whose value matters only when it is not the default; lists it then.
    /// Returns whether it was listed.
    pub(super) fn expect(
        &mut self,
        key: &str,
        default: &Value,
        findings: &mut Findings,
        hint: &str,
    ) -> bool {
        let differs = self.take(key).is_some_and(|value| value != *default);
        if differs {
            findings.note(self.at(key), "has no counterpart", hint);
        }
        differs
    }

    /// Takes fields that have no bearing on requests.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.map.remove(*key);
        }
    }

    /// Lists what is left, but for book-keeping and comments.
    pub(super) fn finish(mut self, findings: &mut Findings, hint: &str) {
        self.ignore(&[
            "id",
            "tags",
            "created_at",
            "updated_at",
            "ws_id",
            "cache_key",
        ]);
        for (key, value) in &self.map {
            let is_comment = key.starts_with('_') && key != "_config";
            if !is_comment && !is_empty(value) {
                findings.note(self.at(&shown(key)), "has no counterpart", hint);
            }
        }
    }
}

fn as_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
