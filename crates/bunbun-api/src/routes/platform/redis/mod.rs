//! `/api/platform/redis/{ref}/…`: a project's Redis connections, worked with.
//!
//! Keys and values are bytes. In JSON they are text where they are UTF-8 and base64 otherwise, and
//! a field beside them says which. A key in a path is percent-encoded; with `?key_encoding=base64`
//! it is base64 in the URL-safe alphabet.

mod clients;
mod command;
mod events;
mod info;
mod keys;
mod pubsub;
mod slowlog;
mod socket;
mod stats;

use std::sync::Arc;

use bunbun_databases::{
    Error,
    redis::{Redis, TextEncoding},
};
use bunbun_http::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    access::{Permission, ProjectAccess},
    connections::Connected,
    state::ApiState,
};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .merge(keys::router())
        .merge(pubsub::router())
        .merge(info::router())
        .merge(stats::router())
        .merge(slowlog::router())
        .merge(clients::router())
        .merge(command::router())
}

/// The project in the path; access has been decided by it already.
#[derive(Debug, Deserialize)]
pub(crate) struct KeyPath {
    key: String,
}

impl KeyPath {
    fn bytes(&self, encoding: Option<RedisEncoding>) -> Result<Vec<u8>, Error> {
        TextEncoding::from(encoding.unwrap_or_default()).read(&self.key)
    }
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RedisEncoding {
    /// As text.
    #[default]
    Utf8,
    /// As base64.
    Base64,
}

impl From<TextEncoding> for RedisEncoding {
    fn from(encoding: TextEncoding) -> Self {
        match encoding {
            TextEncoding::Utf8 => Self::Utf8,
            TextEncoding::Base64 => Self::Base64,
        }
    }
}

impl From<RedisEncoding> for TextEncoding {
    fn from(encoding: RedisEncoding) -> Self {
        match encoding {
            RedisEncoding::Utf8 => Self::Utf8,
            RedisEncoding::Base64 => Self::Base64,
        }
    }
}

/// Bytes as text, and how.
fn text(bytes: &[u8]) -> (String, RedisEncoding) {
    let encoding = TextEncoding::of([bytes]);
    (encoding.write(bytes), encoding.into())
}

/// The pool of the connection that the request names.
async fn redis<P: Permission>(
    state: &ApiState,
    access: &ProjectAccess<P>,
    connection: Option<&str>,
) -> Result<Connected<Redis>, ApiError> {
    state.connections()?.database(access, connection).await
}

/// As [`redis`], with a name for the audit log and what is changed.
async fn redis_for<P: Permission>(
    state: &ApiState,
    access: &ProjectAccess<P>,
    connection: Option<&str>,
    action: &'static str,
    target: &[u8],
) -> Result<Connected<Redis>, ApiError> {
    let connections = state.connections()?;
    let (target, _) = text(&target[..target.len().min(200)]);
    connections.audit(access, action, &target).await?;
    connections.database(access, connection).await
}

/// What went wrong in the middle of a stream.
fn failure(error: &Error) -> serde_json::Value {
    use bunbun_core::Classify as _;
    tracing::info!(error = %bunbun_core::error::chain(error), "a stream from Redis broke off");
    let message = error.public_message();
    json!({
        "code": error.code().as_str(),
        "message": message.as_deref().unwrap_or("Something went wrong."),
        "details": error.details().unwrap_or_else(|| json!({})),
    })
}
