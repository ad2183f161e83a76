//! `POST /api/platform/mongodb/{ref}/action/{action}`: the Atlas Data API, version 1, which MongoDB
//! ended in September 2025 and left its users without.
//!
//! Bodies and answers have the original's members. `dataSource` is the identifier of a stored
//! connection. `Accept: application/ejson` gives canonical Extended JSON, everything else plain
//! JSON with bare ids and dates, as the original did. Errors are in our own envelope.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_core::Code;
use bunbun_databases::mongodb::{
    Aggregate, Change, Delete, Find, MAX_LIMIT, Mongodb, Namespace, Update, Written,
    ejson::{self, Format},
};
use bunbun_http::{ApiError, extract::Path};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    answer::{Accepted, Object},
    body::{Ejson, Members, wrong},
    databases::collections::{aggregate, documents::one::MongodbDocument},
};
use crate::{
    access::{ProjectAccess, Read, Write},
    connections::Connected,
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ThingRefusals,
        UpstreamRefusals,
    },
    state::ApiState,
};

/// An action.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ActionPath {
    /// The project.
    #[serde(rename = "ref")]
    #[param(example = "default")]
    _project: String,
    /// `findOne`, `find`, `insertOne`, `insertMany`, `updateOne`, `updateMany`, `replaceOne`,
    /// `deleteOne`, `deleteMany` or `aggregate`.
    #[param(example = "findOne")]
    action: String,
}

/// What the Atlas Data API takes; which members count depends on the action.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct DataApiRequest {
    /// The identifier of a stored connection; by default the primary one.
    data_source: Option<String>,
    /// The database.
    database: String,
    /// The collection.
    collection: String,
    /// Which documents.
    #[schema(value_type = Option<Object>)]
    filter: Option<serde_json::Value>,
    /// Which fields.
    #[schema(value_type = Option<Object>)]
    projection: Option<serde_json::Value>,
    /// In which order.
    #[schema(value_type = Option<Object>)]
    sort: Option<serde_json::Value>,
    /// Most documents; 1000 by default and at most.
    limit: Option<u32>,
    /// How many of the first to leave out.
    skip: Option<u64>,
    /// With `insertOne`.
    #[schema(value_type = Option<Object>)]
    document: Option<serde_json::Value>,
    /// With `insertMany`.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<serde_json::Value>>,
    /// With `updateOne` and `updateMany`.
    #[schema(value_type = Option<Value>)]
    update: Option<serde_json::Value>,
    /// With `replaceOne`.
    #[schema(value_type = Option<Object>)]
    replacement: Option<serde_json::Value>,
    /// Whether to insert what no document fits.
    upsert: Option<bool>,
    /// With `aggregate`.
    #[schema(value_type = Option<Vec<Object>>)]
    pipeline: Option<Vec<serde_json::Value>>,
}

