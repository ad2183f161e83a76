//! What a collection's documents look like, from a sample of them.

use std::collections::BTreeMap;

use mongodb::bson::{RawArrayBuf, RawDocumentBuf, raw::cstr};

use super::{
    Mongodb,
    client::Batches,
    command::{Command, single},
    fault,
    namespace::Namespace,
    raw::{self, Element, kind},
};
use crate::Error;

/// Most documents of a sample.
pub const MAX_SAMPLE: usize = 10_000;
/// Most different paths that are told apart.
const MAX_PATHS: usize = 2000;
/// How deep documents are looked into.
const MAX_DEPTH: usize = 20;

/// How a field looks where it has one type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TypeStats {
    /// Values of this type.
    pub count: u64,
    /// The least number, date in milliseconds since 1970, or length of a string or array.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
}

/// A field in all documents of the sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldStats {
    /// Documents or elements that have it.
    pub count: u64,
    /// By type, as `$type` names them.
    pub types: BTreeMap<&'static str, TypeStats>,
}

/// The fields of a sample, by path: `a.b`, and `a[]` for the elements of an array.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// Documents that were looked at.
    pub sampled: u64,
    /// By path.
    pub fields: BTreeMap<String, FieldStats>,
    /// Whether there are more paths than are told apart.
    pub truncated: bool,
}

impl Mongodb {
    /// Looks at up to `size` documents: random ones where the server can, else the first.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn schema(&self, namespace: &Namespace<'_>, size: usize) -> Result<Schema, Error> {
        let size = i64::try_from(size.min(MAX_SAMPLE)).unwrap_or(i64::MAX);
        let mut stages = RawArrayBuf::new();
        stages.push(single("$sample", single("size", size)));
        let sample = Command::new(cstr!("aggregate"), namespace.collection)
            .set(cstr!("pipeline"), stages)
            .set(cstr!("cursor"), &*RawDocumentBuf::new());
        let batches = match self.open(namespace.database, sample).await {
            Err(error) if fault::is_query_refused(&error) => {
                let first =
                    Command::new(cstr!("find"), namespace.collection).set(cstr!("limit"), size);
                self.open(namespace.database, first).await?
            }
            other => other?,
        };
        let mut schema = Schema::default();
        schema.read(batches).await?;
        Ok(schema)
    }
}

impl Schema {
    async fn read(&mut self, mut batches: Batches) -> Result<(), Error> {
        while let Some(batch) = batches.next().await? {
            let documents = batch.doc_slices().map_err(fault::from_driver)?;
            for document in raw::elements(documents.as_bytes()).map_err(fault::malformed)? {
                let document = document.map_err(fault::malformed)?;
                self.sampled += 1;
                self.document(document.value, &mut String::new(), 0)?;
            }
        }
        Ok(())
    }

