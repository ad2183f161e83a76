//! Upstreams: services at URLs. Each has the addresses its names resolve to, and each address has
//! its connections, its load and its breaker.

mod balance;
mod budget;
mod connection;
mod endpoint;
pub mod health;
pub(crate) mod http1;
mod resolve;
mod send;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use budget::RetryBudget;
use bunbun_core::{
    config::gateway::{BreakerConfig, HealthConfig, UpstreamConfig},
    task,
};
use connection::{Origin, Protocol, Tls};
use endpoint::Endpoint;
pub use health::ProbeError;
use http::HeaderValue;
use parking_lot::Mutex;
pub use resolve::{Resolve, SystemResolver};
pub(crate) use send::UpstreamBody;
pub use send::{Lease, SendError, SendOptions};
pub(crate) use send::{is_idempotent, replay};
use tokio::sync::Semaphore;
use url::Url;

/// Names are resolved again when their addresses are older than this.
const RESOLVE_EVERY: Duration = Duration::from_secs(2);
/// The same while no address takes requests: the new one of a recreated container is wanted soon.
const RESOLVE_AGAIN: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the 60 s or more after which common servers close idle connections themselves.
const KEEPALIVE: Duration = Duration::from_secs(50);
const MAX_CONNECTIONS: usize = 10_000;

/// What an upstream is made from; equal settings share one upstream over reloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Its name in logs and metrics.
    pub name: String,
    /// `http`, `https` or `h2c` URLs.
    pub urls: Vec<Url>,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Most requests at once; more wait.
    pub max_connections: usize,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
    /// Failures that open an address's breaker, and for how long.
    pub breaker: (u32, Duration),
    /// Path, interval and timeout of the active check.
    pub health: Option<(String, Duration, Duration)>,
    /// A PEM text of certificate authorities.
    pub ca_pem: Option<String>,
}

/// An upstream's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("upstream '{name}': {problem}")]
pub struct InvalidUpstream {
    /// Which.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Settings {
    /// The settings of a service slot.
    #[must_use]
    pub fn of_service(name: &str, urls: &[Url]) -> Self {
        Self {
            name: name.to_owned(),
            urls: urls.to_vec(),
            connect_timeout: CONNECT_TIMEOUT,
            max_connections: MAX_CONNECTIONS,
            keepalive: KEEPALIVE,
            breaker: (5, Duration::from_secs(1)),
            health: None,
            ca_pem: None,
        }
    }

    /// The settings of an upstream in `bunbun.toml`.
    ///
    /// # Errors
    /// A URL or file that cannot be used.
    pub fn of_config(name: &str, config: &UpstreamConfig) -> Result<Self, InvalidUpstream> {
        let invalid = |problem: String| InvalidUpstream {
            name: name.to_owned(),
            problem,
        };
        if config.urls.is_empty() {
            return Err(invalid("has no urls".to_owned()));
        }
        let mut urls = Vec::new();
        for text in &config.urls {
            let url = Url::parse(text).map_err(|error| invalid(format!("'{text}': {error}")))?;
            if !matches!(url.scheme(), "http" | "https" | "h2c") || !url.has_host() {
                return Err(invalid(format!(
                    "'{text}' is not an http, https or h2c URL"
                )));
            }
            urls.push(url);
        }
        let ca_pem = match &config.ca_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| invalid(format!("'{path}': {error}")))?,
            ),
            None => None,
        };
        let breaker = config.breaker.clone().unwrap_or_default();
        let health = config.health.clone().map(
            |HealthConfig {
                 path,
                 interval,
                 timeout,
             }| { (path, interval.0.max(Duration::from_millis(100)), timeout.0) },
        );
        Ok(Self {
            connect_timeout: config.connect_timeout.map_or(CONNECT_TIMEOUT, |d| d.0),
            max_connections: config.max_connections.unwrap_or(MAX_CONNECTIONS).max(1),
            keepalive: config.keepalive_timeout.map_or(KEEPALIVE, |d| d.0),
            breaker: (breaker.failures, breaker.open_for.0),
            health,
            ca_pem,
            ..Self::of_service(name, &urls)
        })
    }
}

