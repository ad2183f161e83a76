//! `GET /api/platform/redis/{ref}/clients`: who is connected to the servers.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{ApiError, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::redis;
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    pagination::{DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list_redis_clients))
}

/// Which clients.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRedisClientsQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// Most clients of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before.
    #[garde(skip)]
    cursor: Option<String>,
}

/// Some clients.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisClients {
    /// By server and id: `node`, `id`, `addr`, `name`, `age`, `idle`, `db`, `cmd`, `user` and what
    /// else the server's CLIENT LIST has.
    #[schema(value_type = Vec<Object>)]
    clients: Vec<serde_json::Map<String, serde_json::Value>>,
    /// What to send as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Connected clients
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/clients", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ListRedisClientsQuery,
    ),
    responses(
        (status = 200, description = "Some of them", body = RedisClients),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn list_redis_clients(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ListRedisClientsQuery>,
) -> Result<Json<RedisClients>, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT) as usize;
    let page = redis.list_clients(limit, query.cursor.as_deref()).await?;
    Ok(Json(RedisClients {
        clients: page.clients,
        next_cursor: page.next_cursor,
    }))
}
