//! `find`: a page of documents as JSON, written from the server's bytes.

use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr};

use super::{
    Mongodb,
    client::Batches,
    command::{Command, extend},
    ejson::{self, Format},
    fault,
    namespace::Namespace,
    page::{self, Part, Start},
    raw::{self, kind},
};
use crate::Error;

/// A page ends early when its text is larger than this.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// What to find.
#[derive(Debug, Clone, Default)]
pub struct Find {
    /// Which documents; all where it is missing.
    pub filter: Option<RawDocumentBuf>,
    /// Which fields.
    pub projection: Option<RawDocumentBuf>,
    /// In which order; by `_id` where it is missing.
    pub sort: Option<RawDocumentBuf>,
    /// How texts compare.
    pub collation: Option<RawDocumentBuf>,
    /// How many of the first to leave out.
    pub skip: u64,
    /// Most documents of the page.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Documents as the text of a JSON array, and where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `[…]`.
    pub documents: Vec<u8>,
    /// How many.
    pub count: usize,
    /// The cursor of the next page; `None` at the end.
    pub next_cursor: Option<String>,
}

impl Find {
    fn check(&self, namespace: &Namespace<'_>) -> Result<(), Error> {
        for (document, pointer) in [
            (&self.filter, "/filter"),
            (&self.projection, "/projection"),
            (&self.sort, "/sort"),
            (&self.collation, "/collation"),
        ] {
            namespace.check(document.as_ref().map(|d| d.as_bytes()), pointer)?;
        }
        Ok(())
    }

    fn question(&self, namespace: &Namespace<'_>) -> [u8; 8] {
        let bytes = |document: &Option<RawDocumentBuf>| {
            document
                .as_ref()
                .map_or_else(Vec::new, |d| d.as_bytes().to_vec())
        };
        page::question(&[
            b"find",
            namespace.database.as_bytes(),
            namespace.collection.as_bytes(),
            &bytes(&self.filter),
            &bytes(&self.projection),
            &bytes(&self.sort),
            &bytes(&self.collation),
            &self.skip.to_le_bytes(),
        ])
    }

    /// The caller's order, made unique where that is possible.
    fn order(&self) -> RawDocumentBuf {
        let mut order = RawDocumentBuf::new();
        if let Some(sort) = &self.sort {
            extend(&mut order, sort);
        }
        let has = |key| raw::get(order.as_bytes(), key).is_some();
        if !has("_id") && !has("$natural") {
            order.append(cstr!("_id"), 1);
        }
        order
    }

    fn shows_id(&self) -> bool {
        let Some(projection) = &self.projection else {
            return true;
        };
        let Ok(elements) = raw::elements(projection.as_bytes()) else {
            return false;
        };
        // As it is stored, and not in parts or as something else.
        elements
            .map_while(Result::ok)
            .all(|element| match element.key {
                "_id" => is_yes(&element),
                key => !key.starts_with("_id."),
            })
    }

    fn command(
        &self,
        namespace: &Namespace<'_>,
        start: &Start,
        filter: Option<&RawDocument>,
    ) -> Command {
        let skip = match start {
            Start::First => self.skip,
            Start::After(_) => 0,
            Start::Offset(offset) => *offset,
        };
        // One more than asked for tells whether there is a next page.
        let limit = i64::try_from(self.limit + 1).unwrap_or(i64::MAX);
        Command::new(cstr!("find"), namespace.collection)
            .set_if(cstr!("filter"), filter)
            .set(cstr!("sort"), &*self.order())
            .set_if(cstr!("projection"), self.projection.as_deref())
            .set_if(cstr!("collation"), self.collation.as_deref())
            .set_if(
                cstr!("skip"),
                (skip > 0).then(|| i64::try_from(skip).unwrap_or(i64::MAX)),
            )
            .set(cstr!("limit"), limit)
            .set(cstr!("batchSize"), limit)
    }
}

impl Mongodb {
    /// One page of a collection's documents.
    ///
    /// # Errors
    /// What the guard or the server refuses; a cursor that is not this query's.
    pub async fn find(
        &self,
        namespace: &Namespace<'_>,
        find: &Find,
        format: Format,
    ) -> Result<Page, Error> {
        find.check(namespace)?;
        let question = find.question(namespace);
        let start = page::decode(find.cursor.as_deref(), question)?;
        let direction = page::direction(find.sort.as_deref());
        let mut page = Collected::new(format, find.limit);
        match (&start, direction) {
            (Start::After(id), Some(direction)) => {
                // The cursor came back from outside.
                namespace.check(Some(id.as_bytes()), "/cursor")?;
                // Those of other types only where the page has room: most collections have one type.
                for part in [Part::SameType, Part::OtherTypes] {
                    let behind = |rare| page::behind(id, direction, part, rare);
                    if !page.has_more
                        && let Some(batches) =
                            self.open_behind(namespace, find, &start, behind).await?
                    {
                        page.read(batches).await?;
                    }
                }
            }
            (Start::After(_), None) => {
                return Err(fault::invalid(
                    "The cursor is not one of this query.",
                    "/cursor",
                ));
            }
            _ => {
                let command = find.command(namespace, &start, find.filter.as_deref());
                page.read(self.open(namespace.database, command).await?)
                    .await?;
            }
        }
        let by_key = direction.is_some() && find.shows_id();
        page.finish(
            |shown, last_id| match last_id {
                Some(id) if by_key => Start::After(id),
                _ => Start::Offset(shown + offset(&start, find.skip)),
            },
            question,
        )
    }

