//! Indexes of a collection.

use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr};

use super::{
    Mongodb,
    command::Command,
    ejson::{self, Format},
    fault,
    namespace::Namespace,
    raw::{self, kind},
};
use crate::Error;

/// The options that an index takes from a caller.
const OPTIONS: [&str; 18] = [
    "unique",
    "sparse",
    "hidden",
    "expireAfterSeconds",
    "partialFilterExpression",
    "collation",
    "weights",
    "default_language",
    "language_override",
    "textIndexVersion",
    "2dsphereIndexVersion",
    "bits",
    "min",
    "max",
    "wildcardProjection",
    "storageEngine",
    "background",
    "name",
];

impl Mongodb {
    /// The indexes as the server describes them: JSON texts of documents with `key` and `name`.
    ///
    /// # Errors
    /// `COLLECTION_NOT_FOUND`; what the server refuses.
    pub async fn indexes(
        &self,
        namespace: &Namespace<'_>,
        format: Format,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let command = Command::new(cstr!("listIndexes"), namespace.collection)
            .set(cstr!("cursor"), &*RawDocumentBuf::new());
        let mut batches = self.open(namespace.database, command).await?;
        let mut indexes = Vec::new();
        while let Some(batch) = batches.next().await? {
            for element in raw::elements(batch.doc_slices().map_err(fault::from_driver)?.as_bytes())
                .map_err(fault::malformed)?
            {
                let mut text = Vec::new();
                let element = element.map_err(fault::malformed)?;
                ejson::write_document(element.value, format, &mut text)
                    .map_err(fault::malformed)?;
                indexes.push(text);
            }
        }
        Ok(indexes)
    }

    /// Creates an index; its name.
    ///
    /// # Errors
    /// An unknown option, what the guard refuses, what the server refuses.
    pub async fn create_index(
        &self,
        namespace: &Namespace<'_>,
        key: &RawDocument,
        options: &RawDocument,
    ) -> Result<String, Error> {
        namespace.check(Some(key.as_bytes()), "/key")?;
        namespace.check(Some(options.as_bytes()), "/options")?;
        for element in raw::elements(options.as_bytes()).map_err(fault::malformed)? {
            let element = element.map_err(fault::malformed)?;
            if !OPTIONS.contains(&element.key) {
                return Err(fault::invalid(
                    format!(
                        "'{}' is not an option of indexes; these are: {}.",
                        element.key,
                        OPTIONS.join(", ")
                    ),
                    "/options",
                ));
            }
        }
        let name = match raw::get(options.as_bytes(), "name") {
            Some(name) => name.as_str().unwrap_or_default().to_owned(),
            None => default_name(key)?,
        };
        if name.is_empty() || name == "*" {
            return Err(fault::invalid(
                "An index needs a name, which is not '*'.",
                "/options/name",
            ));
        }
        let mut index = RawDocumentBuf::new();
        index.append(cstr!("key"), key);
        index.append(cstr!("name"), name.as_str());
        for (option, value) in options
            .iter()
            .map_while(Result::ok)
            .filter(|(key, _)| key.as_str() != "name")
        {
            index.append(option, value);
        }
        let mut indexes = RawArrayBuf::new();
        indexes.push(index);
        let command = Command::new(cstr!("createIndexes"), namespace.collection)
            .set(cstr!("indexes"), indexes);
        self.run(namespace.database, command).await?;
        Ok(name)
    }

    /// Drops an index by its name.
    ///
    /// # Errors
    /// `NOT_FOUND`; what the server refuses.
    pub async fn drop_index(&self, namespace: &Namespace<'_>, name: &str) -> Result<(), Error> {
        // The server would take it for all of them.
        if name == "*" {
            return Err(fault::invalid(
                "'*' would drop every index; drop them one by one.",
                "/name",
            ));
        }
        let command =
            Command::new(cstr!("dropIndexes"), namespace.collection).set(cstr!("index"), name);
        self.run(namespace.database, command).await?;
        Ok(())
    }
}

/// `a_1_b_-1`, as every driver names an index.
fn default_name(key: &RawDocument) -> Result<String, Error> {
    let mut parts = Vec::new();
    for element in raw::elements(key.as_bytes()).map_err(fault::malformed)? {
        let element = element.map_err(fault::malformed)?;
        let value = match element.kind {
            kind::STRING => element.as_str().unwrap_or_default().to_owned(),
            kind::INT32 => raw::int32(element.value)
                .map_err(fault::malformed)?
                .to_string(),
            kind::INT64 => raw::int64(element.value)
                .map_err(fault::malformed)?
                .to_string(),
            kind::DOUBLE => {
                let bits = raw::int64(element.value).map_err(fault::malformed)?;
                f64::from_bits(bits.cast_unsigned()).to_string()
            }
            _ => {
                return Err(fault::invalid(
                    "An index's key has 1, -1 or a type like \"text\" for each field.",
                    "/key",
                ));
            }
        };
        parts.push(format!("{}_{value}", element.key));
    }
    if parts.is_empty() {
        return Err(fault::invalid(
            "An index's key names at least one field.",
            "/key",
        ));
    }
    Ok(parts.join("_"))
}
