//! YAML into a value tree, with bounds on everything that a hostile file could inflate.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{
    Error,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

use super::super::ImportError;

/// Largest file in bytes; a stack's own has some 15 KB.
const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting; Kong's own schema needs eight.
const MAX_DEPTH: usize = 32;
/// Most nodes, those that aliases repeat included.
const MAX_NODES: usize = 300_000;
/// Most bytes of text, that which aliases repeat included.
const MAX_TEXT_BYTES: usize = 4 * MAX_BYTES;
/// What each node costs besides its text: [`MAX_NODES`] of them use the budget up.
const NODE_BYTES: usize = 32;

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, ImportError> {
    if text.len() > MAX_BYTES {
        return Err(ImportError::TooLarge { limit: MAX_BYTES });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            // One is allowed; the second is noticed as such.
            max_documents: 2,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_total_scalar_bytes: MAX_TEXT_BYTES,
            max_recorded_anchor_events: MAX_NODES,
            max_recorded_anchor_bytes: MAX_TEXT_BYTES,
        },
        // Kong's parser takes the last of two equal keys, most others the first: refuse.
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        with_snippet: false,
    };
    let left = Cell::new(MAX_TEXT_BYTES + MAX_NODES * NODE_BYTES);
    let tree = Tree { left: &left };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        tree.deserialize(deserializer)
    })
    .map_err(|error| fault(&error, left.get() == 0))
}

/// The fault without the library's wording, which quotes the text: it may hold keys.
fn fault(error: &Error, exhausted: bool) -> ImportError {
    let error = error.without_snippet();
    let (line, column) = error
        .location()
        .map_or((0, 0), |location| (location.line(), location.column()));
    let problem = match error {
        _ if exhausted => "too much text, or repeated too often by aliases",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "nested too deeply, too long, or repeated too often by aliases"
        }
        Error::DuplicateMappingKey { .. } => "the same key twice",
        Error::MultipleDocuments { .. } => "more than one document",
        _ => "not understood",
    };
    ImportError::Yaml {
        line,
        column,
        problem,
    }
}

/// Builds a tree and counts what it costs. The library's budget is for what the file spells
/// out; a long text that aliases repeat is counted here.
#[derive(Clone, Copy)]
struct Tree<'c> {
    left: &'c Cell<usize>,
}

impl Tree<'_> {
    fn pay<E: serde::de::Error>(self, text_bytes: usize) -> Result<(), E> {
        let left = self.left.get().saturating_sub(text_bytes + NODE_BYTES);
        self.left.set(left);
        if left == 0 {
            return Err(E::custom("too much text"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.pay(0)?;
        Ok(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.pay(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.pay(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        self.pay(0)?;
        Ok(value.into())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.pay(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.pay(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.pay(0)?;
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.pay(0)?;
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(self)? {
            let Value::String(key) = key else {
                return Err(A::Error::custom("a key that is no text"));
            };
            map.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}
