//! `GET /api/platform/postgres/{ref}/types`: the types.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::TYPES;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The types that somebody made
///
/// Enums, domains, composites, ranges and base types; those that come with tables are left out.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/types", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresTypes),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_types(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&TYPES, "types"), parameters).await
}

/// A page of the types.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTypes {
    /// By name.
    pub types: Vec<PostgresType>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A type.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresType {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `enum`, `domain`, `range`, `multirange`, `composite` or `base`.
    pub kind: String,
    /// The role that owns it.
    pub owner: String,
    /// The labels of an enum, in order.
    #[schema(required = true)]
    pub enum_values: Option<Vec<String>>,
    /// The attributes of a composite.
    #[schema(required = true)]
    pub attributes: Option<Vec<PostgresAttribute>>,
    /// What a domain or range is made of.
    #[schema(required = true)]
    pub base_type: Option<String>,
    /// The conditions of a domain.
    #[schema(required = true)]
    pub checks: Option<Vec<String>>,
    /// The extension that it belongs to.
    #[schema(required = true)]
    pub extension: Option<String>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}

/// An attribute of a composite type.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresAttribute {
    /// Its name.
    pub name: String,
    /// Its type as SQL.
    #[serde(rename = "type")]
    pub data_type: String,
}
