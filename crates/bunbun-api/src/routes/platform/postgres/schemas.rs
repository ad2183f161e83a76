//! `GET /api/platform/postgres/{ref}/schemas`: the schemas.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::SCHEMAS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The schemas
///
/// With how many tables, views and functions each has.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/schemas", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresSchemas),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_schemas(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&SCHEMAS, "schemas"), parameters).await
}

/// A page of the schemas.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSchemas {
    /// By name.
    pub schemas: Vec<PostgresSchema>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A schema.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSchema {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether it is PostgreSQL's own.
    pub system: bool,
    /// How many tables it has.
    pub tables: i64,
    /// How many views it has.
    pub views: i64,
    /// How many functions and procedures it has.
    pub functions: i64,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
