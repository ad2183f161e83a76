//! Pages of documents: where the next one begins.
//!
//! Sorted by `_id`, which is unique and never changes, a page begins behind the last document of
//! the one before: inserts and deletes meanwhile neither repeat nor hide anything. In any other
//! order, which has no such key, it begins after as many documents as were shown.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mongodb::bson::{
    RawArrayBuf, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
};
use sha2::{Digest as _, Sha256};

use super::{command::lone, fault, raw, raw::kind};
use crate::Error;

/// Most items of a page.
pub const MAX_LIMIT: usize = 1000;
/// Items of a page where nobody says how many.
pub const DEFAULT_LIMIT: usize = 100;

/// Where a page begins.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// At the beginning.
    First,
    /// Behind the document with this `_id`, which stands under the empty key.
    After(RawDocumentBuf),
    /// After so many.
    Offset(u64),
}

/// The direction in which `_id`s go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// A short digest of what is asked for, so that a cursor is not used for another question.
pub(super) fn question(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

/// The text of a cursor.
pub(super) fn encode(question: [u8; 8], start: &Start) -> Option<String> {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("q"), i64::from_le_bytes(question));
    match start {
        Start::First => return None,
        Start::After(id) => document.append(cstr!("a"), lone(id)),
        Start::Offset(offset) => {
            document.append(cstr!("o"), i64::try_from(*offset).unwrap_or(i64::MAX));
        }
    }
    Some(URL_SAFE_NO_PAD.encode(document.as_bytes()))
}

