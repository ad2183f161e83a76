//! `/api/platform/redis/{ref}/keys`: a page of keys.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

mod bulk_delete;
mod expire;
mod key;
mod rename;
mod tree;
mod value;

pub(super) use key::RedisConnectionQuery;

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::{KeyDetails, KeyPage, KeyRow, ListKeys};
use bunbun_http::{ApiError, extract::Query as Parameters};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{RedisEncoding, redis, text};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    pagination::{DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_redis_keys))
        .routes(routes!(tree::list_redis_key_tree))
        .routes(routes!(bulk_delete::delete_redis_keys))
        .routes(routes!(
            key::get_redis_key,
            key::create_redis_key,
            key::replace_redis_key,
            key::delete_redis_key
        ))
        .routes(routes!(expire::update_redis_key_expiry))
        .routes(routes!(rename::update_redis_key_name))
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRedisKeysQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// A pattern of Redis: `*`, `?`, `[…]`, `\`. One without these is a single key.
    #[garde(length(max = 1000))]
    #[param(example = "user:*", max_length = 1000)]
    pattern: Option<String>,
    /// Only keys of this type: `string`, `list`, `set`, `zset`, `hash`, `stream` or a module's.
    #[garde(length(max = 100))]
    #[serde(rename = "type")]
    #[param(max_length = 100)]
    value_type: Option<String>,
    /// Most keys of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before, with the same pattern and type.
    #[garde(skip)]
    cursor: Option<String>,
    /// Whether to tell type, expiry and encoding; true when absent.
    #[garde(skip)]
    details: Option<bool>,
    /// Whether to measure each key's memory; false when absent.
    #[garde(skip)]
    size: Option<bool>,
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKeyRow {
    /// Its name.
    key: String,
    /// `base64` where the name is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<RedisEncoding>,
    /// What it holds: `string`, `list`, `set`, `zset`, `hash`, `stream` or a module's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    value_type: Option<std::borrow::Cow<'static, str>>,
    /// Milliseconds until it expires; null when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    ttl_ms: Option<Option<u64>>,
    /// How Redis stores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "listpack")]
    encoding: Option<std::borrow::Cow<'static, str>>,
    /// Bytes of the server's memory, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
}

impl From<KeyRow> for RedisKeyRow {
    fn from(KeyRow { key, details }: KeyRow) -> Self {
        let (key, key_encoding) = match String::from_utf8(key) {
            Ok(key) => (key, None),
            Err(error) => {
                let (key, encoding) = text(error.as_bytes());
                (key, Some(encoding))
            }
        };
        let mut row = Self {
            key,
            key_encoding,
            value_type: None,
            ttl_ms: None,
            encoding: None,
            size_bytes: None,
        };
        if let Some(KeyDetails {
            value_type,
            ttl_ms,
            encoding,
            size_bytes,
        }) = details
        {
            row.value_type = Some(value_type);
            row.ttl_ms = Some(ttl_ms);
            row.encoding = encoding;
            row.size_bytes = size_bytes;
        }
        row
    }
}

/// Some keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKeys {
    /// In no order.
    keys: Vec<RedisKeyRow>,
    /// What to send as `cursor` for the next page; null on the last. A page may be short, even
    /// empty, before the last: then the search took long enough for one request.
    next_cursor: Option<String>,
    /// Keys that were looked at for this page, about.
    scanned: u64,
    /// Keys that there are altogether.
    total: u64,
    /// Whether every key has been looked at.
    complete: bool,
}

/// Keys
///
/// By SCAN, in small steps that hold up nobody else. Keys that are there from the first page to
/// the last are listed, others may be; while Redis resizes its table, a key may come twice.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/keys", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ListRedisKeysQuery,
    ),
    responses(
        (status = 200, description = "Some of them", body = RedisKeys),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn list_redis_keys(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ListRedisKeysQuery>,
) -> Result<Json<RedisKeys>, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let request = ListKeys {
        pattern: query.pattern.map(String::into_bytes),
        value_type: query.value_type.map(|name| name.to_lowercase()),
        limit: query.limit.unwrap_or(DEFAULT_LIMIT) as usize,
        cursor: query.cursor,
        details: query.details.unwrap_or(true),
        size: query.size.unwrap_or(false),
    };
    let KeyPage {
        keys,
        next_cursor,
        scanned,
        total,
    } = redis.list_keys(&request).await?;
    Ok(Json(RedisKeys {
        keys: keys.into_iter().map(Into::into).collect(),
        complete: next_cursor.is_none(),
        next_cursor,
        scanned,
        total,
    }))
}
