//! `/api/platform/redis/{ref}/keys/{key}`: one key's value.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::{
    Error,
    redis::{Expiry, NewValue, ReadValue, TextEncoding, Ttl, ValuePage, WriteMode},
};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Path, Query as Parameters},
};
use garde::Validate;
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{KeyPath, RedisEncoding, redis, redis_for},
    expire::MAX_TTL,
    value::{RedisChange, RedisChanged, RedisValue, show},
};
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{
        BodyRefusals, ConditionRefusals, ConflictRefusals, ConnectedRefusals, OwnerRefusals,
        ParameterRefusals, ThingRefusals,
    },
    pagination::{DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

/// Bytes of a string on one page, unless the caller says otherwise.
const DEFAULT_BYTES: u32 = 64 * 1024;
const MAX_BYTES: u32 = 1 << 20;

/// Which connection.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RedisConnectionQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    pub(crate) connection: Option<String>,
}

/// Which connection, and how the key is written.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RedisKeyQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    pub(crate) connection: Option<String>,
    /// How the key in the path is written; `utf8` when absent. Base64 in the URL-safe alphabet;
    /// `=` alone is the empty key.
    #[garde(skip)]
    #[param(inline)]
    pub(crate) key_encoding: Option<RedisEncoding>,
}

/// Which part of the value.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetRedisKeyQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// How the key in the path is written; `utf8` when absent.
    #[garde(skip)]
    #[param(inline)]
    key_encoding: Option<RedisEncoding>,
    /// How texts of the value are to be written; when absent, `base64` where one is no UTF-8.
    #[garde(skip)]
    #[param(inline)]
    value_encoding: Option<RedisEncoding>,
    /// Most elements of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Most bytes of a string; 65536 when absent.
    #[garde(range(min = 4, max = MAX_BYTES))]
    #[param(minimum = 4, maximum = 1048576)]
    bytes: Option<u32>,
    /// `next_cursor` of the answer before.
    #[garde(skip)]
    cursor: Option<String>,
    /// Whether to measure the key's memory; false when absent.
    #[garde(skip)]
    size: Option<bool>,
}

/// A key and a page of its value.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKey {
    /// `string`, `list`, `set`, `zset`, `hash`, `stream` or a module's type.
    #[serde(rename = "type")]
    value_type: std::borrow::Cow<'static, str>,
    /// Milliseconds until it expires; null when it does not.
    ttl_ms: Option<u64>,
    /// How Redis stores it.
    encoding: Option<std::borrow::Cow<'static, str>>,
    /// Bytes of the server's memory, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// Elements of the whole value; bytes of a string.
    length: u64,
    /// A text for strings; lists of elements, of `{field, value}`, `{member, score}` or
    /// `{id, fields}` for the others; JSON; null for what only a module understands.
    #[schema(value_type = Value)]
    value: Value,
    /// How texts in `value` are written.
    value_encoding: RedisEncoding,
    /// What to send as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
    /// Names this state of the value, for `if_match`; null where the answer is only a part.
    digest: Option<String>,
}

/// A key's value
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/keys/{key}", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        GetRedisKeyQuery,
    ),
    responses(
        (status = 200, description = "A page of it", body = RedisKey),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn get_redis_key(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<GetRedisKeyQuery>,
) -> Result<Json<RedisKey>, ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let request = ReadValue {
        limit: query.limit.unwrap_or(DEFAULT_LIMIT) as usize,
        bytes: query.bytes.unwrap_or(DEFAULT_BYTES) as usize,
        cursor: query.cursor,
        size: query.size.unwrap_or(false),
    };
    let page = redis.read_value(&key, &request).await?;
    Ok(Json(RedisKey::new(page, query.value_encoding)))
}

impl RedisKey {
    fn new(page: ValuePage, encoding: Option<RedisEncoding>) -> Self {
        let fits = TextEncoding::of(page.content.texts());
        let encoding = encoding.map_or(fits, |wanted| {
            // What is no text cannot be written as text.
            if fits == TextEncoding::Base64 {
                fits
            } else {
                wanted.into()
            }
        });
        Self {
            value_type: page.value_type,
            ttl_ms: page.ttl_ms,
            encoding: page.encoding,
            size_bytes: page.size_bytes,
            length: page.length,
            value: show(page.content, encoding),
            value_encoding: encoding.into(),
            next_cursor: page.next_cursor,
            digest: page.digest,
        }
    }
}

/// A value for a key that is not there yet.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({ "type": "string", "value": "hello", "ttl_ms": 60000 }))]
pub(crate) struct CreateRedisKey {
    /// The value and its type.
    #[garde(skip)]
    #[serde(flatten)]
    value: RedisValue,
    /// How texts in it are written; `utf8` when absent.
    #[garde(skip)]
    value_encoding: Option<RedisEncoding>,
    /// Milliseconds until the key expires; null or absent: it does not.
    #[garde(range(min = 1, max = MAX_TTL))]
    ttl_ms: Option<u64>,
}

/// The key that was written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKeyWritten {
    /// Its type.
    #[serde(rename = "type")]
    value_type: &'static str,
}

