//! Inserts, updates and deletes, and what the server says of them.
//!
//! Every command is sent once: the driver repeats none of them, so nothing is done twice.

use mongodb::bson::{
    Bson, Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
};
use serde_json::json;

use super::{
    Mongodb,
    command::{Command, lone},
    ejson::{self, Format},
    fault,
    find::lone_as_json,
    id::ensure_id,
    namespace::Namespace,
    raw::{self, kind},
};
use crate::Error;

/// Most documents or operations of one request.
pub const MAX_WRITES: usize = 1000;

/// A change: update operators, a pipeline, or a whole new document.
#[derive(Debug, Clone)]
pub enum Change {
    /// `{$set: …}`, or an array of stages; stands under the empty key.
    Update(RawDocumentBuf),
    /// The document that takes the old one's place.
    Replacement(RawDocumentBuf),
}

/// An update of one or many documents.
#[derive(Debug, Clone)]
pub struct Update {
    /// Which documents.
    pub filter: RawDocumentBuf,
    /// What happens to them.
    pub change: Change,
    /// Whether all that fit, or the first one.
    pub many: bool,
    /// Whether to insert one where none fits.
    pub upsert: bool,
    /// Which elements of arrays.
    pub array_filters: Option<RawArrayBuf>,
    /// How texts compare.
    pub collation: Option<RawDocumentBuf>,
}

/// A deletion of one or many documents.
#[derive(Debug, Clone)]
pub struct Delete {
    /// Which documents.
    pub filter: RawDocumentBuf,
    /// Whether all that fit, or the first one.
    pub many: bool,
    /// How texts compare.
    pub collation: Option<RawDocumentBuf>,
}

/// One refused operation of several.
#[derive(Debug, Clone)]
pub struct WriteError {
    /// Which operation, from 0.
    pub index: usize,
    /// The server's code.
    pub code: i32,
    /// The server's words.
    pub message: String,
}

/// What a command changed.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Documents that fitted (inserted or deleted ones with inserts and deletions).
    pub matched: u64,
    /// Documents that are different now.
    pub modified: u64,
    /// The `_id`s of documents that upserts inserted, each under the empty key, by operation.
    pub upserted: Vec<(usize, RawDocumentBuf)>,
    /// What was refused.
    pub errors: Vec<WriteError>,
}

impl Change {
    /// Tells update operators and pipelines from replacements.
    ///
    /// # Errors
    /// Where operators and fields are mixed, or it is neither document nor array.
    pub fn from_value(value: RawBsonRef<'_>) -> Result<Self, Error> {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!(""), value);
        match value {
            RawBsonRef::Array(_) => Ok(Self::Update(document)),
            RawBsonRef::Document(fields) => {
                let mut keys = fields
                    .iter()
                    .map_while(Result::ok)
                    .map(|(key, _)| key.as_str().starts_with('$'));
                let first = keys.next();
                if keys.any(|is_operator| Some(is_operator) != first) {
                    return Err(fault::invalid(
                        "An update has operators or fields, not both.",
                        "/update",
                    ));
                }
                Ok(match first {
                    Some(true) => Self::Update(document),
                    _ => Self::Replacement(fields.to_owned()),
                })
            }
            _ => Err(fault::invalid(
                "An update is a document or an array of stages.",
                "/update",
            )),
        }
    }

    fn value(&self) -> RawBsonRef<'_> {
        match self {
            Self::Update(document) => lone(document),
            Self::Replacement(document) => RawBsonRef::Document(document),
        }
    }
}

impl Update {
    /// `pointer` is where the operation stands in the request.
    pub(super) fn check(&self, namespace: &Namespace<'_>, pointer: &str) -> Result<(), Error> {
        namespace.check(Some(self.filter.as_bytes()), &format!("{pointer}/filter"))?;
        if let Change::Update(update) = &self.change
            && let Some(update) = raw::get(update.as_bytes(), "").and_then(|e| e.as_nested())
        {
            namespace.check(Some(update), &format!("{pointer}/update"))?;
        }
        namespace.check(
            self.array_filters.as_ref().map(|a| a.as_bytes()),
            &format!("{pointer}/array_filters"),
        )?;
        namespace.check(
            self.collation.as_deref().map(RawDocument::as_bytes),
            &format!("{pointer}/collation"),
        )
    }