/// Reads a cursor; none is the beginning.
pub(super) fn decode(text: Option<&str>, question: [u8; 8]) -> Result<Start, Error> {
    let Some(text) = text else {
        return Ok(Start::First);
    };
    let wrong = || {
        fault::invalid(
            "The cursor is not one of this query; take next_cursor of the page before, with the \
             same filter, sort and projection.",
            "/cursor",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    let asked = raw::get(&bytes, "q").filter(|element| element.kind == kind::INT64);
    if asked.map(|element| element.value) != Some(&question) {
        return Err(wrong());
    }
    if let Some(offset) = raw::get(&bytes, "o").filter(|element| element.kind == kind::INT64) {
        let offset = raw::int64(offset.value).map_err(|_| wrong())?;
        return u64::try_from(offset)
            .map(Start::Offset)
            .map_err(|_| wrong());
    }
    let document = RawDocument::from_bytes(&bytes).map_err(|_| wrong())?;
    let id = document.get("a").ok().flatten().ok_or_else(wrong)?;
    let mut value = RawDocumentBuf::new();
    value.append(cstr!(""), id);
    Ok(Start::After(value))
}

/// The types that an `_id` can have, in the server's order, by their number in `$type`. Numbers
/// compare with one another, and texts with symbols.
const ORDER: &[&[i32]] = &[
    &[MIN_KEY],
    &[10],
    &[NUMBER, 16, 18, 19],
    &[TEXT, 14],
    &[3],
    &[5],
    &[7],
    &[8],
    &[9],
    &[17],
    &[MAX_KEY],
];
const MIN_KEY: i32 = -1;
const MAX_KEY: i32 = 127;
const NUMBER: i32 = 1;
const TEXT: i32 = 2;

/// Which documents behind an `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Those with one of the same type; they come first.
    SameType,
    /// Those with one of the types behind it.
    OtherTypes,
}

/// A condition for the documents behind an `_id`; `None` where there can be none. Comparisons hold
/// within a type only, so the types behind it are named; `rare`: also the values that FerretDB does
/// not know.
pub(super) fn behind(
    id: &RawDocument,
    direction: Direction,
    part: Part,
    rare: bool,
) -> Option<RawDocumentBuf> {
    let operator: &CStr = match direction {
        Direction::Up => cstr!("$gt"),
        Direction::Down => cstr!("$lt"),
    };
    let number = raw::get(id.as_bytes(), "").map_or(0, |element| match element.kind {
        kind::MIN_KEY => MIN_KEY,
        other => i32::from(other),
    });
    let place = ORDER
        .iter()
        .position(|types| types.contains(&number))
        .unwrap_or_default();
    let others = match direction {
        Direction::Up => &ORDER[place + 1..],
        Direction::Down => &ORDER[..place],
    };
    if part == Part::SameType {
        let same = on_id(operator, lone(id));
        let nan = raw::get(id.as_bytes(), "").and_then(|id| around_nan(id, direction));
        return Some(match nan.filter(|_| rare) {
            Some(nan) => any([same, nan]),
            None => same,
        });
    }
    let mut choices = Vec::new();
    for &types in others {
        match types {
            [MIN_KEY | MAX_KEY] if !rare => {}
            [NUMBER, ..] => {
                choices.push(on_id(cstr!("$gte"), f64::NEG_INFINITY));
                if rare {
                    choices.push(on_id(cstr!("$eq"), f64::NAN));
                }
            }
            [TEXT, ..] => choices.push(on_id(cstr!("$gte"), "")),
            _ => types
                .iter()
                .for_each(|&number| choices.push(on_id(cstr!("$type"), number))),
        }
    }
    (!choices.is_empty()).then(|| any(choices))
}

fn any(conditions: impl IntoIterator<Item = RawDocumentBuf>) -> RawDocumentBuf {
    let mut choices = RawArrayBuf::new();
    for condition in conditions {
        choices.push(condition);
    }
    let mut any = RawDocumentBuf::new();
    any.append(cstr!("$or"), choices);
    any
}

/// NaN sorts before all numbers, but compares with none.
fn around_nan(id: raw::Element<'_>, direction: Direction) -> Option<RawDocumentBuf> {
    let is_nan = id.kind == kind::DOUBLE
        && raw::int64(id.value).is_ok_and(|bits| f64::from_bits(bits.cast_unsigned()).is_nan());
    let is_number = matches!(
        id.kind,
        kind::DOUBLE | kind::INT32 | kind::INT64 | kind::DECIMAL128
    );
    match direction {
        Direction::Up if is_nan => Some(on_id(cstr!("$gte"), f64::NEG_INFINITY)),
        Direction::Down if is_number && !is_nan => Some(on_id(cstr!("$eq"), f64::NAN)),
        _ => None,
    }
}

fn on_id(operator: &CStr, value: impl mongodb::bson::raw::BindRawBsonRef) -> RawDocumentBuf {
    let mut condition = RawDocumentBuf::new();
    condition.append(operator, value);
    let mut on_id = RawDocumentBuf::new();
    on_id.append(cstr!("_id"), condition);
    on_id
}

/// How a sort can go on: by `_id` alone, or not at all by a key.
pub(super) fn direction(sort: Option<&RawDocument>) -> Option<Direction> {
    let Some(sort) = sort else {
        return Some(Direction::Up);
    };
    let mut elements = raw::elements(sort.as_bytes()).ok()?;
    let first = elements.next().transpose().ok()?;
    let Some(first) = first else {
        return Some(Direction::Up);
    };
    if first.key != "_id" || elements.next().is_some() {
        return None;
    }
    match sort.get("_id").ok().flatten()? {
        mongodb::bson::RawBsonRef::Int32(1) | mongodb::bson::RawBsonRef::Int64(1) => {
            Some(Direction::Up)
        }
        mongodb::bson::RawBsonRef::Int32(-1) | mongodb::bson::RawBsonRef::Int64(-1) => {
            Some(Direction::Down)
        }
        mongodb::bson::RawBsonRef::Double(1.0) => Some(Direction::Up),
        mongodb::bson::RawBsonRef::Double(-1.0) => Some(Direction::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, raw::cstr};

    use super::{Start, decode, encode, question};

    #[test]
    fn a_cursor_is_good_for_its_own_question_only() {
        let mut id = RawDocumentBuf::new();
        id.append(cstr!(""), "last");
        let ours = question(&[b"filter", b"sort"]);
        for start in [Start::After(id), Start::Offset(7)] {
            let text = encode(ours, &start).expect("not the first page");
            let back = decode(Some(&text), ours).expect("ours");
            assert_eq!(format!("{back:?}"), format!("{start:?}"));
            decode(Some(&text), question(&[b"filter", b"other"])).expect_err("another question");
        }
        // The parts are told apart.
        assert_ne!(question(&[b"ab", b"c"]), question(&[b"a", b"bc"]));
        for text in ["", "AAAA", "?", "BQAAAAA"] {
            decode(Some(text), ours).expect_err(text);
        }
    }
}
