//! `…/collections/{collection}/documents`: finding and inserting.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

pub mod one;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::mongodb::{DEFAULT_LIMIT, Find, MAX_WRITES};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ParameterRefusals,
        ThingRefusals, UpstreamRefusals,
    },
    routes::platform::mongodb::{
        ConnectionQuery,
        answer::{Accepted, Object},
        body::{Ejson, Members, parameter, wrong},
    },
    state::ApiState,
};

/// Which documents; the documents among these are Extended JSON.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DocumentsQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Which documents: `{"status":"open"}`.
    #[garde(skip)]
    filter: Option<String>,
    /// Which fields: `{"name":1}`.
    #[garde(skip)]
    projection: Option<String>,
    /// In which order: `{"created":-1}`; by `_id` by default. `{"$natural":1}` is the server's own.
    #[garde(skip)]
    sort: Option<String>,
    /// How texts compare: `{"locale":"de"}`.
    #[garde(skip)]
    collation: Option<String>,
    /// How many of the first to leave out; `cursor` is the better way to the next page.
    #[garde(skip)]
    skip: Option<u64>,
    /// Most documents of the page; 100 by default.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, which had the same filter, projection and sort.
    #[garde(length(max = 40_000))]
    cursor: Option<String>,
}

/// One page of documents.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbDocuments {
    /// Extended JSON.
    #[schema(value_type = Vec<Object>)]
    documents: Vec<serde_json::Value>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Documents to insert: `document` or `documents`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct NewMongodbDocuments {
    /// One document.
    #[schema(value_type = Option<Object>)]
    document: Option<serde_json::Value>,
    /// Up to 1000 documents.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<serde_json::Value>>,
    /// Whether the first refusal ends it; true by default.
    ordered: Option<bool>,
}

/// What was inserted.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct InsertedMongodbDocuments {
    /// How many.
    inserted: u64,
    /// Their `_id`s, in the request's order; documents without one got an ObjectId.
    #[schema(value_type = Vec<Value>)]
    ids: Vec<serde_json::Value>,
}

/// Find documents
///
/// One page. Sorted by `_id`, pages neither repeat nor miss a document, whatever is written
/// meanwhile; in other orders a page begins after as many documents as were shown.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents", tag = "mongodb",
    params(CollectionPath, DocumentsQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "One page", content((MongodbDocuments = "application/json"), (MongodbDocuments = "application/ejson"))),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_mongodb_documents(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<DocumentsQuery>,
    Accepted(format): Accepted,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(false)?;
    let find = Find {
        filter: parameter("filter", query.filter.as_deref())?,
        projection: parameter("projection", query.projection.as_deref())?,
        sort: parameter("sort", query.sort.as_deref())?,
        collation: parameter("collation", query.collation.as_deref())?,
        skip: query.skip.unwrap_or_default(),
        limit: query.limit.unwrap_or(DEFAULT_LIMIT),
        cursor: query.cursor,
    };
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let page = mongodb.find(&namespace, &find, format).await?;
    let page = Object::default()
        .raw("documents", &page.documents)
        .with("next_cursor", page.next_cursor);
    Ok(page.respond(StatusCode::OK, format))
}

/// Insert documents
///
/// All in one command. Where one is refused, `details` of the error say which, and how many were
/// inserted before it.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    request_body(content((NewMongodbDocuments = "application/json"), (NewMongodbDocuments = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 201, description = "All were inserted", content((InsertedMongodbDocuments = "application/json"), (InsertedMongodbDocuments = "application/ejson"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_mongodb_documents(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Accepted(format): Accepted,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(true)?;
    let members = Members::of(&body, "", &["document", "documents", "ordered"])?;
    let documents = match (
        members.document("document")?,
        members.documents("documents")?,
    ) {
        (Some(document), None) => vec![document],
        (None, Some(documents)) => documents,
        _ => {
            return Err(wrong(
                "/documents",
                "either 'document' or 'documents' must be there",
            ));
        }
    };
    if documents.is_empty() || documents.len() > MAX_WRITES {
        return Err(wrong(
            "/documents",
            &format!("must be 1 to {MAX_WRITES} documents"),
        ));
    }
    let ordered = members.flag("ordered")?.unwrap_or(true);
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.document.insert", &path.target())
        .await?;
    let (ids, count) = mongodb
        .insert(&namespace, &documents, ordered, format)
        .await?;
    let inserted = Object::default().with("inserted", count).raw("ids", &ids);
    Ok(inserted.respond(StatusCode::CREATED, format))
}