    fn statement(&self) -> RawDocumentBuf {
        let mut statement = RawDocumentBuf::new();
        statement.append(cstr!("q"), &*self.filter);
        statement.append(cstr!("u"), self.change.value());
        statement.append(cstr!("multi"), self.many);
        statement.append(cstr!("upsert"), self.upsert);
        if let Some(filters) = &self.array_filters {
            statement.append(cstr!("arrayFilters"), filters.clone());
        }
        if let Some(collation) = &self.collation {
            statement.append(cstr!("collation"), &**collation);
        }
        statement
    }
}

impl Delete {
    pub(super) fn check(&self, namespace: &Namespace<'_>, pointer: &str) -> Result<(), Error> {
        namespace.check(Some(self.filter.as_bytes()), &format!("{pointer}/filter"))?;
        namespace.check(
            self.collation.as_deref().map(RawDocument::as_bytes),
            &format!("{pointer}/collation"),
        )
    }

    fn statement(&self) -> RawDocumentBuf {
        let mut statement = RawDocumentBuf::new();
        statement.append(cstr!("q"), &*self.filter);
        statement.append(cstr!("limit"), i32::from(!self.many));
        if let Some(collation) = &self.collation {
            statement.append(cstr!("collation"), &**collation);
        }
        statement
    }
}

impl WriteError {
    /// The first refusal as an error of the whole request.
    #[must_use]
    pub fn into_error(self) -> Error {
        fault::server(self.code, "", self.message)
    }
}

impl Mongodb {
    /// Inserts documents; those without `_id` get one. Their `_id`s, as the text of a JSON array.
    ///
    /// # Errors
    /// What the server refuses; `details` say what was inserted before.
    pub async fn insert(
        &self,
        namespace: &Namespace<'_>,
        documents: &[RawDocumentBuf],
        ordered: bool,
        format: Format,
    ) -> Result<(Vec<u8>, usize), Error> {
        if documents.is_empty() || documents.len() > MAX_WRITES {
            return Err(fault::invalid(
                format!("1 to {MAX_WRITES} documents can be inserted at once."),
                "/documents",
            ));
        }
        let documents: Vec<RawDocumentBuf> = documents.iter().map(ensure_id).collect();
        let written = self.insert_prepared(namespace, &documents, ordered).await?;
        if let Some(first) = written.errors.first() {
            let errors: Vec<_> = written.errors.iter().map(describe).collect();
            let details = json!({ "inserted": written.matched, "errors": errors });
            return Err(first.clone().into_error().details(details));
        }
        let mut ids = vec![b'['];
        for document in &documents {
            if ids.len() > 1 {
                ids.push(b',');
            }
            if let Some(id) = raw::get(document.as_bytes(), "_id") {
                ejson::write_value(&id, format, &mut ids).map_err(fault::malformed)?;
            }
        }
        ids.push(b']');
        Ok((ids, documents.len()))
    }

    /// Inserts documents that have their `_id`.
    pub(super) async fn insert_prepared(
        &self,
        namespace: &Namespace<'_>,
        documents: &[RawDocumentBuf],
        ordered: bool,
    ) -> Result<Written, Error> {
        let count = documents.len();
        let documents: RawArrayBuf = documents.iter().map(|d| RawBsonRef::Document(d)).collect();
        let mut written = self
            .write(
                namespace,
                cstr!("insert"),
                cstr!("documents"),
                documents,
                ordered,
            )
            .await?;
        // Not every server counts only what it inserted.
        let inserted = match written.errors.first() {
            Some(first) if ordered => first.index,
            _ => count - written.errors.len(),
        };
        written.matched = inserted as u64;
        Ok(written)
    }

    /// Updates or replaces; all operations are one command.
    ///
    /// # Errors
    /// What the guard refuses, and what the server refuses as a whole.
    pub async fn update(
        &self,
        namespace: &Namespace<'_>,
        updates: &[Update],
        ordered: bool,
    ) -> Result<Written, Error> {
        for (index, update) in updates.iter().enumerate() {
            update.check(namespace, &numbered(updates.len(), index))?;
        }
        let statements: RawArrayBuf = updates.iter().map(Update::statement).collect();
        self.write(
            namespace,
            cstr!("update"),
            cstr!("updates"),
            statements,
            ordered,
        )
        .await
    }

