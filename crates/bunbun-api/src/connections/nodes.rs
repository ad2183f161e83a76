//! What this node tells the others, and hears from them.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bunbun_core::{
    id::{ConnectionId, ProjectRef},
    shutdown::Shutdown,
    task,
};
use bunbun_databases::postgres::Postgres;
use bunbun_store::signals::{self, Signal};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Connections;

/// The pause before the store is listened to again; it doubles while that fails.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);
const MAX_FOLLOW_PAUSE: Duration = Duration::from_secs(30);
/// Longest wait for a node that runs a statement.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);
/// How long news of schemas are gathered.
const TELL_PAUSE: Duration = Duration::from_millis(50);

/// Where this node stands among the others.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Whether it hears them.
    is_listening: AtomicBool,
    /// Requests that wait until another node has cancelled something.
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
    /// Projects of whose schemas the others will be told in a moment.
    telling: Mutex<HashSet<ProjectRef>>,
}

/// One that waits, until it is dropped.
struct Waiting<'a> {
    nodes: &'a Nodes,
    answer: Uuid,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.nodes.waiting.lock().remove(&self.answer);
    }
}

impl Connections {
    /// Follows what other nodes tell, until the shutdown begins. What was changed while they could
    /// not be heard is read anew.
    pub async fn follow(self, shutdown: Shutdown) {
        let follow = async {
            let mut pause = FOLLOW_PAUSE;
            loop {
                let heard = self.clone();
                let listening = || {
                    self.0.nodes.is_listening.store(true, Ordering::Relaxed);
                    self.0.cache.forget_stored();
                };
                let told = move |signal| heard.hear(signal);
                let Err(error) = signals::watch(&self.0.store, listening, told).await;
                let error = bunbun_core::error::chain(&error);
                tracing::debug!(error, "other nodes are not heard");
                pause = if self.0.nodes.is_listening.swap(false, Ordering::Relaxed) {
                    FOLLOW_PAUSE
                } else {
                    (pause * 2).min(MAX_FOLLOW_PAUSE)
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = shutdown.begun() => {}
            () = follow => {}
        }
    }

    fn hear(&self, signal: Signal) {
        match signal {
            Signal::ConnectionChanged { project, id, past } => self.changed(&project, id, past),
            Signal::SchemasChanged { project } => self.forget_schemas(project),
            Signal::CancelQuery {
                project,
                connection,
                query,
                answer,
            } => {
                let postgres = match connection {
                    Some(id) => self.0.registry.opened::<Postgres>(&project, id),
                    None => self
                        .0
                        .databases
                        .pool(&project)
                        .ok()
                        .map(|pool| Postgres::new(pool).into()),
                };
                if postgres.is_some_and(|postgres| postgres.cancel(&query).is_ok()) {
                    self.tell(Signal::QueryCancelled { answer });
                }
            }
            Signal::QueryCancelled { answer } => {
                if let Some(waiting) = self.0.nodes.waiting.lock().remove(&answer) {
                    let _ = waiting.send(());
                }
            }
        }
    }

    /// Tells the other nodes, without making anyone wait.
    fn tell(&self, signal: Signal) {
        let this = self.clone();
        task::spawn_quiet(async move {
            let sent = async {
                let client = this.0.store.client().await?;
                signals::send(&client, &signal).await
            };
            if let Err(error) = sent.await {
                let error = bunbun_core::error::chain(&error);
                tracing::debug!(error, "other nodes are not told");
            }
        });
    }

    /// Forgets the schemas of all databases of a project, here and on other nodes.
    pub fn invalidate_schemas(&self, project: &ProjectRef) {
        self.forget_schemas(project.clone());
        let nodes = &self.0.nodes;
        // Where nothing is heard, nothing can be told either: the list is old for its time.
        if !nodes.is_listening.load(Ordering::Relaxed) {
            return;
        }
        // Statements that may change everything come in thousands as well.
        if nodes.telling.lock().insert(project.clone()) {
            let (this, project) = (self.clone(), project.clone());
            task::spawn_quiet(async move {
                tokio::time::sleep(TELL_PAUSE).await;
                this.0.nodes.telling.lock().remove(&project);
                this.tell(Signal::SchemasChanged { project });
            });
        }
    }

    fn forget_schemas(&self, project: ProjectRef) {
        *self.0.schemas.lock().entry(project).or_default() += 1;
    }

    /// Has a statement cancelled by the node that runs it. False: none does.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn cancel_elsewhere(
        &self,
        project: &ProjectRef,
        connection: Option<ConnectionId>,
        query: &str,
    ) -> Result<bool, bunbun_store::Error> {
        let nodes = &self.0.nodes;
        if !nodes.is_listening.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let answer = Uuid::now_v7();
        let (done, is_done) = oneshot::channel();
        nodes.waiting.lock().insert(answer, done);
        let _waiting = Waiting { nodes, answer };
        let signal = Signal::CancelQuery {
            project: project.clone(),
            connection,
            query: query.to_owned(),
            answer,
        };
        let client = self.0.store.client().await?;
        signals::send(&client, &signal).await?;
        drop(client);
        let answered = tokio::time::timeout(CANCEL_TIMEOUT, is_done).await;
        Ok(matches!(answered, Ok(Ok(()))))
    }
}
