//! `aggregate`, and the questions that answer with a number, values or a plan.

use mongodb::bson::{Document, RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr};

use super::{
    Mongodb,
    command::{Command, single},
    ejson::{self, Format},
    fault,
    find::{Collected, Page},
    namespace::Namespace,
    page::{self, Start},
    raw,
    write::number,
};
use crate::Error;

/// Most stages of a pipeline; the server's own limit.
const MAX_STAGES: usize = 1000;

/// A pipeline on a collection.
#[derive(Debug, Clone, Default)]
pub struct Aggregate {
    /// The stages.
    pub pipeline: RawArrayBuf,
    /// Whether stages may use the server's disk.
    pub allow_disk_use: bool,
    /// Variables.
    pub variables: Option<RawDocumentBuf>,
    /// How texts compare.
    pub collation: Option<RawDocumentBuf>,
    /// Most documents of the page.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A filter and what to do with the documents that fit.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Which documents; all where it is missing.
    pub filter: Option<RawDocumentBuf>,
    /// How texts compare.
    pub collation: Option<RawDocumentBuf>,
    /// How many of the first to leave out.
    pub skip: Option<u64>,
    /// Most documents to look at.
    pub limit: Option<u64>,
}

impl Aggregate {
    /// Whether it may run at all; also done before it does.
    ///
    /// # Errors
    /// What the guard refuses, and stages that are none.
    pub fn validate(&self, namespace: &Namespace<'_>) -> Result<(), Error> {
        let mut stages = 0;
        for stage in raw::elements(self.pipeline.as_bytes()).map_err(fault::malformed)? {
            let stage = stage.map_err(fault::malformed)?;
            let has_one_key = stage.as_nested().is_some_and(|document| {
                raw::elements(document).is_ok_and(|elements| elements.count() == 1)
            });
            if stage.kind != raw::kind::DOCUMENT || !has_one_key {
                return Err(fault::invalid(
                    format!("Stage {stages} of the pipeline is not a document with one operator."),
                    "/pipeline",
                ));
            }
            stages += 1;
        }
        if stages > MAX_STAGES {
            return Err(fault::invalid(
                format!("A pipeline has at most {MAX_STAGES} stages."),
                "/pipeline",
            ));
        }
        namespace.check(Some(self.pipeline.as_bytes()), "/pipeline")?;
        namespace.check(self.variables.as_deref().map(RawDocument::as_bytes), "/let")?;
        namespace.check(
            self.collation.as_deref().map(RawDocument::as_bytes),
            "/collation",
        )
    }

    /// Whether the last stage writes.
    #[must_use]
    pub fn writes(&self) -> bool {
        let last = raw::elements(self.pipeline.as_bytes())
            .into_iter()
            .flatten()
            .map_while(Result::ok)
            .last();
        last.and_then(|stage| stage.as_nested())
            .is_some_and(|stage| {
                raw::get(stage, "$out").is_some() || raw::get(stage, "$merge").is_some()
            })
    }

    fn question(&self, namespace: &Namespace<'_>) -> [u8; 8] {
        let bytes = |document: &Option<RawDocumentBuf>| {
            document
                .as_ref()
                .map_or_else(Vec::new, |d| d.as_bytes().to_vec())
        };
        page::question(&[
            b"aggregate",
            namespace.database.as_bytes(),
            namespace.collection.as_bytes(),
            self.pipeline.as_bytes(),
            &bytes(&self.variables),
            &bytes(&self.collation),
        ])
    }

    fn stages(&self, offset: u64) -> RawArrayBuf {
        let mut stages = RawArrayBuf::new();
        for stage in self.pipeline.into_iter().map_while(Result::ok) {
            stages.push(stage);
        }
        if !self.writes() {
            if offset > 0 {
                stages.push(single("$skip", i64::try_from(offset).unwrap_or(i64::MAX)));
            }
            // One more than asked for tells whether there is a next page.
            let limit = i64::try_from(self.limit + 1).unwrap_or(i64::MAX);
            stages.push(single("$limit", limit));
        }
        stages
    }

    fn command(&self, namespace: &Namespace<'_>, offset: u64) -> Command {
        Command::new(cstr!("aggregate"), namespace.collection)
            .set(cstr!("pipeline"), self.stages(offset))
            .set_if(cstr!("let"), self.variables.as_deref())
            .set_if(cstr!("collation"), self.collation.as_deref())
            .set_if(cstr!("allowDiskUse"), self.allow_disk_use.then_some(true))
            .set(cstr!("cursor"), &*RawDocumentBuf::new())
    }
}

impl Selection {
    fn check(&self, namespace: &Namespace<'_>) -> Result<(), Error> {
        namespace.check(self.filter.as_deref().map(RawDocument::as_bytes), "/filter")?;
        namespace.check(
            self.collation.as_deref().map(RawDocument::as_bytes),
            "/collation",
        )
    }

    fn count(&self, namespace: &Namespace<'_>) -> Command {
        let whole = |number: Option<u64>| number.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Command::new(cstr!("count"), namespace.collection)
            .set_if(cstr!("query"), self.filter.as_deref())
            .set_if(cstr!("skip"), whole(self.skip))
            .set_if(cstr!("limit"), whole(self.limit))
            .set_if(cstr!("collation"), self.collation.as_deref())
    }
}

