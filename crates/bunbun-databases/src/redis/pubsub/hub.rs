//! The one connection that is subscribed, and who gets what comes over it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use bunbun_core::{
    clock::{Clock, SystemClock},
    task,
};
use parking_lot::Mutex;
use redis::{PushInfo, PushKind};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::inbox::{Event, Inbox, Message};
use crate::{
    Error,
    redis::{
        connection::{Connection, OnPush, SignIn},
        error::{Fault, invalid},
        reply,
        router::Router,
    },
};

/// Subscribers of one stored connection.
const MAX_SUBSCRIBERS: usize = 2000;
/// Channels and patterns of one subscriber.
const MAX_NAMES: usize = 100;
/// How often a silent connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(10);
/// The pause after a failed attempt to connect, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A channel or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    is_pattern: bool,
    bytes: Vec<u8>,
}

/// Who wants what.
#[derive(Default)]
struct Wanted {
    names: HashMap<Name, Vec<(u64, Arc<Inbox>)>>,
    inboxes: HashMap<u64, Arc<Inbox>>,
    next_id: u64,
    /// Counts the changes of `names`.
    generation: u64,
    /// Names that the server does not allow.
    refused: HashSet<Name>,
    working: bool,
}

/// How far the server is with what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Applied {
    generation: u64,
    /// Counts failed attempts to connect, so that who waits does not wait in vain.
    failures: u64,
}

/// See the module.
pub(in crate::redis) struct Hub {
    router: Arc<Router>,
    wanted: Mutex<Wanted>,
    changed: Notify,
    applied: watch::Sender<Applied>,
}

/// One caller's subscription; it ends when dropped.
pub struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    inbox: Arc<Inbox>,
    names: Mutex<HashSet<Name>>,
}

impl Hub {
    pub(in crate::redis) fn new(router: Arc<Router>) -> Self {
        Self {
            router,
            wanted: Mutex::default(),
            changed: Notify::new(),
            applied: watch::Sender::new(Applied {
                generation: 0,
                failures: 0,
            }),
        }
    }

    pub(super) fn join(hub: &Arc<Self>) -> Result<Subscription, Error> {
        let mut wanted = hub.wanted.lock();
        if wanted.inboxes.len() >= MAX_SUBSCRIBERS {
            return Err(Error::pool_exhausted(Duration::from_secs(10)));
        }
        wanted.next_id += 1;
        let id = wanted.next_id;
        let inbox = Arc::new(Inbox::default());
        wanted.inboxes.insert(id, Arc::clone(&inbox));
        if !wanted.working {
            wanted.working = true;
            task::spawn("redis subscriptions", work(Arc::downgrade(hub)));
        }
        Ok(Subscription {
            hub: Arc::clone(hub),
            id,
            inbox,
            names: Mutex::default(),
        })
    }

    /// Ends everything: the stored connection has changed or is unused.
    pub(in crate::redis) fn close(&self) {
        self.wanted.lock().names.clear();
        self.changed.notify_one();
    }

    fn deliver(&self, push: PushInfo) {
        let mut parts = push.data.into_iter().filter_map(reply::bytes);
        let pattern = match push.kind {
            PushKind::Message => None,
            PushKind::PMessage => parts.next(),
            PushKind::Disconnection => {
                self.changed.notify_one();
                return;
            }
            _ => return,
        };
        let (Some(channel), Some(data)) = (parts.next(), parts.next()) else {
            return;
        };
        let name = Name {
            is_pattern: pattern.is_some(),
            bytes: pattern.as_ref().unwrap_or(&channel).clone(),
        };
        let now = SystemClock.now().unix_timestamp_nanos() / 1_000_000;
        let message = Arc::new(Message {
            channel,
            pattern,
            data,
            timestamp_ms: i64::try_from(now).unwrap_or(i64::MAX),
        });
        if let Some(inboxes) = self.wanted.lock().names.get(&name) {
            for (_, inbox) in inboxes {
                inbox.put(&message);
            }
        }
    }

    fn tell_all(&self, news: &Event) {
        for inbox in self.wanted.lock().inboxes.values() {
            inbox.tell(news.clone());
        }
    }

    /// Makes the server's subscriptions those that are wanted.
    async fn apply(&self, connection: &Connection, done: &mut HashSet<Name>) -> Result<(), Fault> {
        let (generation, wanted) = {
            let wanted = self.wanted.lock();
            let names: HashSet<_> = wanted.names.keys().cloned().collect();
            (wanted.generation, names)
        };
        for is_pattern in [false, true] {
            let differ = |a: &HashSet<Name>, b: &HashSet<Name>| -> Vec<Vec<u8>> {
                a.difference(b)
                    .filter(|name| name.is_pattern == is_pattern)
                    .map(|name| name.bytes.clone())
                    .collect()
            };
            let gone = differ(done, &wanted);
            if !gone.is_empty() {
                connection.unsubscribe(&gone, is_pattern).await?;
                done.retain(|name| name.is_pattern != is_pattern || !gone.contains(&name.bytes));
            }
            for bytes in differ(&wanted, done) {
                let name = Name { is_pattern, bytes };
                let names = std::slice::from_ref(&name.bytes);
                match connection.subscribe(names, is_pattern).await {
                    Ok(()) => drop(done.insert(name)),
                    Err(fault) if connection.is_broken() => return Err(fault),
                    Err(_) => {
                        let mut wanted = self.wanted.lock();
                        wanted.names.remove(&name);
                        wanted.refused.insert(name);
                    }
                }
            }
        }
        self.applied
            .send_modify(|applied| applied.generation = generation);
        Ok(())
    }
}

