//! `GET /api/platform/redis/{ref}/pubsub/channels`.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::Channel;
use bunbun_http::{ApiError, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::{RedisEncoding, redis, text};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    pagination::{self, DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

/// Which channels.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRedisChannelsQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// A pattern of Redis.
    #[garde(length(max = 1000))]
    #[param(max_length = 1000)]
    pattern: Option<String>,
    /// Most channels of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before.
    #[garde(skip)]
    cursor: Option<String>,
}

/// A channel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisChannel {
    /// Its name.
    channel: String,
    /// How the name is written.
    encoding: RedisEncoding,
    /// Connections that are subscribed to it by its name. All subscribers through BunBun share one.
    subscribers: u64,
}

/// Some channels.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisChannels {
    /// By name.
    channels: Vec<RedisChannel>,
    /// What to send as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Channels
///
/// Those that someone is subscribed to by name, not only by a pattern.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/pubsub/channels", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ListRedisChannelsQuery,
    ),
    responses(
        (status = 200, description = "Some of them", body = RedisChannels),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn list_redis_channels(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ListRedisChannelsQuery>,
) -> Result<Json<RedisChannels>, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let after: Option<Vec<u8>> = pagination::decode(query.cursor.as_deref())?;
    let pattern = query.pattern.as_deref().map(str::as_bytes);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT) as usize;
    let (channels, more) = redis
        .list_channels(pattern, after.as_deref(), limit)
        .await?;
    let last = channels.last().filter(|_| more);
    let next_cursor = last.map(|channel| pagination::encode(&channel.name));
    Ok(Json(RedisChannels {
        channels: channels.into_iter().map(Into::into).collect(),
        next_cursor,
    }))
}

impl From<Channel> for RedisChannel {
    fn from(channel: Channel) -> Self {
        let (name, encoding) = text(&channel.name);
        Self {
            channel: name,
            encoding,
            subscribers: channel.subscribers,
        }
    }
}
