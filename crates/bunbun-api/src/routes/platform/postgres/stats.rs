//! `GET /api/platform/postgres/{ref}/stats`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_http::{ApiError, extract::Query as Parameters};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Which, answer, connected};
use crate::{
    access::{ProjectAccess, Read},
    connections::Cacheable,
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// Sizes and counters since the last reset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresStats {
    /// The database as a whole.
    pub database: DatabaseStats,
    /// The 50 largest tables.
    pub tables: Vec<TableStats>,
    /// The 50 largest indexes that no query has used, unique ones left out.
    pub unused_indexes: Vec<UnusedIndex>,
    /// The 50 statements that took the most time; null without `pg_stat_statements`.
    #[schema(required = true)]
    pub statements: Option<Vec<StatementStats>>,
    /// Why there are none.
    #[schema(required = true)]
    pub statements_missing: Option<String>,
}

/// The database as a whole.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseStats {
    /// Its name.
    pub name: String,
    /// Bytes on disk.
    pub bytes: i64,
    /// Connections now.
    pub connections: i64,
    /// Most connections of the server.
    pub max_connections: i64,
    /// Blocks that were found in memory.
    pub blocks_hit: i64,
    /// Blocks that had to be read.
    pub blocks_read: i64,
    /// The former's share, 0 to 1; null before the first.
    #[schema(required = true)]
    pub cache_hit_ratio: Option<f64>,
    /// Transactions that were committed.
    pub commits: i64,
    /// Transactions that were rolled back.
    pub rollbacks: i64,
    /// Rows that were looked at.
    pub rows_returned: i64,
    /// Rows that were found by an index.
    pub rows_fetched: i64,
    /// Rows that were inserted.
    pub rows_inserted: i64,
    /// Rows that were updated.
    pub rows_updated: i64,
    /// Rows that were deleted.
    pub rows_deleted: i64,
    /// Deadlocks that were found.
    pub deadlocks: i64,
    /// Statements that a replica cancelled for its primary.
    pub conflicts: i64,
    /// Temporary files that were written.
    pub temp_files: i64,
    /// Bytes of them.
    pub temp_bytes: i64,
    /// When the counters began.
    #[schema(required = true)]
    pub counted_since: Option<String>,
    /// When the server was started.
    pub server_started_at: String,
}

/// A table.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableStats {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Bytes on disk with indexes; null while it is locked.
    #[schema(required = true)]
    pub bytes: Option<i64>,
    /// Rows that live, estimated.
    pub live_rows: i64,
    /// Rows that `vacuum` has still to remove, estimated.
    pub dead_rows: i64,
    /// Their share of all, 0 to 1; null without rows.
    #[schema(required = true)]
    pub dead_ratio: Option<f64>,
    /// Scans of the whole table.
    pub sequential_scans: i64,
    /// Scans by an index; null without one.
    #[schema(required = true)]
    pub index_scans: Option<i64>,
    /// The share of blocks that were found in memory, 0 to 1; null before the first.
    #[schema(required = true)]
    pub cache_hit_ratio: Option<f64>,
    /// When dead rows were removed last.
    #[schema(required = true)]
    pub vacuumed_at: Option<String>,
    /// When the planner's statistics were renewed last.
    #[schema(required = true)]
    pub analyzed_at: Option<String>,
}

/// An index that no query has used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnusedIndex {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Bytes on disk; null while it is locked.
    #[schema(required = true)]
    pub bytes: Option<i64>,
}

/// A statement, constants replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementStats {
    /// Its text; the first 4096 characters.
    pub query: String,
    /// How often it ran.
    pub calls: i64,
    /// Milliseconds that all runs took together.
    pub total_ms: f64,
    /// Milliseconds of a run in the mean.
    pub mean_ms: f64,
    /// Milliseconds of the longest run.
    pub max_ms: f64,
    /// Rows that all runs returned or wrote.
    pub rows: i64,
    /// The share of blocks that were found in memory, 0 to 1.
    #[schema(required = true)]
    pub cache_hit_ratio: Option<f64>,
}

/// Sizes, cache hits, dead rows, slow statements
///
/// At most 30 seconds old: to add up sizes the server looks at every file.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/stats", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), Which),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The numbers", body = PostgresStats),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn get_postgres_stats(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(which): Parameters<Which>,
) -> Result<Response, ApiError> {
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let made = async {
        let stats = postgres.stats().await?;
        let json = serde_json::to_vec(&stats).map_err(bunbun_databases::Error::internal)?;
        Ok::<_, bunbun_databases::Error>(Bytes::from(json))
    };
    let connections = state.connections()?;
    let cached = connections.cached(&postgres, Cacheable::ServerInfo, "stats", Box::pin(made));
    let bytes = Box::pin(cached).await?;
    Ok(answer::json(Bytes::clone(&bytes)))
}
