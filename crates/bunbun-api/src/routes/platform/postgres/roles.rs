//! `GET /api/platform/postgres/{ref}/roles`: the roles.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::ROLES;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The roles of the server
///
/// Without passwords and settings.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/roles", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresRoles),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_roles(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&ROLES, "roles"), parameters).await
}

/// A page of the roles.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresRoles {
    /// By name.
    pub roles: Vec<PostgresRole>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresRole {
    /// Its name.
    pub name: String,
    /// Whether it may log in.
    pub login: bool,
    /// Whether nothing is forbidden to it.
    pub superuser: bool,
    /// Whether it has the rights of the roles that it is a member of.
    pub inherit: bool,
    /// Whether it may make databases.
    pub create_databases: bool,
    /// Whether it may make roles.
    pub create_roles: bool,
    /// Whether it may replicate.
    pub replication: bool,
    /// Whether row-level security does not hold for it.
    pub bypass_rls: bool,
    /// Most connections; null for no limit.
    #[schema(required = true)]
    pub connection_limit: Option<i32>,
    /// Until when its password is valid; `infinity`, or null for no limit.
    #[schema(required = true)]
    pub valid_until: Option<String>,
    /// Whether the connection is made as this role.
    pub current: bool,
    /// The roles that it is a member of.
    pub member_of: Vec<String>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
