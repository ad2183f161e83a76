//! YAML into a value tree, with bounds on everything that a hostile file could inflate.

use serde_json::Value;
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
    serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(&error))
}

/// The fault without the library's wording, which quotes the text: it may hold keys.
fn fault(error: &Error) -> ImportError {
    let error = error.without_snippet();
    let (line, column) = error
        .location()
        .map_or((0, 0), |location| (location.line(), location.column()));
    let problem = match error {
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "nested too deeply, too long, or repeated too often by aliases"
        }
        Error::AliasError { .. } => "an alias to nothing, or to too much",
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
