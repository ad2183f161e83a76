//! Orderly shutdown: one signal that everything long-lived listens to.

use tokio_util::sync::CancellationToken;

/// A signal that is given once. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that has not been given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; later calls change nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether the signal has been given.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for the signal.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
