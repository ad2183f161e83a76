//! What nodes tell each other through the control plane's PostgreSQL (`NOTIFY`): what one of them
//! changed and others keep, and what only the node that does it can end.

use std::{convert::Infallible, fmt, time::Duration};

use bunbun_core::id::{ConnectionId, ProjectRef};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{Error, Executor, Store};

/// Told by the triggers of `platform.database_connections`.
const CONNECTIONS: &str = "bunbun_connections";
/// Told by [`send`].
const SIGNALS: &str = "bunbun_signals";
/// How often a quiet connection is asked whether it is still one, and the longest wait for that.
const HEARTBEAT: Duration = Duration::from_secs(30);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that is told to all nodes, also to the one that tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A stored connection was made, changed or removed.
    ConnectionChanged {
        /// Whose it is.
        project: ProjectRef,
        /// Which one.
        id: ConnectionId,
        /// This version and those before it are past.
        past: i64,
    },
    /// A statement may have changed the schemas of a project's databases.
    SchemasChanged {
        /// The project.
        project: ProjectRef,
    },
    /// Whoever runs this statement is to cancel it.
    CancelQuery {
        /// Whose database it is.
        project: ProjectRef,
        /// The stored connection; `None`: the project's own database.
        connection: Option<ConnectionId>,
        /// The statement's id, of letters, digits, `.`, `_` and `-`.
        query: String,
        /// What to say in [`Signal::QueryCancelled`].
        answer: Uuid,
    },
    /// It was cancelled.
    QueryCancelled {
        /// What was asked for.
        answer: Uuid,
    },
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionChanged { project, id, past } => write!(f, "{project} {id} {past}"),
            Self::SchemasChanged { project } => write!(f, "schemas {project}"),
            Self::CancelQuery {
                project,
                connection,
                query,
                answer,
            } => {
                let connection = connection.map_or(Uuid::nil(), |id| id.0);
                write!(f, "cancel {project} {connection} {query} {answer}")
            }
            Self::QueryCancelled { answer } => write!(f, "cancelled {answer}"),
        }
    }
}

impl Signal {
    fn read(channel: &str, payload: &str) -> Option<Self> {
        let mut words = payload.split(' ');
        let mut next = || words.next();
        if channel == CONNECTIONS {
            return Some(Self::ConnectionChanged {
                project: next()?.parse().ok()?,
                id: next()?.parse().ok()?,
                past: next()?.parse().ok()?,
            });
        }
        match next()? {
            "schemas" => Some(Self::SchemasChanged {
                project: next()?.parse().ok()?,
            }),
            "cancel" => Some(Self::CancelQuery {
                project: next()?.parse().ok()?,
                connection: Some(next()?.parse().ok()?).filter(|id: &ConnectionId| !id.0.is_nil()),
                query: next()?.to_owned(),
                answer: next()?.parse().ok()?,
            }),
            "cancelled" => Some(Self::QueryCancelled {
                answer: next()?.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// Tells all nodes.
///
/// # Errors
/// Those of the connection.
pub async fn send<C: Executor>(client: &C, signal: &Signal) -> Result<(), Error> {
    let statement = client.prepare_cached("select pg_notify($1, $2)").await?;
    let payload = signal.to_string();
    client.execute(&statement, &[&SIGNALS, &payload]).await?;
    Ok(())
}

/// Calls `listening` once every later signal will be told, and `told` with each. Returns only when
/// the connection was lost; what happened from then on is unknown.
///
/// # Errors
/// Always one: what ended it.
pub async fn watch(
    store: &Store,
    listening: impl FnOnce(),
    mut told: impl FnMut(Signal) + Send + 'static,
) -> Result<Infallible, Error> {
    // Creates and migrates the database where that has not happened.
    drop(store.client().await?);
    let client = store
        .listen(move |channel, payload| {
            if let Some(signal) = Signal::read(channel, payload) {
                told(signal);
            }
        })
        .await?;
    let listen = format!("listen {CONNECTIONS}; listen {SIGNALS}");
    client.batch_execute(&listen).await?;
    listening();
    loop {
        sleep(HEARTBEAT).await;
        timeout(HEARTBEAT_TIMEOUT, client.simple_query("select 1"))
            .await
            .map_err(|elapsed| Error::Unavailable(elapsed.into()))??;
    }
}
