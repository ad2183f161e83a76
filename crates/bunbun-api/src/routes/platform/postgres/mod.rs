//! `/api/platform/postgres/{ref}/…`: a project's PostgreSQL connections, worked with.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::state::ApiState;

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
}
