//! Named background tasks: the only place that spawns.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Spawns a task onto the current runtime under a name that its log lines carry.
///
/// A panic in the task is logged by the runtime and ends only that task.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that spawns"
)]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}

/// Spawns without a span, for the data plane's connections, where a span per task costs too much.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that spawns"
)]
pub fn spawn_quiet<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}
