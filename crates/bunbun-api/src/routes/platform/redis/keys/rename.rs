//! `POST /api/platform/redis/{ref}/keys/{key}/rename`.

use std::sync::Arc;

use axum::extract::State;
use bunbun_databases::redis::TextEncoding;
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Path, Query as Parameters},
};
use garde::Validate;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{KeyPath, RedisEncoding, redis_for};
use super::key::RedisKeyQuery;
use crate::{
    access::{ProjectAccess, Write},
    openapi::{BodyRefusals, ConflictRefusals, ConnectedRefusals, OwnerRefusals, ThingRefusals},
    state::ApiState,
};

/// The other name.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "user:2" }))]
pub(crate) struct RenameRedisKey {
    /// The name.
    #[garde(skip)]
    to: String,
    /// How the name is written; `utf8` when absent.
    #[garde(skip)]
    to_encoding: Option<RedisEncoding>,
    /// Whether a key that has the name already goes; false when absent.
    #[garde(skip)]
    overwrite: Option<bool>,
}

/// Rename a key
///
/// In a cluster both names have to be in the same slot: give them a common `{tag}`.
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/keys/{key}/rename", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        RedisKeyQuery,
    ),
    request_body = RenameRedisKey,
    responses(
        (status = 204, description = "It has the other name"),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn update_redis_key_name(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<RedisKeyQuery>,
    Body(body): Body<RenameRedisKey>,
) -> Result<StatusCode, ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let to = TextEncoding::from(body.to_encoding.unwrap_or_default()).read(&body.to)?;
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.key.rename", &key).await?;
    redis
        .rename_key(&key, &to, body.overwrite.unwrap_or(false))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
