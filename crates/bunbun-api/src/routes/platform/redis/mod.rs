//! `/api/platform/redis/{ref}/…`: a project's Redis connections, worked with.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
}
