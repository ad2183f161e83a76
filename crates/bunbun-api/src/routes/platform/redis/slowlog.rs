//! `GET /api/platform/redis/{ref}/slowlog`: commands that took long.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::{SlowCommand, TextEncoding};
use bunbun_http::{ApiError, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{RedisEncoding, redis};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    pagination::{DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list_redis_slow_commands))
}

/// How many.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRedisSlowCommandsQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// Most commands of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// A command that took long.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisSlowCommand {
    /// The server's host and port.
    node: String,
    /// Counts up from the server's start.
    id: i64,
    /// When it was sent.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// How long it took, in microseconds.
    duration_us: i64,
    /// The command and its arguments; Redis shortens long ones.
    command: Vec<String>,
    /// How they are written.
    command_encoding: RedisEncoding,
    /// Who sent it.
    client_address: Option<String>,
    /// What the client calls itself.
    client_name: Option<String>,
}

impl From<SlowCommand> for RedisSlowCommand {
    fn from(slow: SlowCommand) -> Self {
        let encoding = TextEncoding::of(slow.command.iter().map(Vec::as_slice));
        Self {
            node: slow.node,
            id: slow.id,
            started_at: OffsetDateTime::from_unix_timestamp(slow.started_at)
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            duration_us: slow.duration_us,
            command: slow
                .command
                .iter()
                .map(|part| encoding.write(part))
                .collect(),
            command_encoding: encoding.into(),
            client_address: slow.client_address,
            client_name: slow.client_name,
        }
    }
}

/// Some commands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisSlowCommands {
    /// The latest first.
    commands: Vec<RedisSlowCommand>,
    /// Always null: Redis keeps few, and one page has them.
    next_cursor: Option<String>,
}

/// Slow commands
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/slowlog", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ListRedisSlowCommandsQuery,
    ),
    responses(
        (status = 200, description = "The latest", body = RedisSlowCommands),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn list_redis_slow_commands(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ListRedisSlowCommandsQuery>,
) -> Result<Json<RedisSlowCommands>, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT) as usize;
    let commands = redis.list_slow_commands(limit).await?;
    Ok(Json(RedisSlowCommands {
        commands: commands.into_iter().map(Into::into).collect(),
        next_cursor: None,
    }))
}
