//! `/api/db`: the project's PostgreSQL.

pub mod health;
pub mod migrate;
pub mod migrations;
pub mod query;
pub mod tables;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(health::get_db_health))
        .routes(routes!(migrate::create_migration))
        .routes(routes!(migrations::list_migrations))
        .routes(routes!(query::run_query))
        .routes(routes!(tables::list_tables))
}
