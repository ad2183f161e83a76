//! `GET /api/platform/redis/{ref}/pubsub/subscribe`: a WebSocket where the request asks for one,
//! else server-sent events.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State, WebSocketUpgrade},
    response::Response,
};
use bunbun_databases::{
    Error,
    redis::{Event as News, Message, Redis, Subscription, TextEncoding},
};
use bunbun_http::{ApiError, context::Upgrading};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::super::{
    RedisEncoding,
    events::{self, Event},
    failure, redis,
    socket::{self, Heard, Socket},
};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{ConnectedRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// What to subscribe to at the start.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetRedisMessagesQuery {
    /// The stored connection's identifier; the primary one when absent.
    connection: Option<String>,
    /// A channel; may stand several times.
    channel: Vec<String>,
    /// A pattern of channels; may stand several times.
    pattern: Vec<String>,
}

impl GetRedisMessagesQuery {
    fn read(query: Option<&str>) -> Result<Self, Error> {
        let mut read = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "connection" => read.connection = Some(value.into_owned()),
                "channel" => read.channel.push(value.into_owned()),
                "pattern" => read.pattern.push(value.into_owned()),
                // The application's key, where no header can be set: in browsers.
                "apikey" => {}
                _ => {
                    let message = "The parameters are connection, channel and pattern.";
                    return Err(Error::invalid(message, ""));
                }
            }
        }
        Ok(read)
    }
}

/// What a client may say over the socket: any of these.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// Channels to add.
    subscribe: Vec<String>,
    /// Patterns to add.
    psubscribe: Vec<String>,
    /// Channels to leave.
    unsubscribe: Vec<String>,
    /// Patterns to leave.
    punsubscribe: Vec<String>,
    /// How the names are written; `utf8` when absent.
    encoding: RedisEncoding,
}

/// A message, or news about the subscription.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum RedisMessage {
    /// A published message.
    Message {
        /// Where it was published.
        channel: String,
        /// The pattern by which it came.
        #[serde(skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// What was published.
        data: String,
        /// How the texts are written: base64 where one is no UTF-8.
        encoding: RedisEncoding,
        /// When it came, in milliseconds since the epoch.
        ts: i64,
    },
    /// Messages that were dropped because they were not read in time.
    Lost {
        /// How many.
        count: u64,
    },
    /// The server cannot be reached; what is published now is lost.
    Interrupted,
    /// Messages come again.
    Resumed,
    /// The subscription is as it was asked for.
    Subscribed,
}

impl From<News> for RedisMessage {
    fn from(news: News) -> Self {
        match news {
            News::Lost(count) => Self::Lost { count },
            News::Interrupted => Self::Interrupted,
            News::Resumed => Self::Resumed,
            News::Message(message) => {
                let Message {
                    channel,
                    pattern,
                    data,
                    timestamp_ms,
                } = &*message;
                let all = [channel, data].into_iter().chain(pattern);
                let encoding = TextEncoding::of(all.map(Vec::as_slice));
                Self::Message {
                    channel: encoding.write(channel),
                    pattern: pattern.as_ref().map(|pattern| encoding.write(pattern)),
                    data: encoding.write(data),
                    encoding: encoding.into(),
                    ts: *timestamp_ms,
                }
            }
        }
    }
}

/// Messages as they are published
///
/// A WebSocket where the request asks for an upgrade: each text is one of the objects below, and
/// the client may send `{"subscribe": […], "psubscribe": […], "unsubscribe": […], "punsubscribe":
/// […]}` at any time; the answer is `{"type": "subscribed"}` or `{"type": "error", …}`. Otherwise
/// server-sent events of the type's name with the same objects. Who reads too slowly loses the
/// oldest messages and is told how many.
#[utoipa::path(
    get, path = "/api/platform/redis/{ref}/pubsub/subscribe", tag = "redis",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("ref" = String, Path, description = "The project", example = "default"),
        GetRedisMessagesQuery,
    ),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = 200, description = "Events", body = RedisMessage, content_type = "text/event-stream"),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConnectedRefusals,
    ),
)]
pub(crate) async fn get_redis_messages(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    RawQuery(query): RawQuery,
    upgrading: Option<Extension<Upgrading>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let query = GetRedisMessagesQuery::read(query.as_deref())?;
    if upgrade.is_err() && query.channel.is_empty() && query.pattern.is_empty() {
        let message = "Name a channel or a pattern: server-sent events cannot ask for one later.";
        return Err(Error::invalid(message, "/channel").into());
    }
    let redis = redis(&state, &access, query.connection.as_deref()).await?;
    let subscription = redis.subscribe()?;
    let names = |all: Vec<String>| all.into_iter().map(String::into_bytes).collect::<Vec<_>>();
    let wanted = [(names(query.channel), false), (names(query.pattern), true)];
    for (names, patterns) in wanted {
        if !names.is_empty() {
            subscription.add(names, patterns).await?;
        }
    }
    let pool = redis.share();
    let Ok(upgrade) = upgrade else {
        return Ok(stream_of(subscription, pool));
    };
    let upgrading = upgrading.map(|Extension(upgrading)| upgrading);
    Ok(socket::take_over(upgrade, upgrading, |socket| {
        serve(socket, subscription, pool)
    }))
}

/// `pool` is held: it counts as used as long as someone is subscribed.
fn stream_of(subscription: Subscription, pool: Arc<Redis>) -> Response {
    events::respond(stream::unfold((subscription, pool), |state| async {
        let message = RedisMessage::from(state.0.next().await);
        let kind = match &message {
            RedisMessage::Message { .. } => "message",
            RedisMessage::Lost { .. } => "lost",
            RedisMessage::Interrupted => "interrupted",
            RedisMessage::Resumed => "resumed",
            RedisMessage::Subscribed => "subscribed",
        };
        Some((Event::new(kind, &message), state))
    }))
}

async fn serve(mut socket: Socket, subscription: Subscription, pool: Arc<Redis>) {
    let _pool = pool;
    loop {
        tokio::select! {
            news = subscription.next() => {
                if !socket.send(&RedisMessage::from(news)).await {
                    return;
                }
            }
            heard = socket.next() => match heard {
                Heard::End => return,
                Heard::Nothing => {}
                Heard::Text(text) => {
                    let answer = wish(&subscription, &text).await;
                    if !socket.send(&answer).await {
                        return;
                    }
                }
            }
        }
    }
}

/// Does what the client asks for and says how it went.
async fn wish(subscription: &Subscription, text: &str) -> Value {
    let outcome = async {
        let Ok(wish) = serde_json::from_str::<Wish>(text) else {
            let message = "Send an object with subscribe, psubscribe, unsubscribe, punsubscribe.";
            return Err(Error::invalid(message, ""));
        };
        let encoding = TextEncoding::from(wish.encoding);
        let read = |names: Vec<String>| {
            names
                .iter()
                .map(|name| encoding.read(name))
                .collect::<Result<Vec<_>, _>>()
        };
        subscription.remove(read(wish.unsubscribe)?, false);
        subscription.remove(read(wish.punsubscribe)?, true);
        for (names, patterns) in [
            (read(wish.subscribe)?, false),
            (read(wish.psubscribe)?, true),
        ] {
            if !names.is_empty() {
                subscription.add(names, patterns).await?;
            }
        }
        Ok(())
    };
    match outcome.await {
        Ok(()) => json!(RedisMessage::Subscribed),
        Err(error) => {
            let mut answer = failure(&error);
            answer["type"] = json!("error");
            answer
        }
    }
}