    /// Documents for which a condition holds that `behind` makes, with the rare types or without: the
    /// latter where the server does not know them. `None`: for no document at all.
    async fn open_behind(
        &self,
        namespace: &Namespace<'_>,
        find: &Find,
        start: &Start,
        behind: impl Fn(bool) -> Option<RawDocumentBuf>,
    ) -> Result<Option<Batches>, Error> {
        let command = |condition: &RawDocument| {
            let filter = both(find.filter.as_deref(), condition);
            find.command(namespace, start, Some(&filter))
        };
        let common = behind(false);
        if self.knows_rare_types() {
            let Some(all) = behind(true) else {
                return Ok(None);
            };
            match self.open(namespace.database, command(&all)).await {
                // Not for the types, if there are none.
                Err(error) if fault::is_query_refused(&error) && common.as_ref() != Some(&all) => {}
                other => return other.map(Some),
            }
        }
        let Some(common) = common else {
            return Ok(None);
        };
        let batches = self.open(namespace.database, command(&common)).await?;
        // It was the types, not the caller's filter.
        self.without_rare_types();
        Ok(Some(batches))
    }

    /// The first document that fits, as its bytes.
    ///
    /// # Errors
    /// What the guard or the server refuses.
    pub async fn find_one(
        &self,
        namespace: &Namespace<'_>,
        find: &Find,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        find.check(namespace)?;
        let command = Command::new(cstr!("find"), namespace.collection)
            .set_if(cstr!("filter"), find.filter.as_deref())
            .set_if(cstr!("sort"), find.sort.as_deref())
            .set_if(cstr!("projection"), find.projection.as_deref())
            .set_if(cstr!("collation"), find.collation.as_deref())
            .set(cstr!("limit"), 1_i64)
            .set(cstr!("singleBatch"), true);
        let mut batches = self.open(namespace.database, command).await?;
        while let Some(batch) = batches.next().await? {
            let documents = batch.doc_slices().map_err(fault::from_driver)?;
            if let Some(document) = documents.into_iter().next() {
                let document = document.map_err(fault::malformed)?;
                return Ok(document.as_document().map(RawDocument::to_owned));
            }
        }
        Ok(None)
    }
}

/// Whether a projection's value shows a field as it is.
fn is_yes(element: &raw::Element<'_>) -> bool {
    let is_number = matches!(
        element.kind,
        kind::BOOLEAN | kind::INT32 | kind::INT64 | kind::DOUBLE
    );
    is_number && element.value.iter().any(|&byte| byte != 0)
}

fn offset(start: &Start, skip: u64) -> u64 {
    match start {
        Start::Offset(offset) => *offset,
        _ => skip,
    }
}

/// Documents for which both conditions hold.
fn both(one: Option<&RawDocument>, other: &RawDocument) -> RawDocumentBuf {
    let Some(one) = one.filter(|one| !one.is_empty()) else {
        return other.to_owned();
    };
    let mut conditions = RawArrayBuf::new();
    conditions.push(one);
    conditions.push(other);
    let mut filter = RawDocumentBuf::new();
    filter.append(cstr!("$and"), conditions);
    filter
}

/// Documents on their way into a page.
pub(super) struct Collected {
    format: Format,
    limit: usize,
    text: Vec<u8>,
    count: usize,
    last_id: Option<RawDocumentBuf>,
    has_more: bool,
}

impl Collected {
    pub(super) fn new(format: Format, limit: usize) -> Self {
        Self {
            format,
            limit,
            text: vec![b'['],
            count: 0,
            last_id: None,
            has_more: false,
        }
    }

    /// Takes documents until the page is full.
    pub(super) async fn read(&mut self, mut batches: Batches) -> Result<(), Error> {
        while !self.has_more
            && let Some(batch) = batches.next().await?
        {
            let documents = batch.doc_slices().map_err(fault::from_driver)?;
            for element in raw::elements(documents.as_bytes()).map_err(fault::malformed)? {
                let element = element.map_err(fault::malformed)?;
                if self.count == self.limit || self.text.len() > MAX_PAGE_BYTES {
                    self.has_more = true;
                    break;
                }
                self.push(element.value)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, document: &[u8]) -> Result<(), Error> {
        if self.count > 0 {
            self.text.push(b',');
        }
        ejson::write_document(document, self.format, &mut self.text).map_err(fault::malformed)?;
        self.count += 1;
        // Only the last one's id is wanted, and which one that is shows later.
        let is_last = self.count == self.limit || self.text.len() > MAX_PAGE_BYTES;
        if is_last && let Some(id) = raw::get(document, "_id") {
            let document = RawDocument::from_bytes(document).map_err(fault::malformed)?;
            let mut last = RawDocumentBuf::new();
            if let Ok(Some(value)) = document.get(id.key) {
                last.append(cstr!(""), value);
                self.last_id = Some(last);
            }
        }
        Ok(())
    }

    /// The page; `next` tells where the following one begins.
    pub(super) fn finish(
        mut self,
        next: impl FnOnce(u64, Option<RawDocumentBuf>) -> Start,
        question: [u8; 8],
    ) -> Result<Page, Error> {
        self.text.push(b']');
        let next_cursor = self
            .has_more
            .then(|| page::encode(question, &next(self.count as u64, self.last_id)))
            .flatten();
        Ok(Page {
            documents: self.text,
            count: self.count,
            next_cursor,
        })
    }
}

/// The value under the empty key as JSON.
pub(super) fn lone_as_json(document: &RawDocument, format: Format) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let element = raw::get(document.as_bytes(), "").ok_or_else(|| Error::internal("no value"))?;
    ejson::write_value(&element, format, &mut out).map_err(fault::malformed)?;
    Ok(out)
}
