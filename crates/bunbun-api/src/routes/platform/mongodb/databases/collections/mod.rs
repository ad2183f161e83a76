//! `/api/platform/mongodb/{ref}/databases/{database}/collections`: listing, creating, dropping.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

pub mod aggregate;
pub mod bulk;
pub mod count;
pub mod distinct;
pub mod documents;
pub mod explain;
pub mod indexes;
pub mod schema;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bunbun_databases::mongodb::{DEFAULT_LIMIT, MAX_LIMIT, Namespace, ejson};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::DatabasePath;
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
            body::{Ejson, Members, wrong},
        },
    },
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_mongodb_collections, create_mongodb_collection))
        .routes(routes!(delete_mongodb_collection))
        .routes(routes!(
            documents::list_mongodb_documents,
            documents::create_mongodb_documents
        ))
        .routes(routes!(
            documents::one::get_mongodb_document,
            documents::one::replace_mongodb_document,
            documents::one::update_mongodb_document,
            documents::one::delete_mongodb_document
        ))
        .routes(routes!(aggregate::run_mongodb_aggregate))
        .routes(routes!(bulk::run_mongodb_bulk))
        .routes(routes!(count::get_mongodb_count))
        .routes(routes!(distinct::list_mongodb_distinct))
        .routes(routes!(explain::run_mongodb_explain))
        .routes(routes!(
            indexes::list_mongodb_indexes,
            indexes::create_mongodb_index
        ))
        .routes(routes!(indexes::delete_mongodb_index))
        .routes(routes!(schema::get_mongodb_schema))
}

/// A collection.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct CollectionPath {
    /// The project.
    #[serde(rename = "ref")]
    #[param(example = "default")]
    _project: String,
    /// The database.
    #[param(example = "shop")]
    pub(crate) database: String,
    /// The collection.
    #[param(example = "orders")]
    pub(crate) collection: String,
}

impl CollectionPath {
    /// For the guard: whose collection it is, and whether the caller may write.
    pub(crate) fn namespace(&self, may_write: bool) -> Result<Namespace<'_>, ApiError> {
        Ok(Namespace::collection(
            &self.database,
            &self.collection,
            may_write,
        )?)
    }

    /// For the audit log.
    pub(crate) fn target(&self) -> String {
        format!("{}.{}", self.database, self.collection)
    }
}

/// Which page of collections.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CollectionsQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Most collections of the page; 100 by default.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[garde(length(max = 4096))]
    cursor: Option<String>,
}

/// A collection or view.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbCollection {
    /// Its name.
    name: String,
    /// `collection`, `view` or `timeseries`.
    #[schema(rename = "type")]
    kind: String,
    /// Documents, as the server's book-keeping has it; null for views.
    #[schema(required = true)]
    documents: Option<u64>,
    /// How it was created: validator, collation, the pipeline of a view, …
    #[schema(value_type = Object)]
    options: serde_json::Value,
}

/// One page of collections.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbCollections {
    /// By name; those of the server (`system.*`) are left out.
    collections: Vec<MongodbCollection>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A new collection or view.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct NewMongodbCollection {
    /// Its name.
    #[schema(example = "orders")]
    name: String,
    /// `validator`, `validationLevel`, `validationAction`, `capped`, `size`, `max`, `viewOn`,
    /// `pipeline`, `collation`, `timeseries`, `expireAfterSeconds`, `clusteredIndex`,
    /// `changeStreamPreAndPostImages`: as MongoDB's `create` has them.
    #[schema(value_type = Option<Object>)]
    options: Option<serde_json::Value>,
}

/// The collections of a database
///
/// With counts and options.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections", tag = "mongodb",
    params(DatabasePath, CollectionsQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "One page", content((MongodbCollections = "application/json"), (MongodbCollections = "application/ejson"))),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_mongodb_collections(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<DatabasePath>,
    Parameters(query): Parameters<CollectionsQuery>,
    Accepted(format): Accepted,
) -> Result<Response, ApiError> {
    let namespace = Namespace::database(&path.database, false)?;
    let after = after(query.cursor.as_deref())?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let (found, has_more) = mongodb
        .collections(&namespace, after.as_deref(), limit)
        .await?;
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| URL_SAFE_NO_PAD.encode(&last.name));
    let mut rows = Vec::with_capacity(found.len());
    for collection in &found {
        let mut options = Vec::new();
        ejson::write_document(collection.options.as_bytes(), format, &mut options)
            .map_err(bunbun_databases::Error::from)?;
        let row = Object::default()
            .with("name", collection.name.as_str())
            .with("type", collection.kind.as_str())
            .with("documents", collection.documents)
            .raw("options", &options);
        rows.push(row.finish());
    }
    let page = Object::default()
        .raw("collections", &array(rows))
        .with("next_cursor", next_cursor);
    Ok(page.respond(StatusCode::OK, format))
}

/// The name that a page begins behind.
fn after(cursor: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some)
        .ok_or_else(|| wrong("/cursor", "is no next_cursor of a page before"))
}

/// Create a collection or view
///
/// With a validator, if wanted. What is stored for later cannot run code or write.
#[utoipa::path(
    post, path = "/api/platform/mongodb/{ref}/databases/{database}/collections", tag = "mongodb",
    params(DatabasePath, ConnectionQuery), request_body(content((NewMongodbCollection = "application/json"), (NewMongodbCollection = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 201, description = "It was created", body = Success),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_mongodb_collection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<DatabasePath>,
    Parameters(query): Parameters<ConnectionQuery>,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let members = Members::of(&body, "", &["name", "options"])?;
    let name = members.required("name", members.text("name")?)?;
    let options = members.document("options")?.unwrap_or_default();
    let namespace = Namespace::collection(&path.database, name, true)?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let target = format!("{}.{name}", path.database);
    connections
        .audit(&access, "mongodb.collection.create", &target)
        .await?;
    mongodb.create_collection(&namespace, &options).await?;
    Ok(respond(
        StatusCode::CREATED,
        ejson::Format::Relaxed,
        br#"{"success":true}"#.to_vec(),
    ))
}

/// What is dropped, said twice.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DropQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// The collection's name once more, because everything in it goes.
    #[garde(length(max = 255))]
    confirm: Option<String>,
}

/// Drop a collection
///
/// With all its documents and indexes; `confirm` must name it.
#[utoipa::path(
    delete, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}", tag = "mongodb",
    params(CollectionPath, DropQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is gone", body = Success),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn delete_mongodb_collection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<DropQuery>,
) -> Result<Response, ApiError> {
    let namespace = path.namespace(true)?;
    if query.confirm.as_deref() != Some(&*path.collection) {
        return Err(bunbun_databases::Error::confirmation_required(&path.collection).into());
    }
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.collection.drop", &path.target())
        .await?;
    mongodb.drop_collection(&namespace).await?;
    Ok(respond(
        StatusCode::OK,
        ejson::Format::Relaxed,
        br#"{"success":true}"#.to_vec(),
    ))
}
