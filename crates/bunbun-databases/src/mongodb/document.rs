//! One document, by its `_id`: read, replace, change, delete, with optimistic locking.
//!
//! The ETag is a digest of the document's bytes. With `If-Match`, the document is read, its digest
//! compared, and then changed by *one* `findAndModify` whose filter holds only while the document
//! is still what was read: nothing can come between the comparison and the change. How the filter
//! says so depends on what the server knows ([`Condition`]).

use bunbun_core::{Classify as _, Code};
use mongodb::bson::{
    RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf,
    raw::{CString, cstr},
};
use sha2::{Digest as _, Sha256};

use super::{
    Mongodb,
    command::{Command, single},
    ejson::Format,
    fault,
    find::Find,
    id::DocumentId,
    namespace::Namespace,
    raw,
    write::{Change, check_replacement},
};
use crate::Error;

/// So often a document may change between reading and writing before we give up.
const MAX_ATTEMPTS: usize = 5;

/// A document's digest: 32 hexadecimal digits.
#[must_use]
pub fn digest(document: &RawDocument) -> String {
    bunbun_core::secret::hex(&Sha256::digest(document.as_bytes())[..16])
}

/// What must hold for a change to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The document exists (`If-Match: *`).
    Exists,
    /// It does not (`If-None-Match: *`).
    Absent,
    /// The document has one of these digests.
    Digest(Vec<String>),
}

/// A changed document: its new state, and whether it was made by this.
#[derive(Debug, Clone)]
pub struct Changed {
    /// As it is now.
    pub document: RawDocumentBuf,
    /// Whether it did not exist before.
    pub created: bool,
}

/// How a filter says "still the document that was read", from the most to the least exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// `$$ROOT` equals it and has its size: two documents that pass differ at most in a number's
    /// type of the same size and value.
    RootAndSize,
    /// `$$ROOT` equals it.
    Root,
    /// Each of its fields equals; a field that was added meanwhile goes unseen. For servers
    /// without `$expr`, FerretDB 1 among them.
    Fields,
}

impl Condition {
    pub(super) const ALL: [Self; 3] = [Self::RootAndSize, Self::Root, Self::Fields];

    fn filter(self, document: &RawDocument) -> RawDocumentBuf {
        if self == Self::Fields {
            return fields(document);
        }
        let mut pair = RawArrayBuf::new();
        pair.push("$$ROOT");
        pair.push(single("$literal", document));
        let equal = single("$eq", pair);
        let condition = if self == Self::Root {
            equal
        } else {
            let mut pair = RawArrayBuf::new();
            pair.push(single("$bsonSize", "$$ROOT"));
            pair.push(i32::try_from(document.as_bytes().len()).unwrap_or(i32::MAX));
            let mut all = RawArrayBuf::new();
            all.push(equal);
            all.push(single("$eq", pair));
            single("$and", all)
        };
        let mut filter = RawDocumentBuf::new();
        if let Ok(Some(id)) = document.get("_id") {
            filter.append(cstr!("_id"), single("$eq", id));
        }
        filter.append(cstr!("$expr"), condition);
        filter
    }
}

fn fields(document: &RawDocument) -> RawDocumentBuf {
    let mut filter = RawDocumentBuf::new();
    for (key, value) in document.iter().map_while(Result::ok) {
        // Such names cannot be addressed in a filter.
        if key.as_str().contains('.') || key.as_str().starts_with('$') || key.is_empty() {
            continue;
        }
        filter.append(CString::from(key), single("$eq", value));
    }
    filter
}

/// What happens to the one document.
enum Action<'a> {
    Change {
        change: &'a Change,
        array_filters: Option<&'a RawArrayBuf>,
    },
    Remove,
}

impl Mongodb {
    /// The document.
    ///
    /// # Errors
    /// `DOCUMENT_NOT_FOUND`; what the server refuses.
    pub async fn get(
        &self,
        namespace: &Namespace<'_>,
        id: &DocumentId,
        projection: Option<RawDocumentBuf>,
    ) -> Result<RawDocumentBuf, Error> {
        let find = Find {
            filter: Some(id.filter()),
            projection,
            ..Find::default()
        };
        let document = self.find_one(namespace, &find).await?;
        document.ok_or_else(Error::document_not_found)
    }

    /// Puts a document into the place of the one with this `_id`.
    ///
    /// # Errors
    /// `DOCUMENT_NOT_FOUND` where there is none and `upsert` is off, `PRECONDITION_FAILED`; what the server refuses.
    pub async fn replace(
        &self,
        namespace: &Namespace<'_>,
        id: &DocumentId,
        document: &RawDocumentBuf,
        upsert: bool,
        precondition: &Precondition,
    ) -> Result<Changed, Error> {
        check_replacement(document)?;
        let document = id.put_into(document).ok_or_else(|| {
            fault::invalid("The document's _id is not the one in the path.", "/_id")
        })?;
        if *precondition == Precondition::Absent {
            return self.make(namespace, document, upsert).await;
        }
        let change = Change::Replacement(document);
        let action = Action::Change {
            change: &change,
            array_filters: None,
        };
        self.modify(namespace, id, &action, upsert, precondition)
            .await
    }

