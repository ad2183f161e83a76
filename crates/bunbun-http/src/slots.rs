//! What a health page needs of the service slots, whatever fills them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

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