/// A service at one or more URLs.
pub struct Upstream {
    settings: Settings,
    breaker: BreakerConfig,
    origins: Vec<Origin>,
    /// Where an origin needs it.
    tls: Option<Tls>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// When the names were last resolved, in milliseconds after `start`.
    resolved_at: AtomicU64,
    resolving: AtomicBool,
    /// When the last resolution began. Two at once would make two of each new address.
    resolution: tokio::sync::Mutex<Option<Instant>>,
    start: Instant,
    shards: usize,
    slots: Arc<Semaphore>,
    budget: RetryBudget,
    resolver: Arc<dyn Resolve>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Prepares an upstream; nothing is connected before the first request.
    ///
    /// # Errors
    /// A URL or certificate that cannot be used.
    pub fn new(
        settings: Settings,
        shards: usize,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, InvalidUpstream> {
        let invalid = |problem: String| InvalidUpstream {
            name: settings.name.clone(),
            problem,
        };
        let origins = settings
            .urls
            .iter()
            .map(origin)
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let needs_tls = origins
            .iter()
            .any(|origin: &Origin| origin.protocol == Protocol::Https);
        let tls = needs_tls
            .then(|| Tls::new(settings.ca_pem.as_deref().map(str::as_bytes)))
            .transpose()
            .map_err(invalid)?;
        let (failures, open_for) = settings.breaker;
        Ok(Self {
            breaker: BreakerConfig {
                failures,
                open_for: bunbun_core::config::HumanDuration(open_for),
            },
            origins,
            tls,
            endpoints: ArcSwap::default(),
            resolved_at: AtomicU64::new(0),
            resolving: AtomicBool::new(false),
            resolution: tokio::sync::Mutex::default(),
            start: Instant::now(),
            shards,
            slots: Arc::new(Semaphore::new(
                settings.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            budget: RetryBudget::default(),
            resolver,
            settings,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// How many addresses, in-flight requests and idle connections it has, and how many of its
    /// addresses are out of rotation; for metrics.
    #[must_use]
    pub fn load(&self) -> Load {
        let endpoints = self.endpoints.load();
        Load {
            addresses: endpoints.len(),
            in_flight: endpoints
                .iter()
                .map(|e| e.in_flight.load(Ordering::Relaxed))
                .sum(),
            idle: endpoints.iter().map(|e| e.idle_count()).sum(),
            unavailable: endpoints.iter().filter(|e| !e.is_available()).count(),
        }
    }

    /// Closes connections that nobody used for long.
    pub fn sweep(&self) {
        for endpoint in self.endpoints.load().iter() {
            endpoint.sweep(self.settings.keepalive);
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The addresses, resolved now where there are none, and in the background where they are old.
    async fn endpoints(self: &Arc<Self>) -> Arc<Vec<Arc<Endpoint>>> {
        let endpoints = self.endpoints.load_full();
        if endpoints.is_empty() {
            Box::pin(self.resolve()).await;
            return self.endpoints.load_full();
        }
        let age = self
            .millis()
            .saturating_sub(self.resolved_at.load(Ordering::Relaxed));
        if u128::from(age) > RESOLVE_EVERY.as_millis()
            && self
                .origins
                .iter()
                .any(|origin| origin.host.parse::<std::net::IpAddr>().is_err())
            && !self.resolving.swap(true, Ordering::AcqRel)
        {
            let this = Arc::clone(self);
            task::spawn("resolve upstream", async move {
                this.resolve().await;
                this.resolving.store(false, Ordering::Release);
            });
        }
        endpoints
    }

    /// Resolves where that has not been done just now, because no address takes requests. Returns
    /// whether it did.
    async fn resolve_again(&self) -> bool {
        let age = self
            .millis()
            .saturating_sub(self.resolved_at.load(Ordering::Relaxed));
        let due = u128::from(age) > RESOLVE_AGAIN.as_millis();
        if due {
            // Before the answer is there, so that one request asks and not all of them.
            self.resolved_at.store(self.millis(), Ordering::Relaxed);
            self.resolve().await;
        }
        due
    }

    /// Resolves all names, unless somebody else has begun to after this was called.
    async fn resolve(&self) {
        let asked = Instant::now();
        let mut begun = self.resolution.lock().await;
        if begun.is_none_or(|begun| begun < asked) {
            let now = Instant::now();
            self.resolve_now().await;
            *begun = Some(now);
        }
    }

    /// Resolves all names. Addresses that stay keep their connections and their breaker; a name
    /// that does not resolve at the moment keeps the addresses it had.
    async fn resolve_now(&self) {
        let before = self.endpoints.load_full();
        let mut after: Vec<Arc<Endpoint>> = Vec::new();
        for (index, origin) in self.origins.iter().enumerate() {
            let host = origin.host.trim_matches(['[', ']']);
            let found = match self.resolver.resolve(host, origin.port).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    tracing::warn!(upstream = self.name(), %error, "name resolution failed");
                    after.extend(before.iter().filter(|e| e.origin == index).map(Arc::clone));
                    continue;
                }
            };
            for address in found {
                let same = |e: &&Arc<Endpoint>| e.address == address && e.origin == index;
                if !after.iter().any(|e| same(&e)) {
                    after.push(before.iter().find(same).map_or_else(
                        || Arc::new(Endpoint::new(address, index, self.shards)),
                        Arc::clone,
                    ));
                }
            }
        }
        self.resolved_at.store(self.millis(), Ordering::Relaxed);
        self.endpoints.store(Arc::new(after));
    }
}

/// An upstream's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Addresses that its names resolve to.
    pub addresses: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Idle connections.
    pub idle: usize,
    /// Addresses whose breaker is open or whose check fails.
    pub unavailable: usize,
}

fn origin(url: &Url) -> Result<Origin, String> {
    let (protocol, default_port) = match url.scheme() {
        "http" => (Protocol::Http, 80),
        "h2c" => (Protocol::H2c, 80),
        "https" => (Protocol::Https, 443),
        other => return Err(format!("scheme '{other}' is not supported")),
    };
    let host = url.host_str().ok_or("a URL has no host")?.to_owned();
    let port = url.port().unwrap_or(default_port);
    let shown = if port == default_port {
        host.clone()
    } else {
        format!("{host}:{port}")
    };
    let authority = HeaderValue::try_from(shown).map_err(|error| error.to_string())?;
    let base_path = url.path().trim_end_matches('/').to_owned();
    Ok(Origin {
        protocol,
        host,
        port,
        authority,
        base_path,
    })
}

/// Keeps upstreams over reloads: the same settings give the same upstream with its connections.
pub struct Registry {
    known: Mutex<HashMap<Settings, Weak<Upstream>>>,
    resolver: Arc<dyn Resolve>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Arc::new(SystemResolver))
    }
}

impl Registry {
    /// A registry whose upstreams find their addresses by a resolver.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            known: Mutex::default(),
            resolver,
        }
    }

    /// The upstream of these settings.
    ///
    /// # Errors
    /// As [`Upstream::new`].
    pub fn get(&self, settings: Settings, shards: usize) -> Result<Arc<Upstream>, InvalidUpstream> {
        let mut known = self.known.lock();
        if let Some(upstream) = known.get(&settings).and_then(Weak::upgrade) {
            return Ok(upstream);
        }
        let resolver = Arc::clone(&self.resolver);
        let upstream = Arc::new(Upstream::new(settings.clone(), shards, resolver)?);
        known.retain(|_, weak| weak.strong_count() > 0);
        known.insert(settings, Arc::downgrade(&upstream));
        Ok(upstream)
    }

    /// All upstreams in use.
    pub fn all(&self) -> Vec<Arc<Upstream>> {
        self.known
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}