    /// Stores a document where there is none with its `_id`.
    async fn make(
        &self,
        namespace: &Namespace<'_>,
        document: RawDocumentBuf,
        upsert: bool,
    ) -> Result<Changed, Error> {
        if !upsert {
            return Err(Error::document_not_found());
        }
        let documents = std::slice::from_ref(&document);
        let made = self.insert(namespace, documents, true, Format::Relaxed);
        match made.await {
            Ok(_) => Ok(Changed {
                document,
                created: true,
            }),
            Err(error) if error.code() == Code::DocumentExists => Err(Error::precondition_failed()),
            Err(error) => Err(error),
        }
    }

    /// Applies update operators or a pipeline to the document with this `_id`.
    ///
    /// # Errors
    /// As [`Mongodb::replace`], and what the guard refuses.
    pub async fn change(
        &self,
        namespace: &Namespace<'_>,
        id: &DocumentId,
        change: &Change,
        array_filters: Option<&RawArrayBuf>,
        upsert: bool,
        precondition: &Precondition,
    ) -> Result<Changed, Error> {
        let Change::Update(update) = change else {
            return Err(fault::invalid(
                "'update' has operators like $set or is an array of stages; for a whole new document use PUT.",
                "/update",
            ));
        };
        let update = raw::get(update.as_bytes(), "").and_then(|element| element.as_nested());
        namespace.check(update, "/update")?;
        namespace.check(
            array_filters.map(|filters| filters.as_bytes()),
            "/array_filters",
        )?;
        let action = Action::Change {
            change,
            array_filters,
        };
        self.modify(namespace, id, &action, upsert, precondition)
            .await
    }

    /// Deletes the document with this `_id`.
    ///
    /// # Errors
    /// As [`Mongodb::replace`].
    pub async fn remove(
        &self,
        namespace: &Namespace<'_>,
        id: &DocumentId,
        precondition: &Precondition,
    ) -> Result<(), Error> {
        self.modify(namespace, id, &Action::Remove, false, precondition)
            .await
            .map(drop)
    }

    async fn modify(
        &self,
        namespace: &Namespace<'_>,
        id: &DocumentId,
        action: &Action<'_>,
        upsert: bool,
        precondition: &Precondition,
    ) -> Result<Changed, Error> {
        let Precondition::Digest(digests) = precondition else {
            let upsert = upsert && *precondition == Precondition::None;
            let found = self
                .find_and_modify(namespace, id.filter(), action, upsert)
                .await?;
            return found.ok_or_else(|| absent(precondition));
        };
        for _ in 0..MAX_ATTEMPTS {
            let find = Find {
                filter: Some(id.filter()),
                ..Find::default()
            };
            let Some(current) = self.find_one(namespace, &find).await? else {
                return Err(absent(precondition));
            };
            if !digests.contains(&digest(&current)) {
                return Err(Error::precondition_failed());
            }
            if let Some(changed) = self.modify_if_still(namespace, &current, action).await? {
                return Ok(changed);
            }
        }
        Err(Error::precondition_failed())
    }

    /// The change, if the document is still what was read.
    async fn modify_if_still(
        &self,
        namespace: &Namespace<'_>,
        current: &RawDocument,
        action: &Action<'_>,
    ) -> Result<Option<Changed>, Error> {
        loop {
            let condition = self.condition();
            let filter = condition.filter(current);
            match self.find_and_modify(namespace, filter, action, false).await {
                // The server may not know how the filter says it.
                Err(error) if condition != Condition::Fields && fault::is_query_refused(&error) => {
                    self.without(condition);
                }
                other => return other,
            }
        }
    }

    async fn find_and_modify(
        &self,
        namespace: &Namespace<'_>,
        filter: RawDocumentBuf,
        action: &Action<'_>,
        upsert: bool,
    ) -> Result<Option<Changed>, Error> {
        let mut command =
            Command::new(cstr!("findAndModify"), namespace.collection).set(cstr!("query"), filter);
        let is_removal = matches!(action, Action::Remove);
        match action {
            Action::Remove => command = command.set(cstr!("remove"), true),
            Action::Change {
                change,
                array_filters,
            } => {
                let update: RawBsonRef<'_> = match change {
                    Change::Update(document) => super::command::lone(document),
                    Change::Replacement(document) => RawBsonRef::Document(document),
                };
                command = command
                    .set(cstr!("update"), update)
                    .set(cstr!("new"), true)
                    .set(cstr!("upsert"), upsert)
                    .set_if(cstr!("arrayFilters"), array_filters.cloned());
            }
        }
        let reply = self.run(namespace.database, command).await?;
        let Some(value) = reply
            .get("value")
            .and_then(mongodb::bson::Bson::as_document)
        else {
            return Ok(None);
        };
        let document =
            RawDocumentBuf::try_from(value).map_err(|e| Error::internal(e.to_string()))?;
        let last = reply.get_document("lastErrorObject").ok();
        let existed = last
            .and_then(|last| last.get_bool("updatedExisting").ok())
            .unwrap_or(!upsert);
        Ok(Some(Changed {
            document,
            created: !existed && !is_removal,
        }))
    }
}

fn absent(precondition: &Precondition) -> Error {
    match precondition {
        Precondition::None => Error::document_not_found(),
        _ => Error::precondition_failed(),
    }
}
