//! `GET /api/platform/redis/{ref}/info`: what the servers tell of themselves.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::NodeInfo;
use bunbun_http::{ApiError, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::redis;
use crate::{
    access::{ProjectAccess, Read},
    connections::Cacheable,
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(get_redis_info))
}

/// Which part.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetRedisInfoQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// One section, such as `memory`; all when absent.
    #[garde(length(min = 1, max = 50), ascii)]
    #[param(min_length = 1, max_length = 50)]
    section: Option<String>,
}

/// A server's `INFO`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RedisNodeInfo {
    /// Host and port, as the cluster or the sentinels tell it.
    node: String,
    /// Section → name → value. Numbers are numbers, `a=1,b=2` is an object.
    #[schema(value_type = Object)]
    sections: serde_json::Map<String, serde_json::Value>,
}

/// The servers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RedisInfo {
    /// `standalone`, `sentinel` or `cluster`.
    mode: &'static str,
    /// One, or the primaries of a cluster.
    nodes: Vec<RedisNodeInfo>,
}

/// The servers' INFO
///
/// Kept for up to 30 seconds, unless `Cache-Control: no-cache` is sent.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/info", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        GetRedisInfoQuery,
    ),
    responses(
        (status = 200, description = "What they tell", body = RedisInfo),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn get_redis_info(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<GetRedisInfoQuery>,
) -> Result<Json<RedisInfo>, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let section = query.section.as_deref();
    let kept = state
        .connections()?
        .cached(
            &redis,
            Cacheable::ServerInfo,
            section.unwrap_or_default(),
            redis.node_infos(section),
        )
        .await?;
    let nodes = kept
        .iter()
        .map(|NodeInfo { node, sections }| RedisNodeInfo {
            node: node.clone(),
            sections: sections.clone(),
        });
    Ok(Json(RedisInfo {
        mode: redis.mode().as_str(),
        nodes: nodes.collect(),
    }))
}
