//! What the API needs of the service slots, whatever fills them: to probe and to call them.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bunbun_core::{Classify, Code};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use serde::Serialize;

use crate::body::{Body, BoxError};

/// What fills a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "axum", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SlotMode {
    /// A service inside this process.
    Embedded,
    /// The original service at a URL.
    Remote,
}

/// One slot and how to find out whether its service answers.
pub struct SlotProbe {
    /// Its name: `auth`, `rest`, `storage`, `realtime`, `meta`, `functions`, …
    pub name: Arc<str>,
    /// What fills it, and the check to run; `None` where the slot is empty. The check says why
    /// the service is down; whoever runs it limits its time.
    pub filling: Option<(SlotMode, BoxFuture<'static, Result<(), String>>)>,
}

impl std::fmt::Debug for SlotProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotProbe")
            .field("name", &self.name)
            .field("mode", &self.filling.as_ref().map(|(mode, _)| mode))
            .finish_non_exhaustive()
    }
}

/// Gives out one probe per slot. Implemented by the gateway.
pub trait SlotProbes: Send + Sync + 'static {
    /// A probe for every slot that exists, filled or empty, in the order of display.
    fn probes(&self) -> Vec<SlotProbe>;
}

/// Which worker serves a request. The gateway puts it into the extensions of requests to embedded
/// services; in those of a [`SlotCall`] it chooses that worker's connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shard(pub usize);

/// Calls services by the names of their slots. Implemented by the gateway.
pub trait SlotCall: Send + Sync + 'static {
    /// Sends a request; its URI is the path within the service. What an embedded service needs
    /// goes with it in the extensions: [`crate::RequestContext`], and [`Shard`].
    ///
    /// `first_byte_timeout` runs from the last movement of the request's body.
    fn call(
        &self,
        slot: &'static str,
        request: Request<Body>,
        first_byte_timeout: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>>;
}

/// Why a slot gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It is empty; the sentence says what to set.
    #[error("{0}")]
    Empty(String),
    /// Its service cannot be reached, or cut the connection.
    #[error("service '{slot}' cannot be reached")]
    Unavailable {
        /// Which.
        slot: &'static str,
        /// Why, for the log.
        #[source]
        cause: Option<BoxError>,
    },
    /// Its service took too long.
    #[error("service '{slot}' took too long")]
    Timeout {
        /// Which.
        slot: &'static str,
    },
    /// Its service failed without an answer.
    #[error("service '{slot}' failed")]
    Failed {
        /// Which.
        slot: &'static str,
    },
    /// The caller's own body broke off or is too large.
    #[error("{0}")]
    Body(crate::body::Fault),
}

impl Classify for CallError {
    fn code(&self) -> Code {
        match self {
            Self::Empty(_) | Self::Unavailable { .. } => Code::ServiceUnavailable,
            Self::Timeout { .. } => Code::UpstreamTimeout,
            Self::Failed { .. } => Code::Internal,
            Self::Body(fault) => fault.code(),
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Empty(sentence) => Some(sentence.into()),
            Self::Unavailable { slot, .. } => {
                Some(format!("The service '{slot}' cannot be reached now; try again.").into())
            }
            Self::Timeout { slot } => {
                Some(format!("The service '{slot}' did not answer in time.").into())
            }
            Self::Failed { .. } => None,
            Self::Body(fault) => Some(fault.to_string().into()),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            // Until somebody sets it, trying again soon is of no use.
            Self::Empty(_) => Some(Duration::from_secs(60)),
            Self::Unavailable { .. } => Some(Duration::from_secs(2)),
            _ => None,
        }
    }
}
