//! `GET /api/platform/postgres/{ref}/indexes`: the indexes.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::INDEXES;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The indexes
///
/// Those of primary keys and unique constraints among them.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/indexes", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresIndexes),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_indexes(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&INDEXES, "indexes"), parameters).await
}

/// A page of the indexes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresIndexes {
    /// By name.
    pub indexes: Vec<PostgresIndex>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// An index.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresIndex {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The access method: `btree`, `gin` …
    pub method: String,
    /// Whether it keeps its key unique.
    #[serde(rename = "unique")]
    pub is_unique: bool,
    /// Whether it is the primary key's.
    #[serde(rename = "primary")]
    pub is_primary: bool,
    /// Whether queries use it.
    pub valid: bool,
    /// Whether it covers some of the rows only.
    pub partial: bool,
    /// The parts of its key, as SQL; null while the table is locked.
    #[schema(required = true)]
    pub key: Option<Vec<String>>,
    /// The statement that makes it; null while the table is locked.
    #[schema(required = true)]
    pub definition: Option<String>,
    /// Bytes on disk; null while the table is locked.
    #[schema(required = true)]
    pub bytes: Option<i64>,
    /// How often it was used since the counters were reset.
    pub scans: i64,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
