//! `/api/platform/redis/{ref}/pubsub/…`: channels, publishing, subscriptions.

mod channels;
mod publish;
mod subscribe;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::state::ApiState;

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(channels::list_redis_channels))
        .routes(routes!(publish::create_redis_message))
        .routes(routes!(subscribe::get_redis_messages))
}
