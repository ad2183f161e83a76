//! `GET /api/platform/mongodb/{ref}/databases/{database}/stats`: sizes and counts.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::mongodb::Namespace;
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::DatabasePath;
use crate::{
    access::{ProjectAccess, Read},
    openapi::{
        DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    routes::platform::mongodb::ConnectionQuery,
    state::ApiState,
};

/// The server's book-keeping of a database.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbDatabaseStats {
    /// Its name.
    database: String,
    /// Collections, views left out.
    collections: u64,
    /// Views.
    views: u64,
    /// Documents.
    documents: u64,
    /// Bytes of all documents, uncompressed.
    data_size_bytes: u64,
    /// Bytes of all collections on disk.
    storage_size_bytes: u64,
    /// Indexes.
    indexes: u64,
    /// Bytes of all indexes.
    index_size_bytes: u64,
    /// Bytes of a document, on average.
    average_document_size_bytes: u64,
}

/// Sizes and counts of a database
///
/// All 0 for a database that does not exist, as MongoDB has it.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases/{database}/stats", tag = "mongodb",
    params(DatabasePath, ConnectionQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The numbers", body = MongodbDatabaseStats),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_mongodb_database_stats(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<DatabasePath>,
    Parameters(query): Parameters<ConnectionQuery>,
) -> Result<Json<MongodbDatabaseStats>, ApiError> {
    let namespace = Namespace::database(&path.database, false)?;
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let stats = mongodb.database_stats(&namespace).await?;
    Ok(Json(MongodbDatabaseStats {
        collections: stats.collections,
        views: stats.views,
        documents: stats.documents,
        data_size_bytes: stats.data_size,
        storage_size_bytes: stats.storage_size,
        indexes: stats.indexes,
        index_size_bytes: stats.index_size,
        average_document_size_bytes: stats.average_document_size,
        database: path.database,
    }))
}
