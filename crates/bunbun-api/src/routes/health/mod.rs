//! `GET /health`, `GET /api/health`: whether BunBun itself answers.

pub mod services;

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{openapi::AnyoneRefusals, state::ApiState};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(get_health))
        .routes(routes!(get_api_health))
        .routes(routes!(services::list_services_health))
}

/// BunBun's own health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`: whoever reads it was answered.
    #[schema(example = "ok")]
    status: &'static str,
    /// Seconds since the start.
    #[schema(example = 86_400)]
    uptime: u64,
    /// BunBun's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// Whether BunBun answers
///
/// Never touches a dependency.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses((status = 200, description = "It does", body = Health), AnyoneRefusals),
)]
pub(crate) async fn get_health(State(state): State<Arc<ApiState>>) -> axum::Json<Health> {
    axum::Json(Health {
        status: "ok",
        uptime: state.started.elapsed().as_secs(),
        version: state.parts.version,
    })
}

/// Whether BunBun answers
///
/// The same as `/health`.
#[utoipa::path(
    get, path = "/api/health", tag = "health",
    responses((status = 200, description = "It does", body = Health), AnyoneRefusals),
)]
pub(crate) async fn get_api_health(state: State<Arc<ApiState>>) -> axum::Json<Health> {
    get_health(state).await
}
