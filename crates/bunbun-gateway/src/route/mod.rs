//! Routes: compiled from configuration once, then only read.

mod compile;
pub mod profile;
mod rules;
mod table;

use std::{sync::Arc, time::Duration};

use bunbun_core::config::gateway::{Access, CorsConfig, RateLimitBy};
use bytes::Bytes;
pub use compile::{Environment, compile};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
pub use rules::Rules;
pub use table::{HostPattern, RouteTable};

use crate::{metrics::RouteMetrics, rate_limit::Policy, slot::Slot, upstream::Upstream};

/// One route, ready for use.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// The path it matches.
    pub path: Box<str>,
    /// Match the path alone.
    pub exact: bool,
    /// Hosts it is limited to; empty: all.
    pub hosts: Vec<HostPattern>,
    /// Methods it is limited to; empty: all.
    pub methods: Vec<Method>,
    /// Where it leads.
    pub target: Target,
    /// What keeps a client on one side of a split.
    pub sticky: Option<RateLimitBy>,
    /// Gets a copy of each small request.
    pub mirror: Option<Arc<Upstream>>,
    /// What replaces the matched path upstream; `None`: the path goes as it is.
    pub rewrite: Option<Box<str>>,
    /// The `Host` that the upstream sees.
    pub host: HostRule,
    /// Sent as `X-Forwarded-Prefix`.
    pub forwarded_prefix: Option<HeaderValue>,
    /// Who may use it.
    pub access: Access,
    /// Roles that the credential must have one of; empty: any.
    pub roles: Vec<String>,
    /// Scopes that the token must have all of.
    pub scopes: Vec<String>,
    /// Addresses that may use it; empty: all.
    pub allow_ips: Vec<IpNet>,
    /// Addresses that may not.
    pub deny_ips: Vec<IpNet>,
    /// Browsers of other origins.
    pub cors: CorsConfig,
    /// Its rate limit.
    pub policy: Option<Arc<Policy>>,
    /// Time to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Longest silence in a body or tunnel.
    pub idle_timeout: Duration,
    /// How often a request that is safe to repeat is repeated.
    pub retries: u8,
    /// How long answers are kept and shared.
    pub cache_ttl: Option<Duration>,
    /// Largest request body in bytes.
    pub max_body_bytes: Option<u64>,
    /// Changes to the request's headers.
    pub request_rules: Rules,
    /// Changes to the answer's headers.
    pub response_rules: Rules,
    /// How application keys travel on.
    pub keys: KeyRules,
    /// Whether it is one of BunBun's own endpoints, with our own errors and identity.
    pub own: bool,
    /// Its counters.
    pub metrics: RouteMetrics,
}

/// Where a route leads.
#[derive(Debug)]
pub enum Target {
    /// A service slot.
    Slot(Arc<Slot>),
    /// An upstream of the configuration.
    Upstream(Arc<Upstream>),
    /// Upstreams with the upper ends of their shares, out of 100.
    Split(Vec<(u8, Arc<Upstream>)>),
    /// A fixed answer.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: Bytes,
        /// Its media type.
        content_type: HeaderValue,
    },
}

/// The `Host` that the upstream sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// The upstream's own.
    Upstream,
    /// The client's.
    Preserve,
    /// Always this one.
    Fixed(HeaderValue),
}

/// How application keys travel on to a service, by the dialect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// Put the key's token into `Authorization` where the client sent none of its own.
    pub authorization: bool,
    /// Write it as `Bearer TOKEN`; Kong 3's template sends a legacy key bare.
    pub bearer: bool,
    /// Also send it as `x-api-key`, which realtime reads.
    pub x_api_key: bool,
    /// Also send it as `sb-api-key`, which functions read.
    pub sb_api_key: bool,
    /// Take `apikey` away, as Kong 2's `hide_credentials` does.
    pub hide: bool,
    /// Tell the consumer's name, as Kong's key-auth does.
    pub consumer: bool,
}

/// `x-forwarded-prefix`
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

impl Route {
    /// The path for the upstream, from the normalised path of a request that matched.
    #[must_use]
    pub fn upstream_path<'p>(&self, path: &'p str) -> std::borrow::Cow<'p, str> {
        let Some(rewrite) = &self.rewrite else {
            return path.into();
        };
        let rest = &path[self.path.len().min(path.len())..];
        match (&**rewrite, rest) {
            // Prefixes that end in a slash leave none in the rest.
            ("/", _) if self.path.ends_with('/') => {
                std::borrow::Cow::Borrowed(&path[self.path.len() - 1..])
            }
            ("/", "") => "/".into(),
            ("/", _) => rest.into(),
            (rewrite, rest) => format!("{rewrite}{rest}").into(),
        }
    }
}
