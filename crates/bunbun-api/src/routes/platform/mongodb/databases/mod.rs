//! `GET /api/platform/mongodb/{ref}/databases`: the databases of the server.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

pub mod collections;
pub mod stats;

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::mongodb::DatabaseEntry;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::ConnectionQuery;
use crate::{
    access::{ProjectAccess, Read},
    connections::Cacheable,
    openapi::{
        DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals, UpstreamRefusals,
    },
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_mongodb_databases))
        .routes(routes!(stats::get_mongodb_database_stats))
        .merge(collections::router())
}

/// A database of the server.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct DatabasePath {
    /// The project.
    #[serde(rename = "ref")]
    #[param(example = "default")]
    _project: String,
    /// The database.
    #[param(example = "shop")]
    pub(crate) database: String,
}

/// A database.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbDatabase {
    /// Its name.
    name: String,
    /// Bytes on disk.
    size_bytes: u64,
    /// Whether it has nothing in it.
    empty: bool,
}

/// The databases of a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MongodbDatabases {
    /// By name.
    databases: Vec<MongodbDatabase>,
    /// Always null: there is one page.
    next_cursor: Option<String>,
}

/// The databases
///
/// Those that the connection's user may see.
#[utoipa::path(
    get, path = "/api/platform/mongodb/{ref}/databases", tag = "mongodb",
    params(("ref" = String, Path, description = "The project"), ConnectionQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The databases", body = MongodbDatabases),
        ParameterRefusals, ThingRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_mongodb_databases(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ConnectionQuery>,
) -> Result<Json<MongodbDatabases>, ApiError> {
    let connections = state.connections()?;
    let mongodb = connections
        .mongodb(&access, query.connection.as_deref())
        .await?;
    let list = mongodb.databases();
    let found = connections
        .cached(&mongodb, Cacheable::Databases, "", list)
        .await?;
    let databases = found.iter().cloned().map(MongodbDatabase::from).collect();
    let next_cursor = None;
    Ok(Json(MongodbDatabases {
        databases,
        next_cursor,
    }))
}

impl From<DatabaseEntry> for MongodbDatabase {
    fn from(entry: DatabaseEntry) -> Self {
        let DatabaseEntry {
            name,
            size_bytes,
            empty,
        } = entry;
        Self {
            name,
            size_bytes,
            empty,
        }
    }
}
