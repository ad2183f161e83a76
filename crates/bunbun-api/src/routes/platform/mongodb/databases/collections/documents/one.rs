//! `…/documents/{id}`: one document, with optimistic locking by `ETag` and `If-Match`.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bunbun_databases::{
    Error,
    mongodb::{
        Change, DocumentId, Precondition,
        bson::RawDocument,
        digest,
        ejson::{self, Format},
    },
};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ETAG, IF_MATCH, IF_NONE_MATCH, VARY},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{
        BodyRefusals, ConditionRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals,
        ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    routes::{
        Success,
        platform::mongodb::{
            ConnectionQuery,
            answer::{Accepted, respond},
            body::{Ejson, Members, parameter, wrong},
        },
    },
    state::ApiState,
};

/// The document's `_id`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct IdPath {
    /// 24 hexadecimal digits are an ObjectId, a UUID is one, an integer is a number; what begins
    /// with `{` or `"`, or follows `ejson:`, is Extended JSON of any type; else it is a string.
    #[param(example = "5f5e1d0e8b0c4b3a9c1d2e3f")]
    id: String,
}

/// Which parts of the document.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DocumentQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Which fields; the answer has no `ETag` then.
    #[garde(skip)]
    projection: Option<String>,
}

/// Whether to make what is not there.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UpsertQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Whether to insert the document where there is none.
    #[garde(skip)]
    #[serde(default)]
    upsert: bool,
}

/// A document, Extended JSON.
#[derive(Debug, ToSchema)]
#[schema(value_type = Object)]
#[expect(dead_code, reason = "describes what is written as text")]
pub(crate) struct MongodbDocument(serde_json::Value);

/// A change of a document.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what is read as Extended JSON")]
pub(crate) struct MongodbChange {
    /// Update operators (`{"$set": …}`) or an array of stages.
    #[schema(value_type = Value)]
    update: serde_json::Value,
    /// Which elements of arrays `$[name]` means.
    #[schema(value_type = Option<Vec<Object>>)]
    array_filters: Option<Vec<serde_json::Value>>,
}

/// Get a document
///
/// The `ETag` is good for `If-Match` on a change, whichever form of JSON it came with.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents/{id}", tag = "mongodb",
    params(CollectionPath, IdPath, DocumentQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The document", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson")),
         headers(("ETag" = String, description = "Names this state of the document"))),
        (status = 304, description = "It is as If-None-Match says"),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_mongodb_document(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Path(IdPath { id }): Path<IdPath>,
    Parameters(query): Parameters<DocumentQuery>,
    Accepted(format): Accepted,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = DocumentId::from_segment(&id)?;
    let namespace = path.namespace(false)?;
    let projection = parameter("projection", query.projection.as_deref())?;
    let is_whole = projection.is_none();
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let document = mongodb.get(&namespace, &id, projection).await?;
    if !is_whole {
        return Ok(respond(StatusCode::OK, format, text(&document, format)?));
    }
    let known = etags(&headers, &IF_NONE_MATCH);
    if known.iter().any(|known| *known == etag(&document, format)) {
        let vary = HeaderValue::from_static("accept");
        return Ok((StatusCode::NOT_MODIFIED, [(VARY, vary)]).into_response());
    }
    answer(StatusCode::OK, &document, format)
}

