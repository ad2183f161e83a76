//! `POST /api/platform/redis/{ref}/pubsub/publish`.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::TextEncoding;
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{RedisEncoding, keys::RedisConnectionQuery, redis_for};
use crate::{
    access::{ProjectAccess, Write},
    openapi::{BodyRefusals, ConnectedRefusals, OwnerRefusals, ThingRefusals},
    state::ApiState,
};

/// A message.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "channel": "news", "data": "hello" }))]
pub(crate) struct PublishRedisMessage {
    /// Where to.
    #[garde(length(bytes, min = 1, max = 10_000))]
    channel: String,
    /// What.
    #[garde(skip)]
    data: String,
    /// How `channel` is written; `utf8` when absent.
    #[garde(skip)]
    channel_encoding: Option<RedisEncoding>,
    /// How `data` is written; `utf8` when absent.
    #[garde(skip)]
    encoding: Option<RedisEncoding>,
}

/// Who got it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisPublished {
    /// Connections that got it; in a cluster only those of one server. All subscribers through
    /// BunBun share one.
    receivers: u64,
}

/// Publish a message
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/pubsub/publish", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        RedisConnectionQuery,
    ),
    request_body = PublishRedisMessage,
    responses(
        (status = 200, description = "It is published", body = RedisPublished),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn create_redis_message(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Parameters(query): Parameters<RedisConnectionQuery>,
    Body(body): Body<PublishRedisMessage>,
) -> Result<Json<RedisPublished>, ApiError> {
    let read = |text: &str, encoding: Option<RedisEncoding>| {
        TextEncoding::from(encoding.unwrap_or_default()).read(text)
    };
    let channel = read(&body.channel, body.channel_encoding)?;
    let data = read(&body.data, body.encoding)?;
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.publish", &channel).await?;
    let receivers = redis.publish(&channel, &data).await?;
    Ok(Json(RedisPublished { receivers }))
}
