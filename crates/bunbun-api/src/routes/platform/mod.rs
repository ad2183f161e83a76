//! `/api/platform/{redis|mongodb|postgres}/{ref}/…`: a project's stored database connections and
//! what stands behind them.

pub mod mongodb;
pub mod postgres;
pub mod redis;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .merge(redis::router())
        .merge(mongodb::router())
        .merge(postgres::router())
}
