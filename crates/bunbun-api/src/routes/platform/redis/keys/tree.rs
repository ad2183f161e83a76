//! `GET /api/platform/redis/{ref}/keys/tree`: folders and their counts, as they are found.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{extract::State, response::Response};
use bunbun_databases::redis::{KeyTree, TreeProgress};
use bunbun_http::{ApiError, extract::Query as Parameters};
use futures_util::stream;
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::super::{
    RedisEncoding,
    events::{self, Event},
    redis, text,
};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// Which folders.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRedisKeyTreeQuery {
    /// The stored connection's identifier; the primary one when absent.
    #[garde(skip)]
    connection: Option<String>,
    /// Only below keys that begin like this; end it with the delimiter.
    #[garde(length(max = 1000))]
    #[param(example = "user:", max_length = 1000)]
    prefix: Option<String>,
    /// What separates folders; `:` when absent.
    #[garde(length(min = 1, max = 20))]
    #[param(min_length = 1, max_length = 20)]
    delimiter: Option<String>,
    /// The id of the last event that came, to go on behind it; the header `Last-Event-ID` does
    /// the same.
    #[garde(skip)]
    cursor: Option<String>,
}

/// A folder.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisFolder {
    /// Its name, without the prefix.
    name: String,
    /// `base64` where the name is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_encoding: Option<RedisEncoding>,
    /// How many keys more are in it.
    count: u64,
}

/// The data of an event `progress`. Counts are to be added to those of the events before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedisTreeProgress {
    /// Folders in which keys were found since the last event.
    folders: Vec<RedisFolder>,
    /// Keys directly below the prefix: whole names, those that are text, at most 1000 an event.
    keys: Vec<String>,
    /// How many keys more are directly below the prefix.
    key_count: u64,
    /// Keys looked at since the last event, about.
    scanned: u64,
    /// Keys that there are altogether.
    total: u64,
}

impl From<TreeProgress> for RedisTreeProgress {
    fn from(progress: TreeProgress) -> Self {
        let folder = |(name, count): (Vec<u8>, u64)| {
            let (name, encoding) = text(&name);
            RedisFolder {
                name,
                name_encoding: (encoding == RedisEncoding::Base64).then_some(encoding),
                count,
            }
        };
        Self {
            folders: progress.folders.into_iter().map(folder).collect(),
            keys: progress
                .keys
                .into_iter()
                .filter_map(|key| String::from_utf8(key).ok())
                .collect(),
            key_count: progress.key_count,
            scanned: progress.scanned,
            total: progress.total,
        }
    }
}

/// Folders of keys
///
/// Counted bit by bit, as server-sent events `progress`, then `done`, or `error`. The server works
/// half of the time at most. Close the connection to stop it; the last event's id continues it.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/keys/tree", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        ListRedisKeyTreeQuery,
    ),
    responses(
        (status = 200, description = "Events", body = RedisTreeProgress, content_type = "text/event-stream"),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn list_redis_key_tree(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(query): Parameters<ListRedisKeyTreeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let tree = KeyTree::new(
        redis.share(),
        query.prefix.unwrap_or_default().into_bytes(),
        query
            .delimiter
            .unwrap_or_else(|| ":".to_owned())
            .into_bytes(),
        query.cursor.as_deref().or(last),
    )?;
    Ok(events::respond(stream::unfold(Some(tree), next)))
}

async fn next(tree: Option<KeyTree>) -> Option<(Event, Option<KeyTree>)> {
    let mut tree = tree?;
    Some(match tree.step().await {
        Ok(Some(progress)) => {
            let cursor = progress.cursor.clone();
            let event = Event::new("progress", &RedisTreeProgress::from(progress));
            (event.id(cursor.as_deref()), Some(tree))
        }
        Ok(None) => (Event::new("done", &json!({})), None),
        Err(error) => (Event::new("error", &super::super::failure(&error)), None),
    })
}