/// Create a key
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/keys/{key}", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        RedisKeyQuery,
    ),
    request_body = CreateRedisKey,
    responses(
        (status = 201, description = "It is there", body = RedisKeyWritten),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals,
        ConnectedRefusals,
    ),
)]
pub(crate) async fn create_redis_key(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<RedisKeyQuery>,
    Body(body): Body<CreateRedisKey>,
) -> Result<(StatusCode, Json<RedisKeyWritten>), ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let encoding = body.value_encoding.unwrap_or_default();
    let value = NewValue {
        content: body.value.read(encoding.into())?,
        ttl: body
            .ttl_ms
            .map_or(Ttl::Keep, |ms| Ttl::Set(Expiry::After(ms))),
        mode: WriteMode::Create,
    };
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.key.create", &key).await?;
    redis.write_value(&key, &value).await?;
    let value_type = value.content.value_type();
    Ok((StatusCode::CREATED, Json(RedisKeyWritten { value_type })))
}

/// A whole value (`type` and `value`), or `changes` of the one that is there.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({ "changes": [{ "op": "hash_set", "fields": [{ "field": "name", "value": "Ann" }] }] }))]
pub(crate) struct ReplaceRedisKey {
    /// The whole value and its type.
    #[garde(skip)]
    #[serde(flatten)]
    value: Option<RedisValue>,
    /// Changes of parts, made all together. All are for one type; a key that is not there is
    /// created.
    #[garde(length(min = 1, max = 100))]
    #[schema(min_items = 1, max_items = 100)]
    changes: Option<Vec<RedisChange>>,
    /// How texts in it are written; `utf8` when absent.
    #[garde(skip)]
    value_encoding: Option<RedisEncoding>,
    /// Milliseconds until the key expires; null: it does not; absent: as it was.
    #[garde(inner(inner(range(min = 1, max = MAX_TTL))))]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    ttl_ms: Option<Option<u64>>,
    /// The `digest` of the value that is to be there; with another, nothing is changed.
    #[garde(length(max = 200))]
    if_match: Option<String>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(Some)
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisKeyReplaced {
    /// What each change did, in order; empty for a whole value.
    changes: Vec<RedisChanged>,
}

/// Replace or change a key's value
///
/// Everything happens in one transaction (`WATCH`, `MULTI`, `EXEC`): no other client sees a half of
/// it, and `if_match` holds until it is done.
#[utoipa::path(
    put, path = "/api/platform/redis/{ref}/keys/{key}", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        RedisKeyQuery,
    ),
    request_body = ReplaceRedisKey,
    responses(
        (status = 200, description = "It is written", body = RedisKeyReplaced),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals,
        ConnectedRefusals,
    ),
)]
pub(crate) async fn replace_redis_key(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<RedisKeyQuery>,
    Body(body): Body<ReplaceRedisKey>,
) -> Result<Json<RedisKeyReplaced>, ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let work = body.read()?;
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.key.replace", &key).await?;
    let changes = match work {
        Work::Whole(value) => {
            redis.write_value(&key, &value).await?;
            Vec::new()
        }
        Work::Parts(changes, ttl, if_match) => {
            let outcomes = redis.change_value(&key, &changes, ttl, if_match.as_deref());
            outcomes.await?.into_iter().map(Into::into).collect()
        }
    };
    Ok(Json(RedisKeyReplaced { changes }))
}

/// What a body asks for.
enum Work {
    Whole(NewValue),
    Parts(Vec<bunbun_databases::redis::Change>, Ttl, Option<String>),
}

impl ReplaceRedisKey {
    fn read(self) -> Result<Work, ApiError> {
        let encoding = self.value_encoding.unwrap_or_default().into();
        let ttl = match self.ttl_ms {
            None => Ttl::Keep,
            Some(None) => Ttl::Set(Expiry::Never),
            Some(Some(ms)) => Ttl::Set(Expiry::After(ms)),
        };
        match (self.value, self.changes) {
            (Some(value), None) => Ok(Work::Whole(NewValue {
                content: value.read(encoding)?,
                ttl,
                mode: self.if_match.map_or(WriteMode::Replace, WriteMode::IfMatch),
            })),
            (None, Some(changes)) => {
                let changes = changes.into_iter().map(|change| change.read(encoding));
                Ok(Work::Parts(
                    changes.collect::<Result<_, _>>()?,
                    ttl,
                    self.if_match,
                ))
            }
            _ => {
                let message = "Send type and value, or changes.";
                Err(Error::invalid(message, "").into())
            }
        }
    }
}

/// Delete a key
///
/// Its memory is freed in the background (`UNLINK`).
#[utoipa::path(
    delete, path = "/api/platform/redis/{ref}/keys/{key}", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ("key" = String, Path, description = "The key, percent-encoded"),
        RedisKeyQuery,
    ),
    responses(
        (status = 204, description = "It is gone"),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn delete_redis_key(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KeyPath>,
    Parameters(query): Parameters<RedisKeyQuery>,
) -> Result<StatusCode, ApiError> {
    let key = path.bytes(query.key_encoding)?;
    let connection = query.connection.as_deref();
    let redis = redis_for(&state, &access, connection, "redis.key.delete", &key).await?;
    if redis.delete_key(&key).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::key_not_found().into())
    }
}
