//! `GET /api/platform/postgres/{ref}/policies`: the policies of row-level security.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::POLICIES;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The policies of row-level security
///
/// By table.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/policies", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresPolicies),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_policies(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&POLICIES, "policies"), parameters).await
}

/// A page of the policies of row-level security.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresPolicies {
    /// By name.
    pub policies: Vec<PostgresPolicy>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresPolicy {
    /// Its schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether one such policy is enough; restrictive ones all have to agree.
    pub permissive: bool,
    /// Whether row-level security is on for the table; without it the policy does nothing.
    pub rls_enabled: bool,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub command: String,
    /// For whom it holds; `public` is everybody.
    pub roles: Vec<String>,
    /// Which rows it shows; null also while what it reads is locked.
    #[serde(rename = "using")]
    #[schema(required = true)]
    pub using_condition: Option<String>,
    /// Which rows it lets be written; null also while what it reads is locked.
    #[serde(rename = "check")]
    #[schema(required = true)]
    pub check_condition: Option<String>,
}