    /// Deletes; all operations are one command.
    ///
    /// # Errors
    /// What the guard refuses, and what the server refuses as a whole.
    pub async fn delete(
        &self,
        namespace: &Namespace<'_>,
        deletes: &[Delete],
        ordered: bool,
    ) -> Result<Written, Error> {
        for (index, delete) in deletes.iter().enumerate() {
            delete.check(namespace, &numbered(deletes.len(), index))?;
        }
        let statements: RawArrayBuf = deletes.iter().map(Delete::statement).collect();
        self.write(
            namespace,
            cstr!("delete"),
            cstr!("deletes"),
            statements,
            ordered,
        )
        .await
    }

    async fn write(
        &self,
        namespace: &Namespace<'_>,
        name: &CStr,
        list: &CStr,
        statements: RawArrayBuf,
        ordered: bool,
    ) -> Result<Written, Error> {
        let command = Command::new(name, namespace.collection)
            .set(list, statements)
            .set(cstr!("ordered"), ordered);
        let reply = self.run(namespace.database, command).await?;
        read_reply(&reply)
    }
}

fn numbered(count: usize, index: usize) -> String {
    if count == 1 {
        String::new()
    } else {
        format!("/operations/{index}")
    }
}

fn describe(error: &WriteError) -> serde_json::Value {
    json!({ "index": error.index, "code": error.code, "message": error.message })
}

/// What a reply to a write says.
fn read_reply(reply: &Document) -> Result<Written, Error> {
    let mut written = Written {
        matched: number(reply, "n"),
        modified: number(reply, "nModified"),
        ..Written::default()
    };
    for upserted in documents(reply, "upserted") {
        let mut id = RawDocumentBuf::new();
        let value = RawDocumentBuf::try_from(&mongodb::bson::doc! {
            "": upserted.get("_id").cloned().unwrap_or(Bson::Null)
        });
        let value = value.map_err(|error| Error::internal(error.to_string()))?;
        id.append(cstr!(""), lone(&value));
        let index = usize::try_from(number(upserted, "index")).unwrap_or_default();
        written.upserted.push((index, id));
    }
    // The server counts an upserted document as one that fitted.
    written.matched = written
        .matched
        .saturating_sub(written.upserted.len() as u64);
    for error in documents(reply, "writeErrors") {
        written.errors.push(WriteError {
            index: usize::try_from(number(error, "index")).unwrap_or_default(),
            code: i32::try_from(number(error, "code")).unwrap_or_default(),
            message: error.get_str("errmsg").unwrap_or_default().to_owned(),
        });
    }
    // Written here, but not as safely as the connection asks for: the caller must know.
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let code = i32::try_from(number(concern, "code")).unwrap_or_default();
        let message = concern.get_str("errmsg").unwrap_or_default().to_owned();
        return Err(fault::server(code, "WriteConcernFailed", message));
    }
    Ok(written)
}

/// A number of any type, at least 0.
pub(super) fn number(document: &Document, key: &str) -> u64 {
    match document.get(key) {
        Some(Bson::Int32(number)) => u64::try_from(*number).unwrap_or_default(),
        Some(Bson::Int64(number)) => u64::try_from(*number).unwrap_or_default(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        Some(Bson::Double(number)) => *number as u64,
        _ => 0,
    }
}

fn documents<'d>(document: &'d Document, key: &str) -> impl Iterator<Item = &'d Document> {
    let array = document.get_array(key).ok();
    array.into_iter().flatten().filter_map(Bson::as_document)
}

impl Written {
    /// The `_id` of the one document that an upsert inserted, as JSON.
    ///
    /// # Errors
    /// A fault of ours.
    pub fn upserted_id(&self, format: Format) -> Result<Option<Vec<u8>>, Error> {
        self.upserted
            .first()
            .map(|(_, id)| lone_as_json(id, format))
            .transpose()
    }
}

/// Whether a document can take another one's place: operators would be an update.
pub(super) fn check_replacement(document: &RawDocument) -> Result<(), Error> {
    let first = raw::elements(document.as_bytes())
        .ok()
        .and_then(|mut all| all.next());
    match first {
        Some(Ok(element)) if element.key.starts_with('$') => Err(fault::invalid(
            "The body is the whole new document; for operators like $set use PATCH.",
            "",
        )),
        Some(Ok(element)) if element.kind == kind::ARRAY && element.key == "_id" => {
            Err(fault::invalid("No document has an array as _id.", "/_id"))
        }
        _ => Ok(()),
    }
}
