//! A document's `_id` as a segment of a URL's path.
//!
//! | segment | `_id` |
//! | --- | --- |
//! | 24 hexadecimal digits | an ObjectId |
//! | a UUID in its usual form | binary of subtype 4 |
//! | an integer of 64 bits | that number, whichever numeric type it is stored as |
//! | what begins with `{` or `"` | Extended JSON: `{"$numberDecimal":"1.5"}`, `"507f…"` as a string |
//! | `ejson:` and Extended JSON | any value: `ejson:true` |
//! | `ejson64:` and that in base64url | any value, also with what no path may hold (`\`, controls) |
//! | anything else | a string |

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mongodb::bson::{Binary, RawDocumentBuf, oid::ObjectId, raw::cstr, spec::BinarySubtype};
use uuid::Uuid;

use super::{ejson, fault, raw, raw::kind};
use crate::Error;

/// An `_id`: a document with it under the empty key.
#[derive(Debug, Clone)]
pub struct DocumentId(RawDocumentBuf);

impl DocumentId {
    /// Reads a path segment, percent-decoded.
    ///
    /// # Errors
    /// Where it announces Extended JSON and is none, or has a type that no `_id` has.
    pub fn from_segment(segment: &str) -> Result<Self, Error> {
        let mut document = RawDocumentBuf::new();
        let key = cstr!("");
        if let Some(text) = segment.strip_prefix("ejson:") {
            return Self::from_text(text);
        } else if let Some(text) = segment.strip_prefix("ejson64:") {
            let text = URL_SAFE_NO_PAD.decode(text).ok();
            let text = text.and_then(|text| String::from_utf8(text).ok());
            let no_text = || fault::invalid("The id in the path is no base64url of a text.", "/id");
            return Self::from_text(&text.ok_or_else(no_text)?);
        } else if segment.starts_with(['{', '"']) {
            return Self::from_text(segment);
        } else if segment.len() == 24
            && let Ok(id) = ObjectId::parse_str(segment)
        {
            document.append(key, id);
        } else if segment.len() == 36
            && let Ok(id) = Uuid::try_parse(segment)
        {
            let (subtype, bytes) = (BinarySubtype::Uuid, id.as_bytes().to_vec());
            document.append(key, Binary { subtype, bytes });
        } else if is_integer(segment)
            && let Ok(number) = segment.parse::<i64>()
        {
            match i32::try_from(number) {
                Ok(number) => document.append(key, number),
                Err(_) => document.append(key, number),
            }
        } else {
            document.append(key, segment);
        }
        Ok(Self(document))
    }

    fn from_text(text: &str) -> Result<Self, Error> {
        let document = ejson::parse_value(text.as_bytes())
            .map_err(|error| fault::invalid(format!("The id in the path: {error}."), "/id"))?;
        let is_impossible = raw::get(document.as_bytes(), "").is_none_or(|element| {
            matches!(element.kind, kind::ARRAY | kind::REGEX | kind::UNDEFINED)
        });
        if is_impossible {
            return Err(fault::invalid(
                "No document has an _id of this type.",
                "/id",
            ));
        }
        Ok(Self(document))
    }

    /// `{_id: …}`.
    pub(super) fn filter(&self) -> RawDocumentBuf {
        let mut filter = RawDocumentBuf::new();
        // `$eq`, so that a document as id is a value and not a set of operators.
        filter.append(
            cstr!("_id"),
            super::command::single("$eq", super::command::lone(&self.0)),
        );
        filter
    }

    /// The document with this `_id` as its first member, where it had none; `None` where it has
    /// another one.
    pub(super) fn put_into(&self, document: &RawDocumentBuf) -> Option<RawDocumentBuf> {
        let ours = raw::get(self.0.as_bytes(), "")?;
        match raw::get(document.as_bytes(), "_id") {
            // Numbers of different types may be the same id; the server decides.
            Some(theirs) if theirs.kind == ours.kind => {
                (theirs.value == ours.value).then(|| document.clone())
            }
            Some(theirs) => {
                (is_number(theirs.kind) && is_number(ours.kind)).then(|| document.clone())
            }
            None => Some(with_id(&self.0, document)),
        }
    }
}

fn with_id(id: &RawDocumentBuf, document: &RawDocumentBuf) -> RawDocumentBuf {
    let mut all = RawDocumentBuf::new();
    all.append(cstr!("_id"), super::command::lone(id));
    super::command::extend(&mut all, document);
    all
}

const fn is_number(kind: u8) -> bool {
    matches!(
        kind,
        kind::INT32 | kind::INT64 | kind::DOUBLE | kind::DECIMAL128
    )
}

/// Decimal digits with an optional minus, as a number writes itself: `007` is a string.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" && digits.len() == text.len() || !digits.starts_with('0'))
}

/// The document with an `_id` as its first member: its own, else a new ObjectId.
pub(super) fn ensure_id(document: &RawDocumentBuf) -> RawDocumentBuf {
    if raw::get(document.as_bytes(), "_id").is_some() {
        return document.clone();
    }
    let mut id = RawDocumentBuf::new();
    id.append(cstr!(""), ObjectId::new());
    with_id(&id, document)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

    use super::DocumentId;

    fn id(segment: &str) -> Bson {
        let filter = DocumentId::from_segment(segment).expect(segment).filter();
        let filter = Document::try_from(filter).expect("a document");
        let value = filter.get_document("_id").expect("a condition");
        value.get("$eq").expect("a value").clone()
    }

    #[test]
    fn a_segment_becomes_the_type_that_it_looks_like() {
        let hex = "5f5e1d0e8b0c4b3a9c1d2e3f";
        assert_eq!(
            id(hex),
            Bson::ObjectId(ObjectId::parse_str(hex).expect("hex"))
        );
        assert_eq!(id("42"), Bson::Int32(42));
        assert_eq!(id("-5000000000"), Bson::Int64(-5_000_000_000));
        for text in [
            "007",
            "-0",
            "1.5",
            "9223372036854775808",
            "true",
            "",
            "-",
            "a/b",
            "$where",
        ] {
            assert_eq!(id(text), Bson::String(text.into()), "{text}");
        }
        assert!(matches!(
            id("73ffd264-44b3-4c69-90e8-e7d1dfc035d4"),
            Bson::Binary(_)
        ));
    }

    #[test]
    fn extended_json_reaches_every_other_type() {
        assert_eq!(id(r#""42""#), Bson::String("42".into()));
        assert_eq!(id(r#"{"$numberDouble":"1.5"}"#), Bson::Double(1.5));
        assert_eq!(id("ejson:true"), Bson::Boolean(true));
        assert_eq!(id("ejson:null"), Bson::Null);
        assert_eq!(id(r#"{"a":1}"#), Bson::Document(doc! { "a": 1 }));
        // Operators are a value here, not a condition.
        assert_eq!(id(r#"{"$gt":""}"#), Bson::Document(doc! { "$gt": "" }));
        for text in ["{", "ejson:", "ejson:[1]", r#"{"$oid":"x"}"#, r#""a" "b""#] {
            DocumentId::from_segment(text).expect_err(text);
        }
    }
}
