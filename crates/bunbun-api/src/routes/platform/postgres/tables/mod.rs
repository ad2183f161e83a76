//! `GET /api/platform/postgres/{ref}/tables`: the tables.

pub mod rows;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::TABLES;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The tables
///
/// Ordinary, partitioned and foreign ones; sizes include indexes.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/tables", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresTables),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_tables(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&TABLES, "tables"), parameters).await
}

/// A page of the tables.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTables {
    /// By name.
    pub tables: Vec<PostgresTable>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A table.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `table`, `partitioned_table` or `foreign_table`.
    pub kind: String,
    /// The role that owns it.
    pub owner: String,
    /// Rows, as PostgreSQL last estimated them; null where it never did.
    #[schema(required = true)]
    pub rows_estimate: Option<i64>,
    /// Bytes on disk with indexes; null while the table is locked, and for foreign ones.
    #[schema(required = true)]
    pub bytes: Option<i64>,
    /// The columns of the primary key, in its order; empty without one.
    pub primary_key: Vec<String>,
    /// How many columns it has.
    pub columns: i64,
    /// Whether row-level security is on.
    pub rls_enabled: bool,
    /// Whether it holds for the owner too.
    pub rls_forced: bool,
    /// Whether it is a partition of another.
    pub is_partition: bool,
    /// Whether another session holds it for itself alone.
    pub locked: bool,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
