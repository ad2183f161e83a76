//! Which server gets a command: the one there is, the one that the sentinels name, or, in a
//! cluster, the one that has the key's slot. Every address that a server tells us is dialled
//! through the same guard as those that the user gave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use redis::{Cmd, Pipeline, Value};
use serde_json::json;

use super::{
    config::Config,
    connection::{Connection, Dialer, SignIn},
    error::{Fault, Redirect, checked, invalid, redirect, unexpected},
    node::{Node, Own, Queue},
    reply, slot,
    stream::{Address, DialFailure},
};
use crate::{Error, Limits};

/// How often one request follows a cluster that moves its slots.
const MAX_ATTEMPTS: usize = 6;
/// The map is not asked for more often, however many requests want a newer one.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);

/// What kind of installation the servers form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// One server, found through sentinels.
    Sentinel,
    /// The keys are spread over several.
    Cluster,
}

impl Mode {
    /// As Redis calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// Whether a command may be sent a second time when the connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same twice.
    Safe,
    /// Nobody knows whether the first one was carried out.
    Never,
}

/// The servers at one moment.
struct Layout {
    /// In the order of their addresses.
    nodes: Vec<Arc<Node>>,
    /// Slot → index in `nodes`; empty unless it is a cluster.
    slots: Vec<u16>,
    made_at: Instant,
}

/// Finds servers and follows them when they change.
pub(super) struct Router {
    pub(super) mode: Mode,
    pub(super) dialer: Arc<Dialer>,
    seeds: Vec<Address>,
    master: Option<String>,
    max_connections: usize,
    queue: Arc<Queue>,
    layout: RwLock<Arc<Layout>>,
    refreshing: tokio::sync::Mutex<()>,
    /// Replies of the last `HELLO`: the version.
    pub(super) version: Mutex<String>,
}

impl Router {
    /// Connects to the first server that answers and learns from it what the others are.
    pub(super) async fn connect(config: Config, limits: &Limits) -> Result<Self, Error> {
        let Config {
            seeds,
            master,
            dialer,
        } = config;
        let (first, connection) = first_of(&dialer, &seeds).await?;
        let hello = reply::map(connection.send(&redis::cmd("HELLO")).await?);
        let text = |name: &str| hello.get(name).and_then(reply::text).unwrap_or_default();
        let mode = match text("mode").as_str() {
            "cluster" => Mode::Cluster,
            "sentinel" => Mode::Sentinel,
            _ => Mode::Standalone,
        };
        let router = Self {
            mode,
            dialer,
            seeds,
            master,
            max_connections: limits.max_connections.max(3),
            queue: Arc::new(Queue::new(limits.max_waiting, limits.operation_timeout)),
            layout: RwLock::new(Arc::new(Layout {
                nodes: Vec::new(),
                slots: Vec::new(),
                made_at: Instant::now(),
            })),
            refreshing: tokio::sync::Mutex::new(()),
            version: Mutex::new(text("version")),
        };
        let layout = router.look(&first, &connection).await?;
        *router.layout.write() = Arc::new(layout);
        if mode != Mode::Sentinel {
            return Ok(router);
        }
        // The sentinel's own version says nothing about the server's.
        let hello = router.nodes()[0]
            .lane()
            .await?
            .send(&redis::cmd("HELLO"))
            .await?;
        let version = reply::map(hello).get("version").and_then(reply::text);
        *router.version.lock() = version.unwrap_or_default();
        Ok(router)
    }

    /// Asks a server for the layout.
    async fn look(&self, from: &Address, connection: &Connection) -> Result<Layout, Error> {
        let (addresses, ranges) = match self.mode {
            Mode::Standalone => (vec![from.clone()], Vec::new()),
            Mode::Sentinel => (vec![self.ask_sentinel(connection).await?], Vec::new()),
            Mode::Cluster => cluster_map(from, connection).await?,
        };
        let mut sorted = addresses.clone();
        sorted.sort();
        sorted.dedup();
        let per_node = self.max_connections / sorted.len().max(1);
        // The lane of each and, somewhere, the subscriptions have theirs already.
        let own_size = per_node.saturating_sub(2).max(1);
        let known = self.layout.read().nodes.clone();
        let nodes: Vec<_> = sorted
            .iter()
            .map(|address| {
                let old = known.iter().find(|node| node.address == *address);
                old.map_or_else(
                    || {
                        Arc::new(Node::new(
                            address.clone(),
                            Arc::clone(&self.dialer),
                            own_size,
                            Arc::clone(&self.queue),
                        ))
                    },
                    Arc::clone,
                )
            })
            .collect();
        let mut slots = Vec::new();
        if self.mode == Mode::Cluster {
            slots = vec![u16::MAX; slot::SLOTS];
            for (start, end, address) in ranges {
                let index = sorted.binary_search(&address).unwrap_or(usize::MAX);
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                for slot in slots.iter_mut().take(end + 1).skip(start) {
                    *slot = index;
                }
            }
        }
        Ok(Layout {
            nodes,
            slots,
            made_at: Instant::now(),
        })
    }

