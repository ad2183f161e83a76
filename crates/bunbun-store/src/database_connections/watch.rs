//! What other nodes change in `platform.database_connections`, told by the triggers of the table.

use std::{convert::Infallible, str::FromStr, time::Duration};

use bunbun_core::id::{ConnectionId, ProjectRef};
use tokio::time::{sleep, timeout};

use crate::{Error, Store};

const CHANNEL: &str = "bunbun_connections";
/// How often a quiet connection is asked whether it is still one, and the longest wait for that.
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was stored, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose it is.
    pub project: ProjectRef,
    /// Which one.
    pub id: ConnectionId,
    /// This version and those before it are past.
    pub past: i64,
}

impl FromStr for Change {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(' ');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            project: next()?.parse().map_err(drop)?,
            id: next()?.parse().map_err(drop)?,
            past: next()?.parse().map_err(drop)?,
        })
    }
}

/// Calls `listening` once every later change will be told, and `told` with each. Returns only when
/// the connection was lost; what changed from then on is unknown.
///
/// # Errors
/// Always one: what ended it.
pub async fn watch(
    store: &Store,
    listening: impl FnOnce(),
    mut told: impl FnMut(Change) + Send + 'static,
) -> Result<Infallible, Error> {
    // Creates and migrates the database where that has not happened.
    drop(store.client().await?);
    let client = store
        .listen(move |channel, payload| {
            if channel == CHANNEL
                && let Ok(change) = payload.parse()
            {
                told(change);
            }
        })
        .await?;
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    listening();
    loop {
        sleep(HEARTBEAT).await;
        timeout(HEARTBEAT_TIMEOUT, client.simple_query("select 1"))
            .await
            .map_err(|elapsed| Error::Unavailable(elapsed.into()))??;
    }
}
