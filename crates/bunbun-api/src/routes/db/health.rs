//! `GET /api/db/health`: whether the project's PostgreSQL answers, and how its pool is.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use bunbun_databases::postgres::{health, pool::Status};
use bunbun_http::{ApiError, access::ServiceRole};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    openapi::{DatabaseRefusals, OwnerRefusals},
    routes::health::services::milliseconds,
    state::ApiState,
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// PostgreSQL's health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatabaseHealth {
    /// Always true: a database that does not answer is a 503.
    connected: bool,
    /// Milliseconds of one round trip.
    #[schema(example = 0.31)]
    latency: f64,
    /// What PostgreSQL says of itself.
    #[schema(example = "PostgreSQL 17.2 on x86_64-pc-linux-gnu")]
    version: String,
    /// The connections of this node.
    pool: PoolStatus,
}

/// The connections to a database.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolStatus {
    /// Most connections in use at once.
    size: usize,
    /// Connections in use.
    in_use: usize,
    /// Open connections that wait for work.
    idle: usize,
    /// Requests that wait for a connection.
    waiting: usize,
}

impl From<Status> for PoolStatus {
    fn from(status: Status) -> Self {
        let Status {
            size,
            in_use,
            idle,
            waiting,
        } = status;
        Self {
            size,
            in_use,
            idle,
            waiting,
        }
    }
}

/// Whether the database answers
#[utoipa::path(
    get, path = "/api/db/health", tag = "db",
    security(("bearer" = []), ("apikey" = [])),
    responses((status = 200, description = "It does", body = DatabaseHealth), OwnerRefusals, DatabaseRefusals),
)]
pub(crate) async fn get_db_health(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
) -> Result<Json<DatabaseHealth>, ApiError> {
    let pool = state.parts.databases.pool(&context.project.reference)?;
    let health = health::check(&pool, TIMEOUT).await?;
    Ok(Json(DatabaseHealth {
        connected: true,
        latency: milliseconds(health.latency),
        version: health.version,
        pool: health.pool.into(),
    }))
}