/// Keeps the connection as long as anyone is subscribed.
async fn work(weak: Weak<Hub>) {
    let mut pause = FIRST_PAUSE;
    let mut interrupted = false;
    loop {
        let Some(hub) = weak.upgrade() else { return };
        if hub.may_stop() {
            return;
        }
        let on_push: OnPush = {
            let weak = Weak::clone(&weak);
            Arc::new(move |push| {
                if let Some(hub) = weak.upgrade() {
                    hub.deliver(push);
                }
            })
        };
        let connected = match hub.router.any() {
            Ok(node) => {
                let dialer = &hub.router.dialer;
                dialer
                    .dial(&node.address, SignIn::Yes, Some(on_push))
                    .await
                    .ok()
            }
            Err(_) => None,
        };
        if let Some(connection) = connected {
            pause = FIRST_PAUSE;
            if std::mem::take(&mut interrupted) {
                hub.tell_all(&Event::Resumed);
            }
            drop(hub);
            if serve(&weak, &connection).await.is_ok() {
                return;
            }
        } else {
            hub.applied.send_modify(|applied| applied.failures += 1);
            drop(hub);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        let Some(hub) = weak.upgrade() else { return };
        if !std::mem::replace(&mut interrupted, true) {
            hub.tell_all(&Event::Interrupted);
        }
        if let Err(error) = hub.router.rediscover().await {
            tracing::debug!(error = %error, "no server for subscriptions");
        }
    }
}

/// Serves one connection; `Ok` when nobody is subscribed any more.
async fn serve(weak: &Weak<Hub>, connection: &Connection) -> Result<(), Fault> {
    let mut done = HashSet::new();
    loop {
        let Some(hub) = weak.upgrade() else {
            return Ok(());
        };
        hub.apply(connection, &mut done).await?;
        if hub.may_stop() {
            return Ok(());
        }
        if timeout(PING_EVERY, hub.changed.notified()).await.is_err() {
            connection.send(&redis::cmd("PING")).await?;
        }
        if connection.is_broken() {
            return Err(Fault::Final(Error::connection_failed(
                "the connection broke",
            )));
        }
    }
}

impl Hub {
    /// Whether nobody is left; then the next subscriber starts a new worker.
    fn may_stop(&self) -> bool {
        let mut wanted = self.wanted.lock();
        wanted.working = !wanted.inboxes.is_empty();
        !wanted.working
    }
}

impl Subscription {
    /// Adds channels or patterns; returns when the server has them.
    ///
    /// # Errors
    /// Too many names, names that the connection's user may not read, or no server.
    pub async fn add(&self, names: Vec<Vec<u8>>, patterns: bool) -> Result<(), Error> {
        let names: Vec<_> = names
            .into_iter()
            .map(|bytes| Name {
                is_pattern: patterns,
                bytes,
            })
            .collect();
        let mut applied = self.hub.applied.subscribe();
        let before = *applied.borrow_and_update();
        let generation = self.note(&names)?;
        self.hub.changed.notify_one();
        let limit = self.hub.router.dialer.operation_timeout;
        let reached = applied.wait_for(|applied| {
            applied.generation >= generation || applied.failures > before.failures + 1
        });
        let reached = timeout(limit, reached)
            .await
            .map_err(|_| Error::timeout())?;
        let reached = reached.is_ok_and(|applied| applied.generation >= generation);
        if !reached {
            self.forget(&names);
            return Err(Error::connection_failed("no server for the subscription"));
        }
        let mut wanted = self.hub.wanted.lock();
        let refused = names.iter().any(|name| wanted.refused.remove(name));
        drop(wanted);
        if refused {
            self.forget(&names);
            return Err(Error::query_not_allowed(
                "The user of this connection may not subscribe to that (ACL).",
                "/channels",
            ));
        }
        Ok(())
    }

    fn note(&self, names: &[Name]) -> Result<u64, Error> {
        let mut own = self.names.lock();
        let mut wanted = self.hub.wanted.lock();
        for name in names {
            if own.len() >= MAX_NAMES && !own.contains(name) {
                return Err(invalid(format!(
                    "A subscription has at most {MAX_NAMES} channels and patterns."
                )));
            }
            if own.insert(name.clone()) {
                let listeners = wanted.names.entry(name.clone()).or_default();
                listeners.push((self.id, Arc::clone(&self.inbox)));
            }
        }
        wanted.generation += 1;
        Ok(wanted.generation)
    }

    /// Takes channels or patterns away.
    pub fn remove(&self, names: Vec<Vec<u8>>, patterns: bool) {
        let names: Vec<_> = names
            .into_iter()
            .map(|bytes| Name {
                is_pattern: patterns,
                bytes,
            })
            .collect();
        self.forget(&names);
    }

    fn forget(&self, names: &[Name]) {
        let mut own = self.names.lock();
        let mut wanted = self.hub.wanted.lock();
        for name in names {
            own.remove(name);
            wanted.forget(name, self.id);
        }
        wanted.generation += 1;
        drop(wanted);
        self.hub.changed.notify_one();
    }

    /// What comes next. Nothing is lost if the future is dropped.
    pub async fn next(&self) -> Event {
        self.inbox.next().await
    }
}

impl Wanted {
    fn forget(&mut self, name: &Name, id: u64) {
        if let Some(listeners) = self.names.get_mut(name) {
            listeners.retain(|(listener, _)| *listener != id);
            if listeners.is_empty() {
                self.names.remove(name);
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let names = std::mem::take(&mut *self.names.lock());
        let mut wanted = self.hub.wanted.lock();
        for name in &names {
            wanted.forget(name, self.id);
        }
        wanted.inboxes.remove(&self.id);
        wanted.generation += 1;
        drop(wanted);
        self.hub.changed.notify_one();
    }
}
