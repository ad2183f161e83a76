//! `/api/platform/postgres/{ref}`: a project's PostgreSQL databases, by stored connection.

pub mod activity;
mod answer;
pub mod columns;
pub mod explain;
pub mod extensions;
pub mod functions;
pub mod indexes;
mod listing;
pub mod migrate;
pub mod policies;
pub mod query;
pub mod roles;
pub mod schemas;
pub mod stats;
pub mod tables;
pub mod triggers;
pub mod types;
pub mod views;

use std::sync::Arc;

use bunbun_databases::postgres::Postgres;
use bunbun_http::ApiError;
use garde::Validate;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    access::{Permission, ProjectAccess},
    connections::Connected,
    state::ApiState,
};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(query::run_postgres_query))
        .routes(routes!(query::cancel_postgres_query))
        .routes(routes!(schemas::list_postgres_schemas))
        .routes(routes!(tables::list_postgres_tables))
        .routes(routes!(
            tables::rows::list_postgres_rows,
            tables::rows::create_postgres_rows
        ))
        .routes(routes!(
            tables::rows::get_postgres_row,
            tables::rows::update_postgres_row,
            tables::rows::delete_postgres_row
        ))
        .routes(routes!(columns::list_postgres_columns))
        .routes(routes!(views::list_postgres_views))
        .routes(routes!(functions::list_postgres_functions))
        .routes(routes!(indexes::list_postgres_indexes))
        .routes(routes!(policies::list_postgres_policies))
        .routes(routes!(roles::list_postgres_roles))
        .routes(routes!(extensions::list_postgres_extensions))
        .routes(routes!(triggers::list_postgres_triggers))
        .routes(routes!(types::list_postgres_types))
        .routes(routes!(explain::explain_postgres_query))
        .routes(routes!(activity::list_postgres_sessions))
        .routes(routes!(activity::cancel_postgres_session))
        .routes(routes!(activity::terminate_postgres_session))
        .routes(routes!(stats::get_postgres_stats))
        .routes(routes!(migrate::create_postgres_migration))
}

/// Which of the project's databases.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// The identifier of the stored connection; by default the primary one.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    connection: Option<String>,
}

/// The pool of one of the project's databases: of the stored connection that is named, of the
/// primary one, or, where none is stored, of the project's own database.
async fn connected<P: Permission>(
    state: &ApiState,
    access: &ProjectAccess<P>,
    identifier: Option<&str>,
) -> Result<Connected<Postgres>, ApiError> {
    // On the heap: the way to a pool that has to be opened first is long, and rarely gone.
    Box::pin(state.connections()?.postgres(access, identifier)).await
}

/// A name for the audit log.
fn named(schema: &str, table: &str) -> String {
    format!("{schema}.{table}")
}
