//! `GET …/collections/{collection}/count`: how many documents fit.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::mongodb::Selection;
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::CollectionPath;
use crate::{
    access::{ProjectAccess, Read},
    openapi::{
        DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    routes::platform::mongodb::body::parameter,
    state::ApiState,
};

/// Which documents.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CountQuery {
    /// The identifier of a stored connection; by default the primary one.
    #[garde(length(min = 1, max = 100))]
    #[param(min_length = 1, max_length = 100)]
    connection: Option<String>,
    /// Which documents, Extended JSON; all by default.
    #[garde(skip)]
    filter: Option<String>,
    /// How texts compare, Extended JSON.
    #[garde(skip)]
    collation: Option<String>,
    /// How many of the first to leave out.
    #[garde(skip)]
    skip: Option<u64>,
    /// Where to stop counting.
    #[garde(range(min = 1))]
    #[param(minimum = 1)]
    limit: Option<u64>,
}

/// A number of documents.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbCount {
    /// How many fit.
    count: u64,
}

/// Count documents
///
/// Without a filter the server's own book-keeping answers.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/collections/{collection}/count", tag = "mongodb",
    params(CollectionPath, CountQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The number", body = MongodbCount),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_mongodb_count(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<CollectionPath>,
    Parameters(query): Parameters<CountQuery>,
) -> Result<Json<MongodbCount>, ApiError> {
    let namespace = path.namespace(false)?;
    let selection = Selection {
        filter: parameter("filter", query.filter.as_deref())?,
        collation: parameter("collation", query.collation.as_deref())?,
        skip: query.skip,
        limit: query.limit,
    };
    let mongodb = state
        .connections()?
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let count = mongodb.count(&namespace, &selection).await?;
    Ok(Json(MongodbCount { count }))
}
