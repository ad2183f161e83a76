//! `POST /api/platform/redis/{ref}/command`: any one command, if the caller may.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::redis::{Role, TextEncoding, is_read_only};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{RedisEncoding, keys::RedisConnectionQuery, redis, redis_for};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{BodyRefusals, ConnectedRefusals, OwnerRefusals, ThingRefusals},
    state::ApiState,
};

pub(super) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(run_redis_command))
}

/// A command.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "command": ["HGET", "user:1", "name"] }))]
pub(crate) struct RunRedisCommand {
    /// The command and its arguments.
    #[garde(length(min = 1, max = 10_000))]
    #[schema(min_items = 1, max_items = 10_000)]
    command: Vec<String>,
    /// How the arguments are written; `utf8` when absent. The command itself is always text.
    #[garde(skip)]
    encoding: Option<RedisEncoding>,
    /// How texts of the answer are to be written; when absent, `base64` where one is no UTF-8.
    #[garde(skip)]
    result_encoding: Option<RedisEncoding>,
    /// The command's name once more, for those that may hold up or damage the server.
    #[garde(length(max = 100))]
    confirm: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisCommandResult {
    /// Maps are objects, sets and lists are arrays, nil is null.
    #[schema(value_type = Value)]
    result: Value,
    /// How texts in it are written.
    result_encoding: RedisEncoding,
}

/// Run a command
///
/// Readers may send what changes nothing, writers what changes data. What may hold up or damage the
/// server (FLUSHALL, CONFIG, EVAL, KEYS, …, and every command that BunBun does not know) needs
/// administration rights and `confirm`. Commands that wait, have no end or change the connection
/// are refused, and so are those that would go through more than 10000 elements unconfirmed.
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/command", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        RedisConnectionQuery,
    ),
    request_body = RunRedisCommand,
    responses(
        (status = 200, description = "The answer", body = RedisCommandResult),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn run_redis_command(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<RedisConnectionQuery>,
    Body(body): Body<RunRedisCommand>,
) -> Result<Json<RedisCommandResult>, ApiError> {
    let encoding = TextEncoding::from(body.encoding.unwrap_or_default());
    let arguments = body
        .command
        .iter()
        .enumerate()
        .map(|(index, text)| match index {
            0 => Ok(text.to_ascii_uppercase().into_bytes()),
            _ => encoding.read(text),
        });
    let arguments: Vec<_> = arguments.collect::<Result<_, _>>()?;
    let connection = query.connection.as_deref();
    let (redis, role) = if is_read_only(&arguments) {
        (redis(&state, &access, connection).await?, Role::Reader)
    } else {
        // Who may write is the project's owner today, and so its administrator.
        let access = access.may_write()?;
        let name = arguments[0].as_slice();
        let redis = redis_for(&state, &access, connection, "redis.command", name).await?;
        (redis, Role::Administrator)
    };
    let wanted = body.result_encoding.map(Into::into);
    let confirm = body.confirm.as_deref();
    let (result, encoding) = redis.run_command(&arguments, role, confirm, wanted).await?;
    Ok(Json(RedisCommandResult {
        result,
        result_encoding: encoding.into(),
    }))
}
