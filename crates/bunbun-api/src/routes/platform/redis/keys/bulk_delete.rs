//! `POST /api/platform/redis/{ref}/keys/bulk-delete`: everything that matches a pattern.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::{
    Error,
    redis::{BulkDelete, BulkProgress},
};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Query as Parameters},
};
use futures_util::stream;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    RedisEncoding,
    events::{self, Event},
    redis_for, text,
};
use crate::{
    access::{ProjectAccess, Write},
    openapi::{BodyRefusals, ConnectedRefusals, OwnerRefusals, ThingRefusals},
    state::ApiState,
};

/// What to delete.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "pattern": "session:*", "dry_run": false, "confirm": "session:*" }))]
pub(crate) struct DeleteRedisKeys {
    /// A pattern of Redis.
    #[garde(length(min = 1, max = 1000))]
    pattern: String,
    /// Only keys of this type.
    #[garde(length(max = 100))]
    #[serde(rename = "type")]
    value_type: Option<String>,
    /// Only count; true when absent.
    #[garde(skip)]
    dry_run: Option<bool>,
    /// The pattern once more, unless `dry_run`.
    #[garde(skip)]
    confirm: Option<String>,
    /// The id of the last event that came, to go on behind it.
    #[garde(skip)]
    cursor: Option<String>,
}

/// The data of an event. Those of `progress` are sums so far, those of `done` are the result.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct RedisBulkProgress {
    /// Keys that matched.
    matched: u64,
    /// Keys that were deleted; none in a dry run.
    deleted: u64,
    /// Keys looked at, about.
    scanned: u64,
    /// Keys that there are altogether.
    total: u64,
    /// Names of some that matched.
    sample: Vec<RedisSampleKey>,
}

/// A key's name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisSampleKey {
    /// Its name.
    key: String,
    /// How it is written.
    key_encoding: RedisEncoding,
}

impl RedisBulkProgress {
    fn add(&mut self, step: BulkProgress) {
        self.matched += step.matched;
        self.deleted += step.deleted;
        self.scanned += step.scanned;
        self.total = step.total;
        let room = 10 - self.sample.len();
        self.sample.extend(step.sample.iter().take(room).map(|key| {
            let (key, key_encoding) = text(key);
            RedisSampleKey { key, key_encoding }
        }));
    }
}

/// Delete keys by a pattern
///
/// A dry run unless `dry_run` is false and `confirm` has the pattern. The answer is a stream of
/// server-sent events `progress`, then `done`, or `error`. Keys are deleted in small groups with
/// pauses; close the connection to stop. What was deleted by then stays deleted.
#[utoipa::path(
    post, path = "/api/platform/redis/{ref}/keys/bulk-delete", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        super::key::RedisConnectionQuery,
    ),
    request_body = DeleteRedisKeys,
    responses(
        (status = 200, description = "Events", body = RedisBulkProgress, content_type = "text/event-stream"),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn delete_redis_keys(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Parameters(query): Parameters<super::key::RedisConnectionQuery>,
    Body(body): Body<DeleteRedisKeys>,
) -> Result<Response, ApiError> {
    let dry_run = body.dry_run.unwrap_or(true);
    if !dry_run && body.confirm.as_ref() != Some(&body.pattern) {
        return Err(Error::confirmation_required(&body.pattern).into());
    }
    let action = if dry_run {
        "redis.keys.count"
    } else {
        "redis.keys.delete"
    };
    let (connection, pattern) = (query.connection.as_deref(), body.pattern.into_bytes());
    let redis = redis_for(&state, &access, connection, action, &pattern).await?;
    let cursor = body.cursor.as_deref();
    let work = BulkDelete::new(redis.share(), pattern, body.value_type, dry_run, cursor)?;
    let start = Some((work, RedisBulkProgress::default()));
    Ok(events::respond(stream::unfold(start, next)))
}

type Work = Option<(BulkDelete, RedisBulkProgress)>;

async fn next(state: Work) -> Option<(Event, Work)> {
    let (mut work, mut sums) = state?;
    Some(match work.step().await {
        Ok(Some(step)) => {
            let cursor = step.cursor.clone();
            sums.add(step);
            let event = Event::new("progress", &sums).id(cursor.as_deref());
            (event, Some((work, sums)))
        }
        Ok(None) => (Event::new("done", &sums), None),
        Err(error) => (Event::new("error", &super::super::failure(&error)), None),
    })
}
