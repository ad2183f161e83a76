//! `…/collections/{collection}/indexes`: listing, creating, dropping.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use bunbun_databases::mongodb::ejson::Format;
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ParameterRefusals,
        ThingRefusals, UpstreamRefusals,
    },
    routes::{
        Success,
        platform::mongodb::{
            ConnectionQuery,
            answer::{Accepted, Object, array, respond},
            body::{Ejson, Members},
        },
    },
    state::ApiState,
};

/// The indexes of a collection.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbIndexes {
    /// As the server describes them: `name`, `key`, `unique`, …
    #[schema(value_type = Vec<Object>)]
    indexes: Vec<serde_json::Value>,
    /// Always null: a collection has at most 64.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A new index.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct NewMongodbIndex {
    /// The fields in their order, each with 1, -1 or a type: `{"customer":1,"created":-1}`.
    #[schema(value_type = Object)]
    key: serde_json::Value,
    /// `name`, `unique`, `sparse`, `expireAfterSeconds`, `partialFilterExpression`, `collation`, …
    /// as MongoDB's `createIndexes` has them.
    #[schema(value_type = Option<Object>)]
    options: Option<serde_json::Value>,
}

/// The name of an index.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedMongodbIndex {
    /// Its name.
    #[schema(example = "customer_1_created_-1")]
    name: String,
}

/// An index.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct IndexPath {
    /// The index's name.
    #[param(example = "customer_1")]
    name: String,
}

/// The indexes of a collection
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/indexes", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The indexes", content((MongodbIndexes = "application/json"), (MongodbIndexes = "application/ejson"))),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_mongodb_indexes(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Accepted(format): Accepted,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(false)?;
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let indexes = mongodb.indexes(&namespace, format).await?;
    let page = Object::default()
        .raw("indexes", &array(indexes))
        .with("next_cursor", None::<String>);
    Ok(page.respond(StatusCode::OK, format))
}

/// Create an index
///
/// The answer comes when it is built; on a large collection that can be after a timeout, and the
/// server goes on building.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/indexes", tag = "mongodb",
    params(CollectionPath, ConnectionQuery),
    request_body(content((NewMongodbIndex = "application/json"), (NewMongodbIndex = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 201, description = "It is there", body = CreatedMongodbIndex),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_mongodb_index(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Ejson(body): Ejson,
) -> Result<(StatusCode, Json<CreatedMongodbIndex>), ApiError> {
    let namespace = path.namespace(true)?;
    let members = Members::of(&body, "", &["key", "options"])?;
    let key = members.required("key", members.document("key")?)?;
    let options = members.document("options")?.unwrap_or_default();
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.index.create", &path.target())
        .await?;
    let name = mongodb.create_index(&namespace, &key, &options).await?;
    Ok((StatusCode::CREATED, Json(CreatedMongodbIndex { name })))
}

/// Drop an index
#[utoipa::path(
    delete, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/indexes/{name}", tag = "mongodb",
    params(CollectionPath, IndexPath, ConnectionQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is gone", body = Success),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn delete_mongodb_index(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Path(IndexPath { name }): Path<IndexPath>,
    Parameters(query): Parameters<ConnectionQuery>,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(true)?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let target = format!("{}.{name}", path.target());
    connections
        .audit(&access, "mongodb.index.drop", &target)
        .await?;
    mongodb.drop_index(&namespace, &name).await?;
    Ok(respond(
        StatusCode::OK,
        Format::Relaxed,
        br#"{"success":true}"#.to_vec(),
    ))
}
