//! Collections of a database.

use futures_util::{StreamExt as _, stream};
use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr};

use super::{
    Mongodb,
    aggregate::Selection,
    command::{Command, extend},
    fault,
    namespace::Namespace,
    raw,
};
use crate::Error;

/// Counts that are asked for at once.
const COUNTS_AT_ONCE: usize = 4;

/// A collection or view.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Documents, as the server's book-keeping has it; `None` for views.
    pub documents: Option<u64>,
    /// How it was created, a validator among it.
    pub options: RawDocumentBuf,
}

/// The members that `create` takes from a caller.
const OPTIONS: [&str; 13] = [
    "capped",
    "size",
    "max",
    "validator",
    "validationLevel",
    "validationAction",
    "viewOn",
    "pipeline",
    "collation",
    "timeseries",
    "expireAfterSeconds",
    "clusteredIndex",
    "changeStreamPreAndPostImages",
];

impl Mongodb {
    /// Collections by name, those of the server left out; `after` and `limit` bound the page.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn collections(
        &self,
        namespace: &Namespace<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Collection>, bool), Error> {
        let command =
            Command::new(cstr!("listCollections"), 1).set(cstr!("cursor"), &*RawDocumentBuf::new());
        let mut batches = self.open(namespace.database, command).await?;
        let mut all = Vec::new();
        while let Some(batch) = batches.next().await? {
            for element in raw::elements(batch.doc_slices().map_err(fault::from_driver)?.as_bytes())
                .map_err(fault::malformed)?
            {
                let element = element.map_err(fault::malformed)?;
                if let Some(collection) = read(element.value) {
                    all.push(collection);
                }
            }
        }
        drop(batches);
        all.retain(|c| {
            !c.name.starts_with("system.") && after.is_none_or(|after| c.name.as_str() > after)
        });
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let has_more = all.len() > limit;
        all.truncate(limit);
        let counted = stream::iter(all)
            .map(|mut collection| async move {
                if collection.kind == "collection" {
                    collection.documents = self.estimate(namespace, &collection.name).await;
                }
                collection
            })
            .buffered(COUNTS_AT_ONCE)
            .collect()
            .await;
        Ok((counted, has_more))
    }

    async fn estimate(&self, namespace: &Namespace<'_>, collection: &str) -> Option<u64> {
        let namespace = Namespace {
            collection,
            ..*namespace
        };
        self.count(&namespace, &Selection::default()).await.ok()
    }

    /// Creates a collection or view.
    ///
    /// # Errors
    /// An unknown option, what the guard refuses in validator and pipeline, an existing collection,
    /// what the server refuses.
    pub async fn create_collection(
        &self,
        namespace: &Namespace<'_>,
        options: &RawDocument,
    ) -> Result<(), Error> {
        for element in raw::elements(options.as_bytes()).map_err(fault::malformed)? {
            let element = element.map_err(fault::malformed)?;
            if !OPTIONS.contains(&element.key) {
                return Err(fault::invalid(
                    format!(
                        "'{}' is not an option of collections; these are: {}.",
                        element.key,
                        OPTIONS.join(", ")
                    ),
                    "/options",
                ));
            }
        }
        // What is stored runs later on behalf of readers: it never writes.
        let reader = Namespace {
            may_write: false,
            ..*namespace
        };
        reader.check(Some(options.as_bytes()), "/options")?;
        let view_on = raw::get(options.as_bytes(), "viewOn").and_then(|element| element.as_str());
        if let Some(view_on) = view_on {
            Namespace::collection(namespace.database, view_on, false)?;
        }
        let command = Command::new(cstr!("create"), namespace.collection).extend(options);
        self.run(namespace.database, command).await?;
        Ok(())
    }

    /// Drops a collection or view with everything in it.
    ///
    /// # Errors
    /// `COLLECTION_NOT_FOUND`; what the server refuses.
    pub async fn drop_collection(&self, namespace: &Namespace<'_>) -> Result<(), Error> {
        // Newer servers say nothing where there is no collection.
        if !self.collection_exists(namespace).await? {
            return Err(Error::not_found("collection"));
        }
        let command = Command::new(cstr!("drop"), namespace.collection);
        self.run(namespace.database, command).await?;
        Ok(())
    }

    async fn collection_exists(&self, namespace: &Namespace<'_>) -> Result<bool, Error> {
        let mut filter = RawDocumentBuf::new();
        filter.append(cstr!("name"), namespace.collection);
        let command = Command::new(cstr!("listCollections"), 1)
            .set(cstr!("filter"), &*filter)
            .set(cstr!("nameOnly"), true)
            .set(cstr!("cursor"), &*RawDocumentBuf::new());
        let mut batches = self.open(namespace.database, command).await?;
        while let Some(batch) = batches.next().await? {
            for document in batch.doc_slices().map_err(fault::from_driver)? {
                let document = document.map_err(fault::malformed)?;
                let name = document
                    .as_document()
                    .and_then(|d| raw::get(d.as_bytes(), "name"));
                // Not every server applies the filter.
                if name.and_then(|name| name.as_str()) == Some(namespace.collection) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn read(document: &[u8]) -> Option<Collection> {
    let text = |key| raw::get(document, key).and_then(|element| element.as_str());
    let mut options = RawDocumentBuf::new();
    let whole = RawDocument::from_bytes(document).ok()?;
    if let Ok(Some(RawBsonRef::Document(found))) = whole.get("options") {
        extend(&mut options, found);
    }
    Some(Collection {
        name: text("name")?.to_owned(),
        kind: text("type").unwrap_or("collection").to_owned(),
        documents: None,
        options,
    })
}
