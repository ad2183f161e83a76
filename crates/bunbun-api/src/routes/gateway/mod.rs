//! `/api/gateway`

pub mod explain;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(explain::get_explanation))
}
