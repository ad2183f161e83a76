//! `POST /api/platform/redis/{ref}/keys/{key}/expire`.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::{Error, redis::Expiry};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Path, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::super::{KeyPath, redis_for};
use super::key::RedisKeyQuery;
use crate::{
    access::{ProjectAccess, Write},
    openapi::{BodyRefusals, ConnectedRefusals, OwnerRefusals, ThingRefusals},
    state::ApiState,
};

/// When the key is to go: one of these.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "ttl_ms": 60000 }))]
pub(crate) struct ExpireRedisKey {
    /// After so many milliseconds.
    #[garde(range(min = 1, max = MAX_TTL))]
    ttl_ms: Option<u64>,
    /// At a moment; one that has passed deletes the key.
    #[garde(skip)]
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<OffsetDateTime>,
    /// Never, if true.
    #[garde(skip)]
    persist: Option<bool>,
}

/// A thousand years: Redis refuses what does not fit into its clock.
pub(super) const MAX_TTL: u64 = 31_536_000_000_000;

/// What is left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKeyExpiry {
    /// Milliseconds until the key expires; null when it does not.
    ttl_ms: Option<u64>,
}

/// Set or remove a key's expiry
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/keys/{key}/expire", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        RedisKeyQuery,
    ),
    request_body = ExpireRedisKey,
    responses(
        (status = 200, description = "It is set", body = RedisKeyExpiry),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn update_redis_key_expiry(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<RedisKeyQuery>,
    Body(body): Body<ExpireRedisKey>,
) -> Result<Json<RedisKeyExpiry>, ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let expiry = match (body.ttl_ms, body.at, body.persist) {
        (Some(ms), None, None) => Expiry::After(ms),
        (None, Some(at), None) => {
            let ms = at.unix_timestamp_nanos() / 1_000_000;
            Expiry::At(u64::try_from(ms).unwrap_or(0))
        }
        (None, None, Some(true)) => Expiry::Never,
        _ => {
            let message = "Send one of ttl_ms, at and persist: true.";
            return Err(Error::invalid(message, "").into());
        }
    };
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.key.expire", &key).await?;
    let ttl_ms = redis.expire_key(&key, expiry).await?;
    Ok(Json(RedisKeyExpiry { ttl_ms }))
}
