//! `GET /api/platform/postgres/{ref}/views`: the views and materialised views.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::catalog::VIEWS;
use bunbun_http::{ApiError, extract::Query as Parameters};
use serde::Deserialize;
use utoipa::ToSchema;

use super::listing::{self, ListParameters};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// The views and materialised views
///
/// With their source where `definitions` is set.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/views", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), ListParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresViews),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_views(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Response, ApiError> {
    listing::list(&state, &access, (&VIEWS, "views"), parameters).await
}

/// A page of the views and materialised views.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresViews {
    /// By name.
    pub views: Vec<PostgresView>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A view.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresView {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `view` or `materialized_view`.
    pub kind: String,
    /// The role that owns it.
    pub owner: String,
    /// Whether a materialised view has been filled.
    pub populated: bool,
    /// Whether it reads with the rights of whoever asks it.
    pub security_invoker: bool,
    /// Whether rows can be written through it; null while another session locks something.
    #[schema(required = true)]
    pub updatable: Option<bool>,
    /// Its query, where asked for; null while what it reads is locked.
    #[schema(required = true)]
    pub definition: Option<String>,
    /// Bytes on disk of a materialised view.
    #[schema(required = true)]
    pub bytes: Option<i64>,
    /// Its comment.
    #[schema(required = true)]
    pub comment: Option<String>,
}
