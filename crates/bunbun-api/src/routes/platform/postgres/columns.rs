//! `GET /api/platform/postgres/{ref}/columns`: the columns.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::COLUMNS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The columns of tables and views
///
/// By table, in their order. With `schema` and `table` those of one table.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/columns", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresColumns),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_columns(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&COLUMNS, "columns"), parameters).await
}

/// A page of the columns.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresColumns {
    /// By name.
    pub columns: Vec<PostgresColumn>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A column.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresColumn {
    /// Its schema.
    pub schema: String,
    /// Its table or view.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its number in the table, from 1; dropped columns leave gaps.
    pub position: i16,
    /// Its type as SQL; types of the user with their schema.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether it can be null.
    pub nullable: bool,
    /// The expression of its default; null also while the table is locked.
    #[serde(rename = "default")]
    #[schema(required = true)]
    pub default_value: Option<String>,
    /// The expression of a generated column.
    #[schema(required = true)]
    pub generated: Option<String>,
    /// `always` or `by_default`, where it is an identity column.
    #[schema(required = true)]
    pub identity: Option<String>,
    /// Whether it belongs to the primary key.
    pub primary_key: bool,
    /// The labels, where the type is an enum or made of one.
    #[schema(required = true)]
    pub enum_values: Option<Vec<String>>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
