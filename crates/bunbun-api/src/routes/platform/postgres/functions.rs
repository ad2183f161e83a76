//! `GET /api/platform/postgres/{ref}/functions`: the functions and procedures.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::FUNCTIONS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The functions and procedures
///
/// One item for each signature; with their source where `definitions` is set.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/functions", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresFunctions),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_functions(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&FUNCTIONS, "functions"), parameters).await
}

/// A page of the functions and procedures.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresFunctions {
    /// By name.
    pub functions: Vec<PostgresFunction>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A function.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresFunction {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `function`, `procedure`, `aggregate` or `window`.
    pub kind: String,
    /// Its arguments as SQL.
    pub arguments: String,
    /// What it returns, as SQL; null for a procedure.
    #[schema(required = true)]
    pub returns: Option<String>,
    /// Its language.
    pub language: String,
    /// `immutable`, `stable` or `volatile`.
    pub volatility: String,
    /// Whether it runs with the rights of its owner.
    pub security_definer: bool,
    /// Whether it returns null for null.
    pub strict: bool,
    /// The role that owns it.
    pub owner: String,
    /// The statement that makes it, where asked for.
    #[schema(required = true)]
    pub definition: Option<String>,
    /// The extension that it belongs to.
    #[schema(required = true)]
    pub extension: Option<String>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