/// An action of the Atlas Data API
///
/// As the original had them: `findOne`, `find`, `insertOne`, `insertMany`, `updateOne`,
/// `updateMany`, `replaceOne`, `deleteOne`, `deleteMany`, `aggregate`.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/action/{action}", tag = "mongodb",
    params(ActionPath),
    request_body(content((DataApiRequest = "application/json"), (DataApiRequest = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The action's answer", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson"))),
        (status = 201, description = "Documents were inserted", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn run_mongodb_action(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<ActionPath>,
    Accepted(format): Accepted,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let action = Action::parse(&path.action)?;
    let members = Members::of(&body, "", action.members())?;
    let call = Call {
        state: &state,
        access: &access,
        format: if format == Format::Relaxed {
            Format::Plain
        } else {
            format
        },
        source: members.text("dataSource")?,
        database: members.required("database", members.text("database")?)?,
        collection: members.required("collection", members.text("collection")?)?,
        members,
    };
    match action {
        Action::FindOne => call.find_one().await,
        Action::Find => call.find().await,
        Action::Aggregate => call.aggregate().await,
        Action::InsertOne | Action::InsertMany => call.insert(action).await,
        Action::UpdateOne | Action::UpdateMany | Action::ReplaceOne => call.update(action).await,
        Action::DeleteOne | Action::DeleteMany => call.delete(action).await,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    FindOne,
    Find,
    InsertOne,
    InsertMany,
    UpdateOne,
    UpdateMany,
    ReplaceOne,
    DeleteOne,
    DeleteMany,
    Aggregate,
}

impl Action {
    fn parse(text: &str) -> Result<Self, ApiError> {
        Ok(match text {
            "findOne" => Self::FindOne,
            "find" => Self::Find,
            "insertOne" => Self::InsertOne,
            "insertMany" => Self::InsertMany,
            "updateOne" => Self::UpdateOne,
            "updateMany" => Self::UpdateMany,
            "replaceOne" => Self::ReplaceOne,
            "deleteOne" => Self::DeleteOne,
            "deleteMany" => Self::DeleteMany,
            "aggregate" => Self::Aggregate,
            _ => {
                let message = "The Data API has no such action: findOne, find, insertOne, insertMany, \
                               updateOne, updateMany, replaceOne, deleteOne, deleteMany, aggregate.";
                return Err(ApiError::new(Code::RouteNotFound, message));
            }
        })
    }

    const fn members(self) -> &'static [&'static str] {
        match self {
            Self::FindOne => &[
                "dataSource",
                "database",
                "collection",
                "filter",
                "projection",
                "sort",
            ],
            Self::Find => &[
                "dataSource",
                "database",
                "collection",
                "filter",
                "projection",
                "sort",
                "limit",
                "skip",
            ],
            Self::InsertOne => &["dataSource", "database", "collection", "document"],
            Self::InsertMany => &["dataSource", "database", "collection", "documents"],
            Self::UpdateOne | Self::UpdateMany => &[
                "dataSource",
                "database",
                "collection",
                "filter",
                "update",
                "upsert",
            ],
            Self::ReplaceOne => &[
                "dataSource",
                "database",
                "collection",
                "filter",
                "replacement",
                "upsert",
            ],
            Self::DeleteOne | Self::DeleteMany => {
                &["dataSource", "database", "collection", "filter"]
            }
            Self::Aggregate => &["dataSource", "database", "collection", "pipeline"],
        }
    }
}

struct Call<'c> {
    state: &'c ApiState,
    access: &'c ProjectAccess<Read>,
    format: Format,
    source: Option<&'c str>,
    database: &'c str,
    collection: &'c str,
    members: Members<'c>,
}

impl Call<'_> {
    fn namespace(&self, may_write: bool) -> Result<Namespace<'_>, ApiError> {
        Ok(Namespace::collection(
            self.database,
            self.collection,
            may_write,
        )?)
    }

    fn target(&self) -> String {
        format!("{}.{}", self.database, self.collection)
    }

    async fn reader(&self) -> Result<Connected<Mongodb>, ApiError> {
        self.state
            .connections()?
            .mongodb(self.access, self.source)
            .await
    }

    /// A pool for a change, which stands in the audit log from now on.
    async fn writer(&self, action: &'static str) -> Result<Connected<Mongodb>, ApiError> {
        let access: ProjectAccess<Write> = self.access.may_write()?;
        let connections = self.state.connections()?;
        let mongodb = connections.mongodb(&access, self.source).await?;
        connections.audit(&access, action, &self.target()).await?;
        Ok(mongodb)
    }

    fn selection(&self) -> Result<Find, ApiError> {
        Ok(Find {
            filter: self.members.document("filter")?,
            projection: self.members.document("projection")?,
            sort: self.members.document("sort")?,
            skip: self.members.whole("skip")?.unwrap_or_default(),
            limit: self.members.limit(MAX_LIMIT, MAX_LIMIT)?,
            ..Find::default()
        })
    }

    async fn find_one(&self) -> Result<Response, ApiError> {
        let (namespace, find) = (self.namespace(false)?, self.selection()?);
        let found = self.reader().await?.find_one(&namespace, &find).await?;
        let mut text = Vec::new();
        match found {
            Some(document) => ejson::write_document(document.as_bytes(), self.format, &mut text)
                .map_err(bunbun_databases::Error::from)?,
            None => text.extend_from_slice(b"null"),
        }
        Ok(Object::default()
            .raw("document", &text)
            .respond(StatusCode::OK, self.format))
    }

    async fn find(&self) -> Result<Response, ApiError> {
        let (namespace, find) = (self.namespace(false)?, self.selection()?);
        let page = self
            .reader()
            .await?
            .find(&namespace, &find, self.format)
            .await?;
        let answer = Object::default().raw("documents", &page.documents);
        Ok(answer.respond(StatusCode::OK, self.format))
    }

    async fn aggregate(&self) -> Result<Response, ApiError> {
        let namespace = self.namespace(self.access.may_write().is_ok())?;
        let pipeline = self.members.array("pipeline")?;
        let aggregate = Aggregate {
            pipeline: self.members.required("pipeline", pipeline)?,
            limit: MAX_LIMIT,
            ..Aggregate::default()
        };
        aggregate.validate(&namespace)?;
        let mongodb = aggregate::connect(
            self.state,
            self.access,
            self.source,
            &aggregate,
            &self.target(),
        )
        .await?;
        let page = mongodb
            .aggregate(&namespace, &aggregate, self.format)
            .await?;
        let answer = Object::default().raw("documents", &page.documents);
        Ok(answer.respond(StatusCode::OK, self.format))
    }

    async fn insert(&self, action: Action) -> Result<Response, ApiError> {
        let namespace = self.namespace(true)?;
        let documents = if action == Action::InsertOne {
            vec![
                self.members
                    .required("document", self.members.document("document")?)?,
            ]
        } else {
            self.members
                .required("documents", self.members.documents("documents")?)?
        };
        let mongodb = self.writer("mongodb.document.insert").await?;
        let (ids, _) = mongodb
            .insert(&namespace, &documents, true, self.format)
            .await?;
        let answer = if action == Action::InsertOne {
            // The array of one, without its brackets.
            let id = ids.get(1..ids.len() - 1).unwrap_or_default();
            Object::default().raw("insertedId", id)
        } else {
            Object::default().raw("insertedIds", &ids)
        };
        Ok(answer.respond(StatusCode::CREATED, self.format))
    }

    async fn update(&self, action: Action) -> Result<Response, ApiError> {
        let namespace = self.namespace(true)?;
        let member = if action == Action::ReplaceOne {
            "replacement"
        } else {
            "update"
        };
        let value = self.members.required(member, self.members.value(member))?;
        let change = Change::from_value(value)?;
        if matches!(change, Change::Replacement(_)) != (action == Action::ReplaceOne) {
            let message = "updates have operators like $set, replacements have none";
            return Err(wrong(&self.members.pointer(member), message));
        }
        let update = Update {
            filter: self
                .members
                .required("filter", self.members.document("filter")?)?,
            change,
            many: action == Action::UpdateMany,
            upsert: self.members.flag("upsert")?.unwrap_or_default(),
            array_filters: None,
            collation: None,
        };
        let mongodb = self.writer("mongodb.document.update").await?;
        let written = mongodb.update(&namespace, &[update], true).await?;
        let written = whole(written)?;
        let mut answer = Object::default()
            .with("matchedCount", written.matched)
            .with("modifiedCount", written.modified);
        if let Some(id) = written.upserted_id(self.format)? {
            answer = answer.raw("upsertedId", &id);
        }
        Ok(answer.respond(StatusCode::OK, self.format))
    }

    async fn delete(&self, action: Action) -> Result<Response, ApiError> {
        let namespace = self.namespace(true)?;
        let delete = Delete {
            filter: self
                .members
                .required("filter", self.members.document("filter")?)?,
            many: action == Action::DeleteMany,
            collation: None,
        };
        let mongodb = self.writer("mongodb.document.delete").await?;
        let written = whole(mongodb.delete(&namespace, &[delete], true).await?)?;
        let answer = Object::default().with("deletedCount", written.matched);
        Ok(answer.respond(StatusCode::OK, self.format))
    }
}

/// One operation's outcome: its refusal is the request's.
fn whole(mut written: Written) -> Result<Written, ApiError> {
    match written.errors.pop() {
        Some(error) => Err(error.into_error().into()),
        None => Ok(written),
    }
}
