//! Server-sent events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Serialize;

/// A silent stream says so, or proxies on the way would take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event.
pub(super) struct Event(String);

impl Event {
    /// An event of a kind, its data as JSON.
    pub(super) fn new(kind: &str, data: &impl Serialize) -> Self {
        // JSON has no line ends outside of strings, and none inside.
        let data = serde_json::to_string(data).unwrap_or_default();
        Self(format!("event: {kind}\ndata: {data}\n\n"))
    }

    /// Where a client that comes back may go on: it sends this as `Last-Event-ID`.
    pub(super) fn id(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => Self(format!("id: {id}\n{}", self.0)),
            None => self,
        }
    }
}

/// An answer that sends events until the stream ends or the client goes away.
pub(super) fn respond(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let bytes = stream::unfold(Box::pin(events), |mut events| async {
        let bytes = match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(None) => return None,
            Ok(Some(event)) => Bytes::from(event.0),
            Err(_) => Bytes::from_static(b": still here\n\n"),
        };
        Some((Ok::<_, Infallible>(bytes), events))
    });
    let mut response = Body::from_stream(bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
