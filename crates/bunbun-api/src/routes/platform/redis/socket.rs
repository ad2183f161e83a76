//! What every WebSocket here does beside its own messages: it notices dead peers, does not wait
//! for ever for slow ones, and ends in order when the server does.

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bunbun_http::context::Upgrading;
use serde::Serialize;

/// How often the peer is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A peer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A peer that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(30);
/// Largest message of a client.
const MAX_MESSAGE: usize = 64 * 1024;

/// A WebSocket in use.
pub(super) struct Socket {
    inner: WebSocket,
    upgrading: Option<Upgrading>,
    heard_at: Instant,
    ping_at: tokio::time::Instant,
}

/// What came from the client.
pub(super) enum Heard {
    /// A text.
    Text(String),
    /// Nothing that matters.
    Nothing,
    /// It is over.
    End,
}

/// Takes the connection over and leaves it to `serve`.
pub(super) fn take_over<F>(
    upgrade: WebSocketUpgrade,
    upgrading: Option<Upgrading>,
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |inner| {
            serve(Socket {
                inner,
                upgrading,
                heard_at: Instant::now(),
                ping_at: tokio::time::Instant::now() + PING_EVERY,
            })
        })
}

impl Socket {
    /// Sends a message; false when the peer is gone.
    pub(super) async fn send(&mut self, message: &impl Serialize) -> bool {
        let text = serde_json::to_string(message).unwrap_or_default();
        self.send_frame(Message::Text(text.into())).await
    }

    async fn send_frame(&mut self, message: Message) -> bool {
        matches!(
            tokio::time::timeout(STUCK, self.inner.send(message)).await,
            Ok(Ok(()))
        )
    }

    /// What comes next. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Heard {
        let ends = async {
            match &self.upgrading {
                Some(upgrading) => upgrading.shutdown.begun().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.inner.recv() => {
                self.heard_at = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => Heard::Text(text.to_string()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Heard::End,
                    Some(Ok(_)) => Heard::Nothing,
                }
            }
            () = ends => {
                self.close(close_code::AWAY, "BunBun is shutting down").await;
                Heard::End
            }
            () = tokio::time::sleep_until(self.ping_at) => {
                self.ping_at = tokio::time::Instant::now() + PING_EVERY;
                let lives = self.heard_at.elapsed() < SILENCE
                    && self.send_frame(Message::Ping(bytes::Bytes::new())).await;
                if lives { Heard::Nothing } else { Heard::End }
            }
        }
    }

    /// Says why it ends.
    pub(super) async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        self.send_frame(Message::Close(Some(frame))).await;
    }
}