/// Replace a document
///
/// The body is the whole new document; its `_id` may be left out. With `If-Match` it happens only
/// if the document is still the one that the `ETag` names; comparing and replacing are one step. With
/// `If-None-Match: *` and `upsert=true` only if there is none yet.
#[utoipa::path(
    put, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents/{id}", tag = "mongodb",
    params(CollectionPath, IdPath, UpsertQuery, ("If-Match" = Option<String>, Header, description = "The ETag of the document, or *")),
    request_body(content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The document as it is now", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson")),
         headers(("ETag" = String, description = "Names this state of the document"))),
        (status = 201, description = "The document, which is new", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson")),
         headers(("ETag" = String, description = "Names this state of the document"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
#[expect(
    clippy::too_many_arguments,
    reason = "each extractor is one thing of the request"
)]
pub(crate) async fn replace_mongodb_document(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Path(IdPath { id }): Path<IdPath>,
    Parameters(query): Parameters<UpsertQuery>,
    Accepted(format): Accepted,
    headers: HeaderMap,
    Ejson(document): Ejson,
) -> Result<Response, ApiError> {
    let id = DocumentId::from_segment(&id)?;
    let namespace = path.namespace(true)?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.document.replace", &path.target())
        .await?;
    let precondition = match is_for_new_only(&headers) {
        true => Precondition::Absent,
        false => precondition(&headers),
    };
    let changed = mongodb
        .replace(&namespace, &id, &document, query.upsert, &precondition)
        .await?;
    let status = if changed.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    answer(status, &changed.document, format)
}

/// Change a document
///
/// By update operators or a pipeline, with `If-Match` as for replacing.
#[utoipa::path(
    patch, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents/{id}", tag = "mongodb",
    params(CollectionPath, IdPath, UpsertQuery, ("If-Match" = Option<String>, Header, description = "The ETag of the document, or *")),
    request_body(content((MongodbChange = "application/json"), (MongodbChange = "application/ejson"))),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The document as it is now", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson")),
         headers(("ETag" = String, description = "Names this state of the document"))),
        (status = 201, description = "The document, which is new", content((MongodbDocument = "application/json"), (MongodbDocument = "application/ejson")),
         headers(("ETag" = String, description = "Names this state of the document"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
#[expect(
    clippy::too_many_arguments,
    reason = "each extractor is one thing of the request"
)]
pub(crate) async fn update_mongodb_document(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Path(IdPath { id }): Path<IdPath>,
    Parameters(query): Parameters<UpsertQuery>,
    Accepted(format): Accepted,
    headers: HeaderMap,
    Ejson(body): Ejson,
) -> Result<Response, ApiError> {
    let id = DocumentId::from_segment(&id)?;
    let namespace = path.namespace(true)?;
    let members = Members::of(&body, "", &["update", "array_filters"])?;
    let change = Change::from_value(members.required("update", members.value("update"))?)?;
    let filters = members.array("array_filters")?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.document.update", &path.target())
        .await?;
    let changed = mongodb
        .change(
            &namespace,
            &id,
            &change,
            filters.as_ref(),
            query.upsert,
            &precondition(&headers),
        )
        .await?;
    let status = if changed.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    answer(status, &changed.document, format)
}

/// Delete a document
///
/// With `If-Match` as for replacing.
#[utoipa::path(
    delete, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/documents/{id}", tag = "mongodb",
    params(CollectionPath, IdPath, ConnectionQuery, ("If-Match" = Option<String>, Header, description = "The ETag of the document, or *")),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is gone", body = Success),
        ParameterRefusals, ThingRefusals, ConditionRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn delete_mongodb_document(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<CollectionPath>,
    Path(IdPath { id }): Path<IdPath>,
    Parameters(query): Parameters<ConnectionQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = DocumentId::from_segment(&id)?;
    let namespace = path.namespace(true)?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    connections
        .audit(&access, "mongodb.document.delete", &path.target())
        .await?;
    mongodb
        .remove(&namespace, &id, &precondition(&headers))
        .await?;
    Ok(respond(
        StatusCode::OK,
        Format::Relaxed,
        br#"{"success":true}"#.to_vec(),
    ))
}

fn text(document: &RawDocument, format: Format) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    ejson::write_document(document.as_bytes(), format, &mut text).map_err(Error::from)?;
    Ok(text)
}

fn answer(
    status: StatusCode,
    document: &RawDocument,
    format: Format,
) -> Result<Response, ApiError> {
    let mut response = respond(status, format, text(document, format)?);
    let value = HeaderValue::try_from(etag(document, format)).map_err(|_| wrong("", "no ETag"))?;
    response.headers_mut().insert(ETAG, value);
    Ok(response)
}

/// `"DIGEST-c"` or `"DIGEST-r"`: strong, so it says which form it names.
fn etag(document: &RawDocument, format: Format) -> String {
    let form = if format == Format::Canonical {
        'c'
    } else {
        'r'
    };
    format!("\"{}-{form}\"", digest(document))
}

/// The entity tags of a header, as they stand there; weak ones never match.
fn etags(headers: &HeaderMap, name: &http::HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_owned())
        .collect()
}

/// `If-None-Match: *`: only where there is nothing yet.
fn is_for_new_only(headers: &HeaderMap) -> bool {
    etags(headers, &IF_NONE_MATCH).iter().any(|tag| tag == "*")
}

/// What `If-Match` asks for. A header without any of our tags is a condition that never holds.
fn precondition(headers: &HeaderMap) -> Precondition {
    if !headers.contains_key(IF_MATCH) {
        return Precondition::None;
    }
    let tags = etags(headers, &IF_MATCH);
    if tags.iter().any(|tag| tag == "*") {
        return Precondition::Exists;
    }
    let digests = tags.iter().filter_map(|tag| {
        let tag = tag.strip_prefix('"')?.strip_suffix('"')?;
        let (digest, _) = tag.rsplit_once('-')?;
        Some(digest.to_owned())
    });
    Precondition::Digest(digests.collect())
}
