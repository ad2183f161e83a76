//! `[gateway]` in `bunbun.toml`: routes, upstreams and policies as data. The gateway crate
//! compiles it into a route table; `bunbun routes` shows it with the built-in profile.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::duration::HumanDuration;

/// Whose answers the gateway imitates where it answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Kong 2.8.1, as the original stack's CLI and older installations run it.
    Kong2,
    /// Kong 3.9.
    Kong3,
    /// Envoy, the original stack's default since release 0.8.0.
    #[default]
    Envoy,
}

/// The whole section.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Whose answers to imitate.
    pub dialect: Dialect,
    /// Rate-limit policies by name. `api` is built in and may be redefined.
    pub rate_limits: BTreeMap<String, RateLimitConfig>,
    /// Upstreams by name, for routes that are not a service slot.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// Routes in addition to the built-in profile. A route whose name is a built-in one's
    /// replaces it.
    pub routes: Vec<RouteConfig>,
}

/// How many requests in which time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Requests per window, also the burst.
    pub limit: u32,
    /// The window.
    pub window: HumanDuration,
    /// What is counted. Callers without that property are counted by address.
    #[serde(default)]
    pub by: RateLimitBy,
    /// A stricter quota, by address, for callers without a valid credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<QuotaConfig>,
    /// Another quota for each user, where users are counted; owners with the `service_role` have
    /// the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<QuotaConfig>,
}

/// A number of requests in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// Requests per window, also the burst.
    pub limit: u32,
    /// The window.
    pub window: HumanDuration,
}

/// What a policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimitBy {
    /// The client's address.
    #[default]
    Ip,
    /// The application's key.
    Key,
    /// The user of a verified token.
    User,
}

/// Where requests go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// `http://`, `https://` or `h2c://` URLs; requests are balanced over all their addresses.
    pub urls: Vec<String>,
    /// Time to connect, TLS included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<HumanDuration>,
    /// Most open connections, over all addresses; more requests wait for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// How long an unused connection is kept. Keep it below the upstream's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_timeout: Option<HumanDuration>,
    /// Active health check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
    /// Circuit breaker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerConfig>,
    /// A PEM file of certificate authorities to trust for `https://` instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// An active health check: `GET path` on every address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The path; any status below 500 is healthy.
    pub path: String,
    /// Time between two checks.
    #[serde(default = "HealthConfig::default_interval")]
    pub interval: HumanDuration,
    /// Time for an answer.
    #[serde(default = "HealthConfig::default_timeout")]
    pub timeout: HumanDuration,
}

impl HealthConfig {
    const fn default_interval() -> HumanDuration {
        HumanDuration::seconds(10)
    }

    const fn default_timeout() -> HumanDuration {
        HumanDuration::seconds(2)
    }
}

/// When an address is taken out of rotation, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Consecutive failures to connect that open it. What happens on an open connection does not
    /// count: one bad request must not close a service to everyone.
    pub failures: u32,
    /// How long it stays open before one probe request.
    pub open_for: HumanDuration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: HumanDuration::seconds(5),
        }
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everyone; the service behind it decides.
    Open,
    /// Everyone, but an `apikey` that begins with `sb_` must be one of the project's.
    OpenKnownKey,
    /// An application's key.
    #[default]
    Key,
    /// The project owner's key.
    ServiceRole,
    /// A valid user token (or the owner's).
    User,
    /// User name and password of the dashboard.
    Basic,
    /// Nobody.
    Deny,
}

/// How answers to browsers of other origins are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorsConfig {
    /// The origins of `ALLOWED_ORIGINS` only; the gateway answers preflights.
    #[default]
    Allowed,
    /// The gateway answers preflights as its dialect does, for any origin, without credentials.
    Public,
    /// The service's own business; requests pass untouched.
    Off,
}

/// One route. Exactly one of `slot`, `upstream`, `split` and `respond` says where it leads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name, in logs, metrics and `bunbun routes`.
    pub name: String,
    /// The path it matches: a prefix by whole segments, or, ending in `/`, everything below.
    pub path: String,
    /// Match the path alone, nothing below it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exact: bool,
    /// Hosts it is limited to; `*.example.com` matches one or more labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Methods it is limited to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,

    /// A service slot: `auth rest realtime storage functions analytics meta studio api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// An upstream of `[gateway.upstreams]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Several upstreams by percentage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitConfig>,
    /// What keeps a client on one side of the split: `user`, `key` or `ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<RateLimitBy>,
    /// A fixed answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<RespondConfig>,
    /// An upstream that gets a copy of each request; its answers are dropped. Requests with a
    /// body over 64 KiB or of unknown length are not copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,

    /// What replaces the matched path upstream.
    #[serde(default = "slash", skip_serializing_if = "is_slash")]
    pub rewrite: String,
    /// Send the path upstream as it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_path: bool,
    /// The `Host` that the upstream sees instead of its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Send the client's own `Host` upstream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preserve_host: bool,

    /// Who may use it.
    #[serde(default)]
    pub access: Access,
    /// Roles that the credential must have one of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Scopes that the token must have all of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Addresses that may use it; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_ips: Vec<IpNet>,
    /// Addresses that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_ips: Vec<IpNet>,
    /// Browsers of other origins.
    #[serde(default)]
    pub cors: CorsConfig,
    /// A policy of `[gateway.rate_limits]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<String>,

    /// Time to the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout: Option<HumanDuration>,
    /// Longest silence in a body or tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<HumanDuration>,
    /// How often a request that is safe to repeat is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u8>,
    /// How long `GET` answers without `Authorization`, cookies or `Cache-Control` that forbids it
    /// are kept and shared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ttl: Option<HumanDuration>,
    /// Largest request body in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Whether bodies are forms with a file: then their limit is `FILE_SIZE_LIMIT` and room for the
    /// form.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uploads: bool,
    /// Changes to the request's headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request_headers: HeaderRules,
    /// Changes to the answer's headers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response_headers: HeaderRules,
}

/// One side of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// An upstream of `[gateway.upstreams]`.
    pub upstream: String,
    /// Its share; the shares of a split add up to 100.
    pub percent: u8,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondConfig {
    /// The status.
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Its media type.
    #[serde(default = "RespondConfig::default_content_type")]
    pub content_type: String,
}

impl RespondConfig {
    fn default_content_type() -> String {
        "text/plain; charset=utf-8".to_owned()
    }
}

/// Changes to headers, applied in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderRules {
    /// Headers to take away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Headers to set, in place of any there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers to set where there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn slash() -> String {
    "/".to_owned()
}

fn is_slash(text: &str) -> bool {
    text == "/"
}
