//! `GET /api/platform/postgres/{ref}/triggers`: the triggers.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::TRIGGERS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The triggers
///
/// By table; those that PostgreSQL made for foreign keys are left out.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/triggers", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresTriggers),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_triggers(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&TRIGGERS, "triggers"), parameters).await
}

/// A page of the triggers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTriggers {
    /// By name.
    pub triggers: Vec<PostgresTrigger>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A trigger.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresTrigger {
    /// Its schema.
    pub schema: String,
    /// Its table or view.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `BEFORE`, `AFTER` or `INSTEAD OF`.
    pub timing: String,
    /// `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`.
    pub events: Vec<String>,
    /// `ROW` or `STATEMENT`.
    pub level: String,
    /// `enabled`, `disabled`, `replica` or `always`.
    pub state: String,
    /// The schema of its function.
    pub function_schema: String,
    /// Its function.
    pub function: String,
    /// The statement that makes it; null while the table is locked.
    #[schema(required = true)]
    pub definition: Option<String>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
