//! Several writes in one request, in the fewest commands that keep their order.

use mongodb::bson::RawDocumentBuf;

use super::{
    Mongodb,
    id::ensure_id,
    namespace::Namespace,
    write::{Change, Delete, Update, WriteError, Written, check_replacement},
};
use crate::Error;

/// One operation.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Inserts a document.
    Insert(RawDocumentBuf),
    /// Updates or replaces.
    Update(Update),
    /// Deletes.
    Delete(Delete),
}

/// What all operations did.
#[derive(Debug, Clone, Default)]
pub struct BulkWritten {
    /// Documents inserted.
    pub inserted: u64,
    /// Documents that updates fitted.
    pub matched: u64,
    /// Documents that are different now.
    pub modified: u64,
    /// Documents deleted.
    pub deleted: u64,
    /// The `_id`s of inserted documents (by `insert` and by upserts), under the empty key, by operation.
    pub ids: Vec<(usize, RawDocumentBuf)>,
    /// What was refused.
    pub errors: Vec<WriteError>,
}

impl Mongodb {
    /// Runs all operations; `ordered` ends at the first that is refused. Neighbours of a kind are
    /// one command.
    ///
    /// # Errors
    /// What the guard refuses, before anything is done; a server that fails in the middle.
    pub async fn bulk(
        &self,
        namespace: &Namespace<'_>,
        operations: Vec<Operation>,
        ordered: bool,
    ) -> Result<BulkWritten, Error> {
        for (index, operation) in operations.iter().enumerate() {
            let pointer = format!("/operations/{index}");
            match operation {
                Operation::Insert(_) => {}
                Operation::Update(update) => {
                    update.check(namespace, &pointer)?;
                    if let Change::Replacement(document) = &update.change {
                        check_replacement(document)?;
                    }
                }
                Operation::Delete(delete) => delete.check(namespace, &pointer)?,
            }
        }
        let mut result = BulkWritten::default();
        let mut operations = operations.into_iter().peekable();
        let mut first = 0;
        while let Some(operation) = operations.next() {
            let kind = std::mem::discriminant(&operation);
            let mut group = vec![operation];
            while let Some(next) = operations.next_if(|next| std::mem::discriminant(next) == kind) {
                group.push(next);
            }
            let count = group.len();
            self.group(namespace, group, ordered, first, &mut result)
                .await?;
            if ordered && !result.errors.is_empty() {
                break;
            }
            first += count;
        }
        Ok(result)
    }

    async fn group(
        &self,
        namespace: &Namespace<'_>,
        group: Vec<Operation>,
        ordered: bool,
        first: usize,
        result: &mut BulkWritten,
    ) -> Result<(), Error> {
        let (mut documents, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for operation in group {
            match operation {
                Operation::Insert(document) => documents.push(ensure_id(&document)),
                Operation::Update(update) => updates.push(update),
                Operation::Delete(delete) => deletes.push(delete),
            }
        }
        let written = if !documents.is_empty() {
            let written = self.insert_prepared(namespace, &documents, ordered).await?;
            result.inserted += written.matched;
            note_ids(&documents, &written, ordered, first, result);
            written
        } else if !updates.is_empty() {
            let written = self.update(namespace, &updates, ordered).await?;
            result.matched += written.matched;
            result.modified += written.modified;
            written
        } else {
            let written = self.delete(namespace, &deletes, ordered).await?;
            result.deleted += written.matched;
            written
        };
        let at = |index: usize| first + index;
        result.ids.extend(
            written
                .upserted
                .into_iter()
                .map(|(index, id)| (at(index), id)),
        );
        result
            .errors
            .extend(written.errors.into_iter().map(|error| WriteError {
                index: at(error.index),
                ..error
            }));
        Ok(())
    }
}

/// The `_id`s of those that were inserted.
fn note_ids(
    documents: &[RawDocumentBuf],
    written: &Written,
    ordered: bool,
    first: usize,
    result: &mut BulkWritten,
) {
    let end = match written.errors.first() {
        Some(error) if ordered => error.index,
        _ => documents.len(),
    };
    for (index, document) in documents.iter().enumerate().take(end) {
        if written.errors.iter().any(|error| error.index == index) {
            continue;
        }
        if let Ok(Some(id)) = document.get("_id") {
            result
                .ids
                .push((first + index, super::command::single("", id)));
        }
    }
}
