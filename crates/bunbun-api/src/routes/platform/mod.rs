//! `/api/platform/{redis|mongodb|postgres}/{ref}/…`: a project's stored database connections and
//! what stands behind them.

pub mod connections;
pub mod mongodb;
pub mod postgres;
pub mod redis;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::{audit, state::ApiState};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .merge(connections::router())
        .merge(redis::router())
        .merge(mongodb::router())
        .merge(postgres::router())
        .layer(axum::middleware::from_fn(audit::observe))
}