    fn document(&mut self, document: &[u8], path: &mut String, depth: usize) -> Result<(), Error> {
        for element in raw::elements(document).map_err(fault::malformed)? {
            let element = element.map_err(fault::malformed)?;
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(element.key);
            self.value(element, path, depth)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn value(
        &mut self,
        element: Element<'_>,
        path: &mut String,
        depth: usize,
    ) -> Result<(), Error> {
        if !self.note(element, path) || depth == MAX_DEPTH {
            return Ok(());
        }
        match element.kind {
            kind::DOCUMENT => self.document(element.value, path, depth + 1),
            kind::ARRAY => {
                let length = path.len();
                path.push_str("[]");
                for inner in raw::elements(element.value).map_err(fault::malformed)? {
                    self.value(inner.map_err(fault::malformed)?, path, depth + 1)?;
                }
                path.truncate(length);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts a value; `false` where its path is one too many.
    fn note(&mut self, element: Element<'_>, path: &str) -> bool {
        if !self.fields.contains_key(path) {
            if self.fields.len() == MAX_PATHS {
                self.truncated = true;
                return false;
            }
            self.fields.insert(path.to_owned(), FieldStats::default());
        }
        if let Some(field) = self.fields.get_mut(path) {
            field.count += 1;
            let stats = field.types.entry(name(element.kind)).or_default();
            stats.count += 1;
            if let Some(measure) = measure(element) {
                stats.min = Some(stats.min.map_or(measure, |least| least.min(measure)));
                stats.max = Some(stats.max.map_or(measure, |most| most.max(measure)));
            }
        }
        true
    }
}

/// A number to compare values of a type by.
#[expect(
    clippy::cast_precision_loss,
    reason = "an overview needs no last digits"
)]
fn measure(element: Element<'_>) -> Option<f64> {
    match element.kind {
        kind::INT32 => raw::int32(element.value).ok().map(f64::from),
        kind::INT64 | kind::DATE => raw::int64(element.value).ok().map(|n| n as f64),
        kind::DOUBLE => {
            let bits = raw::int64(element.value).ok()?.cast_unsigned();
            Some(f64::from_bits(bits)).filter(|number| number.is_finite())
        }
        kind::STRING => element.as_str().map(|text| text.chars().count() as f64),
        kind::ARRAY => raw::elements(element.value)
            .ok()
            .map(|all| all.count() as f64),
        _ => None,
    }
}

/// The types' names in `$type`.
const fn name(kind: u8) -> &'static str {
    match kind {
        kind::DOUBLE => "double",
        kind::STRING => "string",
        kind::DOCUMENT => "object",
        kind::ARRAY => "array",
        kind::BINARY => "binData",
        kind::UNDEFINED => "undefined",
        kind::OBJECT_ID => "objectId",
        kind::BOOLEAN => "bool",
        kind::DATE => "date",
        kind::NULL => "null",
        kind::REGEX => "regex",
        kind::DB_POINTER => "dbPointer",
        kind::CODE => "javascript",
        kind::SYMBOL => "symbol",
        kind::CODE_WITH_SCOPE => "javascriptWithScope",
        kind::INT32 => "int",
        kind::TIMESTAMP => "timestamp",
        kind::INT64 => "long",
        kind::DECIMAL128 => "decimal",
        kind::MIN_KEY => "minKey",
        kind::MAX_KEY => "maxKey",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, doc};

    use super::{MAX_PATHS, Schema};

    #[test]
    fn fields_are_counted_by_path_and_type() {
        let mut schema = Schema::default();
        for document in [
            doc! { "a": 1, "b": { "c": "xy" }, "d": [1, "x", { "e": true }] },
            doc! { "a": 5.5, "b": { "c": "wxyz" }, "d": [] },
            doc! { "a": 3 },
        ] {
            let raw = RawDocumentBuf::try_from(&document).expect("encodes");
            schema
                .document(raw.as_bytes(), &mut String::new(), 0)
                .expect("well-formed");
        }
        let paths: Vec<_> = schema
            .fields
            .iter()
            .map(|(path, field)| (path.as_str(), field.count))
            .collect();
        assert_eq!(
            paths,
            [
                ("a", 3),
                ("b", 2),
                ("b.c", 2),
                ("d", 2),
                ("d[]", 3),
                ("d[].e", 1)
            ]
        );
        let a = &schema.fields["a"].types;
        assert_eq!(
            (a["int"].count, a["int"].min, a["int"].max),
            (2, Some(1.0), Some(3.0))
        );
        assert_eq!(a["double"].count, 1);
        let c = &schema.fields["b.c"].types["string"];
        assert_eq!((c.min, c.max), (Some(2.0), Some(4.0)));
    }

    #[test]
    fn endless_paths_end() {
        let mut schema = Schema::default();
        let document: mongodb::bson::Document =
            (0..3000).map(|n| (format!("k{n}"), n.into())).collect();
        let raw = RawDocumentBuf::try_from(&document).expect("encodes");
        schema
            .document(raw.as_bytes(), &mut String::new(), 0)
            .expect("well-formed");
        assert_eq!((schema.fields.len(), schema.truncated), (MAX_PATHS, true));
    }
}
