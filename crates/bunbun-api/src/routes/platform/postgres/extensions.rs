//! `GET /api/platform/postgres/{ref}/extensions`: the extensions.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::EXTENSIONS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The extensions
///
/// Those that are installed and those that could be.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/extensions", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresExtensions),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_extensions(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&EXTENSIONS, "extensions"), parameters).await
}

/// A page of the extensions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresExtensions {
    /// By name.
    pub extensions: Vec<PostgresExtension>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// An extension.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresExtension {
    /// Its name.
    pub name: String,
    /// Whether it is installed in the database.
    pub installed: bool,
    /// Where its objects lie.
    #[schema(required = true)]
    pub schema: Option<String>,
    /// The version that is installed.
    #[schema(required = true)]
    pub installed_version: Option<String>,
    /// The version that would be.
    #[schema(required = true)]
    pub default_version: Option<String>,
    /// What it is for.
    #[schema(required = true)]
    pub comment: Option<String>,
}
