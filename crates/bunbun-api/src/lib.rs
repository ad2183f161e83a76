//! BunBun's own endpoints: `/api/*`, `/health`, `/livez`, `/readyz`, `/metrics`, and the built-in
//! dashboard page. [`router`] also gives the OpenAPI 3.1 document of them all.

pub mod access;
mod audit;
pub mod backups;
mod cached;
pub mod clients;
pub mod connections;
pub mod dashboard;
pub mod openapi;
mod pagination;
pub mod reference;
pub mod routes;
pub mod state;

use std::sync::Arc;

use axum::Router;

pub use state::ApiState;

/// The router of every own endpoint and the document that describes it.
///
/// Fill a slot with it through [`bunbun_http::embed::router`], which renders the errors.
pub fn router(state: Arc<ApiState>) -> (Router, utoipa::openapi::OpenApi) {
    let (router, document) = routes::router().split_for_parts();
    (router.with_state(state), document)
}

/// The OpenAPI document alone; it depends on nothing but the code.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    routes::router().into_openapi()
}