/// What to explain.
#[derive(Debug, Clone)]
pub enum Explained {
    /// A `find`.
    Find {
        /// Which documents.
        selection: Selection,
        /// In which order.
        sort: Option<RawDocumentBuf>,
        /// Which fields.
        projection: Option<RawDocumentBuf>,
    },
    /// An `aggregate`.
    Aggregate(Aggregate),
    /// A `count`.
    Count(Selection),
}

impl Mongodb {
    /// One page of what a pipeline yields.
    ///
    /// # Errors
    /// What the guard or the server refuses; a cursor that is not this pipeline's.
    pub async fn aggregate(
        &self,
        namespace: &Namespace<'_>,
        aggregate: &Aggregate,
        format: Format,
    ) -> Result<Page, Error> {
        aggregate.validate(namespace)?;
        let question = aggregate.question(namespace);
        let offset = match page::decode(aggregate.cursor.as_deref(), question)? {
            Start::Offset(offset) => offset,
            Start::First | Start::After(_) => 0,
        };
        let command = aggregate.command(namespace, offset);
        let batches = if aggregate.writes() {
            self.open_once(namespace.database, command).await?
        } else {
            self.open(namespace.database, command).await?
        };
        let mut page = Collected::new(format, aggregate.limit);
        page.read(batches).await?;
        page.finish(|shown, _| Start::Offset(offset + shown), question)
    }

    /// How many documents fit. Without a filter the server's own book-keeping answers.
    ///
    /// # Errors
    /// What the guard or the server refuses.
    pub async fn count(
        &self,
        namespace: &Namespace<'_>,
        selection: &Selection,
    ) -> Result<u64, Error> {
        selection.check(namespace)?;
        let reply = self
            .read(namespace.database, selection.count(namespace))
            .await?;
        Ok(number(&reply, "n"))
    }

    /// The different values of a field, as JSON texts.
    ///
    /// # Errors
    /// What the guard or the server refuses.
    pub async fn distinct(
        &self,
        namespace: &Namespace<'_>,
        key: &str,
        selection: &Selection,
        format: Format,
    ) -> Result<Vec<Vec<u8>>, Error> {
        selection.check(namespace)?;
        if key.is_empty() || key.starts_with('$') || key.contains('\0') {
            return Err(fault::invalid(
                "'key' is the name of a field, with dots for fields within.",
                "/key",
            ));
        }
        let command = Command::new(cstr!("distinct"), namespace.collection)
            .set(cstr!("key"), key)
            .set_if(cstr!("query"), selection.filter.as_deref())
            .set_if(cstr!("collation"), selection.collation.as_deref());
        let reply = self.read(namespace.database, command).await?;
        let reply = raw_of(&reply)?;
        let values = raw::get(reply.as_bytes(), "values").and_then(|values| values.as_nested());
        let values = values.ok_or_else(|| Error::internal("a reply without values"))?;
        raw::elements(values)
            .map_err(fault::malformed)?
            .map(|element| {
                let mut text = Vec::new();
                let element = element.map_err(fault::malformed)?;
                ejson::write_value(&element, format, &mut text).map_err(fault::malformed)?;
                Ok(text)
            })
            .collect()
    }

    /// The server's plan, as JSON. Nothing is executed unless the verbosity asks for it, and
    /// nothing is ever written.
    ///
    /// # Errors
    /// What the guard or the server refuses.
    pub async fn explain(
        &self,
        namespace: &Namespace<'_>,
        explained: &Explained,
        verbosity: &str,
        format: Format,
    ) -> Result<Vec<u8>, Error> {
        let inner = match explained {
            Explained::Find {
                selection,
                sort,
                projection,
            } => {
                selection.check(namespace)?;
                namespace.check(sort.as_deref().map(RawDocument::as_bytes), "/sort")?;
                namespace.check(
                    projection.as_deref().map(RawDocument::as_bytes),
                    "/projection",
                )?;
                let whole =
                    |number: Option<u64>| number.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
                Command::new(cstr!("find"), namespace.collection)
                    .set_if(cstr!("filter"), selection.filter.as_deref())
                    .set_if(cstr!("sort"), sort.as_deref())
                    .set_if(cstr!("projection"), projection.as_deref())
                    .set_if(cstr!("collation"), selection.collation.as_deref())
                    .set_if(cstr!("skip"), whole(selection.skip))
                    .set_if(cstr!("limit"), whole(selection.limit))
            }
            Explained::Aggregate(aggregate) => {
                aggregate.validate(namespace)?;
                if aggregate.writes() {
                    return Err(fault::invalid(
                        "A pipeline that writes cannot be explained; leave its last stage out.",
                        "/pipeline",
                    ));
                }
                aggregate.command(namespace, 0)
            }
            Explained::Count(selection) => {
                selection.check(namespace)?;
                selection.count(namespace)
            }
        };
        let command = Command::new(cstr!("explain"), inner.into_document())
            .set(cstr!("verbosity"), verbosity);
        let mut reply = self.read(namespace.database, command).await?;
        // What concerns the driver, and hosts, which are nobody's business.
        for key in [
            "ok",
            "operationTime",
            "$clusterTime",
            "serverInfo",
            "command",
        ] {
            reply.remove(key);
        }
        let mut text = Vec::new();
        ejson::write_document(raw_of(&reply)?.as_bytes(), format, &mut text)
            .map_err(fault::malformed)?;
        Ok(text)
    }
}

/// A reply as bytes.
pub(super) fn raw_of(document: &Document) -> Result<RawDocumentBuf, Error> {
    RawDocumentBuf::try_from(document).map_err(|error| Error::internal(error.to_string()))
}
