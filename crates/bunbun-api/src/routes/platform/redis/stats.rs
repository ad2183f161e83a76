//! `GET /api/platform/redis/{ref}/stats`: a few numbers, or over a WebSocket every second.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{State, WebSocketUpgrade},
    response::{IntoResponse as _, Response},
};
use bunbun_databases::redis::{Redis, Stats};
use bunbun_http::{ApiError, context::Upgrading, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    failure, redis,
    socket::{self, Heard, Socket},
};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get_redis_stats))
}

/// Whose numbers.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetRedisStatsQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// The application's key, where no header can be set: in browsers.
    #[garde(skip)]
    #[param(ignore)]
    #[serde(rename = "apikey")]
    _apikey: Option<String>,
}

/// Numbers of all servers together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisStats {
    /// Commands per second.
    operations_per_second: u64,
    /// The share of lookups that found their key; null before the first one.
    hit_rate: Option<f64>,
    /// Lookups that found their key, since the start.
    hits: u64,
    /// Lookups that did not.
    misses: u64,
    /// Bytes that data and overhead take.
    used_memory_bytes: u64,
    /// Bytes that they may take; 0: no limit.
    max_memory_bytes: u64,
    /// Bytes that the processes take.
    resident_memory_bytes: u64,
    /// Connected clients.
    connected_clients: u64,
    /// Clients that wait in a blocking command.
    blocked_clients: u64,
    /// Keys in all databases.
    keys: u64,
    /// Keys with an expiry.
    keys_with_expiry: u64,
    /// Keys that expired, since the start.
    expired_keys: u64,
    /// Keys that had to go because memory was full, since the start.
    evicted_keys: u64,
    /// Kilobytes per second that come in.
    input_kbps: f64,
    /// Kilobytes per second that go out.
    output_kbps: f64,
    /// Seconds since the youngest start.
    uptime_seconds: u64,
    /// How many servers these are.
    nodes: usize,
}

impl From<&Stats> for RedisStats {
    fn from(stats: &Stats) -> Self {
        let hit_rate = stats.hit_rate();
        let Stats {
            operations_per_second,
            hits,
            misses,
            used_memory_bytes,
            max_memory_bytes,
            resident_memory_bytes,
            connected_clients,
            blocked_clients,
            keys,
            keys_with_expiry,
            expired_keys,
            evicted_keys,
            input_kbps,
            output_kbps,
            uptime_seconds,
            nodes,
        } = *stats;
        Self {
            operations_per_second,
            hit_rate,
            hits,
            misses,
            used_memory_bytes,
            max_memory_bytes,
            resident_memory_bytes,
            connected_clients,
            blocked_clients,
            keys,
            keys_with_expiry,
            expired_keys,
            evicted_keys,
            input_kbps,
            output_kbps,
            uptime_seconds,
            nodes,
        }
    }
}

/// Numbers of the servers
///
/// Where the request asks for an upgrade, a WebSocket on which the same object comes every second,
/// or `{"type": "error", …}` as long as the servers cannot be asked.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/stats", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        GetRedisStatsQuery,
    ),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = 200, description = "The numbers", body = RedisStats),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn get_redis_stats(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<GetRedisStatsQuery>,
    upgrading: Option<Extension<Upgrading>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let Ok(upgrade) = upgrade else {
        return Ok(Json(RedisStats::from(&*redis.stats().await?)).into_response());
    };
    let pool = redis.share();
    let upgrading = upgrading.map(|Extension(upgrading)| upgrading);
    Ok(socket::take_over(upgrade, upgrading, |socket| {
        serve(socket, pool)
    }))
}

async fn serve(mut socket: Socket, redis: Arc<Redis>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = second.tick() => {
                let sent = match redis.stats().await {
                    Ok(stats) => socket.send(&RedisStats::from(&*stats)).await,
                    Err(error) => {
                        let mut answer = failure(&error);
                        answer["type"] = json!("error");
                        socket.send(&answer).await
                    }
                };
                if !sent {
                    return;
                }
            }
            heard = socket.next() => {
                if matches!(heard, Heard::End) {
                    return;
                }
            }
        }
    }
}