    async fn ask_sentinel(&self, connection: &Connection) -> Result<Address, Error> {
        let name = match &self.master {
            Some(name) => name.clone(),
            None => only_master(connection).await?,
        };
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&name);
        let answer = reply::list(connection.send(&command).await?);
        match answer.as_slice() {
            [host, port] => Ok(Address {
                host: reply::text(host).unwrap_or_default(),
                port: reply::text(port)
                    .and_then(|port| port.parse().ok())
                    .ok_or_else(|| unexpected("SENTINEL"))?,
            }),
            _ => Err(invalid(
                "The sentinels do not know the server of this name.",
            )),
        }
    }

    /// Learns the layout again, unless someone has just done so.
    async fn refresh(&self) -> Result<(), Error> {
        if self.mode == Mode::Standalone {
            return Ok(());
        }
        let asked_at = Instant::now();
        let _refreshing = self.refreshing.lock().await;
        let made_at = self.layout.read().made_at;
        if made_at > asked_at || made_at.elapsed() < REFRESH_PAUSE {
            return Ok(());
        }
        let mut candidates = Vec::new();
        if self.mode == Mode::Cluster {
            candidates.extend(self.nodes().iter().map(|node| node.address.clone()));
        }
        candidates.extend(self.seeds.iter().cloned());
        let mut last = None;
        for address in candidates {
            let looked = match first_of(&self.dialer, std::slice::from_ref(&address)).await {
                Ok((_, connection)) => self.look(&address, &connection).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(layout) => {
                    *self.layout.write() = Arc::new(layout);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| unexpected("the search for servers")))
    }

    /// Looks for the servers again, after one of them was lost.
    pub(super) async fn rediscover(&self) -> Result<(), Error> {
        self.refresh().await
    }

    /// Every server that has keys, in a fixed order.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.layout.read().nodes.clone()
    }

    /// Any server: for what all of them know.
    pub(super) fn any(&self) -> Result<Arc<Node>, Error> {
        let layout = self.layout.read();
        layout
            .nodes
            .first()
            .cloned()
            .ok_or_else(|| unexpected("CLUSTER SLOTS"))
    }

    /// The server that has the key.
    pub(super) fn node_of(&self, key: &[u8]) -> Result<Arc<Node>, Error> {
        if self.mode != Mode::Cluster {
            return self.any();
        }
        let layout = self.layout.read();
        let index = usize::from(layout.slots[slot::of(key)]);
        layout
            .nodes
            .get(index)
            .cloned()
            .ok_or_else(|| Error::connection_failed("no server of the cluster has the key's slot"))
    }

    /// One short command about one key.
    pub(super) async fn command(
        &self,
        key: &[u8],
        command: Cmd,
        repeat: Repeat,
    ) -> Result<Value, Error> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let answers = self.pipeline(key, &commands, repeat).await?;
        let answer = answers
            .into_iter()
            .next()
            .ok_or_else(|| unexpected("a command"))?;
        Ok(checked(answer)?)
    }

    /// Short commands about one key, sent at once over the shared connection.
    pub(super) async fn pipeline(
        &self,
        key: &[u8],
        commands: &Pipeline,
        repeat: Repeat,
    ) -> Result<Vec<Value>, Error> {
        let mut broken = false;
        for _ in 0..MAX_ATTEMPTS {
            let node = self.node_of(key)?;
            let sent = match node.lane().await {
                Ok(lane) => lane.send_all(commands).await,
                Err(error)
                    if !broken && self.mode != Mode::Standalone && error.is_connection_failed() =>
                {
                    broken = true;
                    tracing::debug!(error = %error, "a server cannot be reached; looking for others");
                    self.refresh().await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match sent {
                Ok(answers) => match answers.iter().find_map(redirected) {
                    None => return Ok(answers),
                    Some(Redirect::Ask(host, port)) => {
                        return self.ask(host, port, commands).await;
                    }
                    Some(Redirect::Demoted) if self.mode == Mode::Standalone => return Ok(answers),
                    Some(redirect) => self.follow(&redirect).await?,
                },
                Err(Fault::Redis(error)) if let Some(redirect) = redirect(&error) => match redirect
                {
                    Redirect::Ask(host, port) => return self.ask(host, port, commands).await,
                    redirect => self.follow(&redirect).await?,
                },
                Err(Fault::Redis(error))
                    if repeat == Repeat::Safe && !broken && error.is_connection_dropped() =>
                {
                    broken = true;
                    self.refresh().await?;
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Error::connection_failed(
            "the cluster redirects in a circle",
        ))
    }

    /// Takes note of a redirect; the next attempt goes elsewhere.
    pub(super) async fn follow(&self, redirect: &Redirect) -> Result<(), Error> {
        if *redirect == Redirect::Demoted && self.mode == Mode::Standalone {
            return Err(Error::read_only());
        }
        self.refresh().await?;
        match redirect {
            Redirect::Moved(slot, host, port) => self.believe(*slot, host, *port),
            // A failover that not everyone knows of.
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        Ok(())
    }

    /// The server that had a slot knows best who has it now; the map may come from one that has
    /// not heard of it.
    fn believe(&self, slot: usize, host: &str, port: u16) {
        let mut layout = self.layout.write();
        let is_there = |node: &Arc<Node>| node.address.host == host && node.address.port == port;
        let index = layout.nodes.iter().position(is_there);
        let Some(index) = index.and_then(|index| u16::try_from(index).ok()) else {
            return;
        };
        if layout.slots.get(slot).is_some_and(|there| *there != index) {
            let mut slots = layout.slots.clone();
            slots[slot] = index;
            *layout = Arc::new(Layout {
                nodes: layout.nodes.clone(),
                slots,
                made_at: layout.made_at,
            });
        }
    }

    /// Sends the commands to the server to which the slot is on its way.
    async fn ask(&self, host: String, port: u16, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        let address = Address { host, port };
        let connection = self.dialer.dial(&address, SignIn::Yes, None).await?;
        Ok(ask(&connection, commands).await?)
    }

    /// A connection to the key's server for the caller alone.
    pub(super) async fn own(&self, key: &[u8]) -> Result<Own, Error> {
        match self.node_of(key)?.own().await {
            Err(error) if self.mode != Mode::Standalone && error.is_connection_failed() => {
                tracing::debug!(error = %error, "a server cannot be reached; looking for others");
                self.refresh().await?;
                self.node_of(key)?.own().await
            }
            other => other,
        }
    }

    /// Attempts at work that needs a connection of its own.
    pub(super) fn attempts<'a>(&'a self, key: &'a [u8]) -> Attempts<'a> {
        Attempts {
            router: self,
            key,
            left: MAX_ATTEMPTS,
            redirected: false,
            ask: None,
        }
    }

    /// The server at an address, known or not.
    fn node_at(&self, address: Address) -> Arc<Node> {
        let layout = self.layout.read();
        let known = layout.nodes.iter().find(|node| node.address == address);
        known.map_or_else(
            || {
                let dialer = Arc::clone(&self.dialer);
                Arc::new(Node::new(
                    address.clone(),
                    dialer,
                    1,
                    Arc::clone(&self.queue),
                ))
            },
            Arc::clone,
        )
    }

    pub(super) fn close(&self) {
        for node in self.nodes() {
            node.close();
        }
    }
}

/// Work that is done again when the key lives elsewhere, or when it changed meanwhile.
pub(super) struct Attempts<'a> {
    router: &'a Router,
    key: &'a [u8],
    left: usize,
    redirected: bool,
    /// Where the key is while its slot is on its way.
    ask: Option<Address>,
}

impl Attempts<'_> {
    /// The connection for the next attempt.
    ///
    /// # Errors
    /// When there were enough attempts.
    pub(super) async fn own(&mut self) -> Result<Own, Error> {
        if self.left == 0 {
            return Err(if self.redirected {
                Error::connection_failed("the cluster redirects in a circle")
            } else {
                let reason = json!({ "reason": "The key keeps changing. Try again." });
                Error::precondition_failed().details(reason)
            });
        }
        self.left -= 1;
        self.redirected = false;
        match self.ask.take() {
            None => self.router.own(self.key).await,
            Some(address) => Ok(self.router.node_at(address).own().await?.asking()),
        }
    }

    /// What came of an attempt; `None` when the work has to be done elsewhere.
    pub(super) async fn settle<T>(
        &mut self,
        own: Own,
        result: Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        drop(own);
        let error = match result {
            Err(Fault::Redis(error)) => error,
            other => return Ok(Some(other?)),
        };
        match redirect(&error) {
            None => return Err(Fault::Redis(error).into()),
            Some(Redirect::Ask(host, port)) => self.ask = Some(Address { host, port }),
            Some(redirect) => self.router.follow(&redirect).await?,
        }
        self.redirected = true;
        Ok(None)
    }
}

/// Sends commands about a slot that is only on its way to the server.
pub(super) async fn ask(connection: &Connection, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
    if commands.is_transaction() {
        // It holds until the end of the transaction.
        connection.send(&redis::cmd("ASKING")).await?;
        return connection.send_all(commands).await;
    }
    let mut asking = Pipeline::with_capacity(2 * commands.len());
    for command in commands.cmd_iter() {
        asking.cmd("ASKING");
        asking.add_command(command.clone());
    }
    let answers = connection.send_all(&asking).await?;
    Ok(answers.into_iter().skip(1).step_by(2).collect())
}

fn redirected(answer: &Value) -> Option<Redirect> {
    match answer {
        Value::ServerError(error) => redirect(&error.clone().into()),
        _ => None,
    }
}

/// The first seed that answers. A sentinel may want no password where its servers do.
async fn first_of(dialer: &Dialer, seeds: &[Address]) -> Result<(Address, Connection), Error> {
    let mut last = Error::connection_failed("no host");
    for address in seeds {
        match dialer.dial(address, SignIn::Yes, None).await {
            Ok(connection) => return Ok((address.clone(), connection)),
            Err(failure @ (DialFailure::NotAllowed { .. } | DialFailure::Timeout)) => {
                last = failure.into();
            }
            Err(failure) => {
                last = failure.into();
                if let Some(connection) = unsigned_sentinel(dialer, address).await {
                    return Ok((address.clone(), connection));
                }
            }
        }
    }
    Err(last)
}

async fn unsigned_sentinel(dialer: &Dialer, address: &Address) -> Option<Connection> {
    if dialer.password.is_none() && dialer.database == 0 {
        return None;
    }
    let connection = dialer.dial(address, SignIn::No, None).await.ok()?;
    let hello = reply::map(connection.send(&redis::cmd("HELLO")).await.ok()?);
    let mode = hello.get("mode").and_then(reply::text)?;
    (mode == "sentinel").then_some(connection)
}

/// The name of the one server that a sentinel watches.
async fn only_master(connection: &Connection) -> Result<String, Error> {
    let mut command = redis::cmd("SENTINEL");
    command.arg("MASTERS");
    let masters = reply::list(connection.send(&command).await?);
    match <[Value; 1]>::try_from(masters) {
        Ok([master]) => reply::map(master)
            .get("name")
            .and_then(reply::text)
            .ok_or_else(|| unexpected("SENTINEL MASTERS")),
        Err(_) => Err(invalid(
            "The sentinels watch several servers. Name one with the option `master`.",
        )),
    }
}

type ClusterMap = (Vec<Address>, Vec<(usize, usize, Address)>);

/// The primaries of a cluster and their ranges of slots.
async fn cluster_map(from: &Address, connection: &Connection) -> Result<ClusterMap, Error> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let mut addresses = Vec::new();
    let mut ranges = Vec::new();
    for range in reply::list(connection.send(&command).await?) {
        let parts = reply::list(range);
        let [start, end, primary, ..] = parts.as_slice() else {
            return Err(unexpected("CLUSTER SLOTS"));
        };
        let bound = |value| reply::integer(value).and_then(|slot| usize::try_from(slot).ok());
        let (Some(start), Some(end)) = (bound(start), bound(end)) else {
            return Err(unexpected("CLUSTER SLOTS"));
        };
        let primary = reply::list(primary.clone());
        let host = primary.first().and_then(reply::text).unwrap_or_default();
        let port = primary.get(1).and_then(reply::integer);
        let address = Address {
            // A server that does not know its own name is where we found it.
            host: if host.is_empty() || host == "?" {
                from.host.clone()
            } else {
                host
            },
            port: port
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(|| unexpected("CLUSTER SLOTS"))?,
        };
        addresses.push(address.clone());
        ranges.push((start, end.min(slot::SLOTS - 1), address));
    }
    if addresses.is_empty() {
        return Err(Error::connection_failed(
            "the cluster has no slots assigned",
        ));
    }
    Ok((addresses, ranges))
}
