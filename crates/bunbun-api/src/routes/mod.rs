//! The tree mirrors the URLs: `/api/db/query` is `db/query.rs`.

pub mod auth;
pub mod backups;
pub mod db;
pub mod dev;
pub mod docs;
pub mod gateway;
pub mod health;
pub mod livez;
pub mod metrics;
pub mod openapi;
pub mod platform;
pub mod readyz;
pub mod storage;

use std::sync::Arc;

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{openapi::Document, state::ApiState};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    let mut router = OpenApiRouter::with_openapi(Document::openapi())
        .merge(db::router())
        .merge(auth::router())
        .merge(storage::router())
        .merge(backups::router())
        .merge(platform::router())
        .merge(gateway::router())
        .merge(health::router())
        .routes(routes!(livez::get_livez))
        .routes(routes!(readyz::get_readyz))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(dev::mailbox::get_mailbox))
        .routes(routes!(openapi::get_openapi))
        .merge(docs::router());
    let paths = &mut router.get_openapi_mut().paths.paths;
    *paths = std::mem::take(paths)
        .into_iter()
        // axum's sign for "the rest of the path" is none of OpenAPI's.
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    router
}

/// The answer to what has nothing else to tell.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always true; failures are errors.
    #[schema(example = true)]
    success: bool,
}

impl Success {
    pub(crate) const fn new() -> Self {
        Self { success: true }
    }
}
