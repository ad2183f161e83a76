//! `POST …/collections/{collection}/aggregate`: a pipeline.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::mongodb::{Aggregate, DEFAULT_LIMIT, MAX_LIMIT, Mongodb, Page};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use http::StatusCode;
use utoipa::ToSchema;

use super::{CollectionPath, documents::MongodbDocuments};
use crate::{
    access::{Permission, ProjectAccess, Read},
    connections::Connected,
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ThingRefusals,
        UpstreamRefusals,
    },
    routes::platform::mongodb::{
        ConnectionQuery,
        answer::{Accepted, Object},
        body::{Ejson, Members},
    },
    state::ApiState,
};

/// A pipeline.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct MongodbAggregate {
    /// Its stages.
    #[schema(value_type = Vec<Object>)]
    pipeline: Vec<serde_json::Value>,
    /// Most documents of the page; 100 by default.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, which had the same pipeline; the pipeline should sort.
    cursor: Option<String>,
    /// Whether stages may use the server's disk.
    allow_disk_use: Option<bool>,
    /// Variables for `$$name`.
    #[schema(value_type = Option<Object>)]
    r#let: Option<serde_json::Value>,
    /// How texts compare.
    #[schema(value_type = Option<Object>)]
    collation: Option<serde_json::Value>,
}

/// Run a pipeline
///
/// One page of what it yields. `$out` and `$merge` need the permission to write and stay within
/// the database; nothing runs code.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/aggregate", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    request_body(content((MongodbAggregate = "application/json"), (MongodbAggregate = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "One page", content((MongodbDocuments = "application/json"), (MongodbDocuments = "application/ejson"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn run_mongodb_aggregate(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Accepted(format): Accepted,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let aggregate = read(&Members::of(&body, "", MEMBERS)?, DEFAULT_LIMIT)?;
    let namespace = path.namespace(access.may_write().is_ok())?;
    aggregate.validate(&namespace)?;
    let identifier = query.connection.as_deref();
    let mongodb = connect(&state, &access, identifier, &aggregate, &path.target()).await?;
    let page: Page = mongodb.aggregate(&namespace, &aggregate, format).await?;
    let page = Object::default()
        .raw("documents", &page.documents)
        .with("next_cursor", page.next_cursor);
    Ok(page.respond(StatusCode::OK, format))
}

/// What is understood of a body.
pub(super) const MEMBERS: &[&str] = &[
    "pipeline",
    "limit",
    "cursor",
    "allow_disk_use",
    "let",
    "collation",
];

pub(super) fn read(members: &Members<'_>, default_limit: usize) -> Result<Aggregate, ApiError> {
    Ok(Aggregate {
        pipeline: members.required("pipeline", members.array("pipeline")?)?,
        allow_disk_use: members.flag("allow_disk_use")?.unwrap_or_default(),
        variables: members.document("let")?,
        collation: members.document("collation")?,
        limit: members.limit(default_limit, MAX_LIMIT)?,
        cursor: members.text("cursor")?.map(str::to_owned),
    })
}

/// The pool; a pipeline that writes is a change, in the audit log like any other.
pub(in crate::routes::platform::mongodb) async fn connect<P: Permission>(
    state: &ApiState,
    access: &ProjectAccess<P>,
    identifier: Option<&str>,
    aggregate: &Aggregate,
    target: &str,
) -> Result<Connected<Mongodb>, ApiError> {
    let connections = state.connections()?;
    if !aggregate.writes() {
        return connections.mongodb(access, identifier).await;
    }
    let access = access.may_write()?;
    let mongodb = connections.mongodb(&access, identifier).await?;
    connections
        .audit(&access, "mongodb.aggregate.write", target)
        .await?;
    Ok(mongodb)
}
