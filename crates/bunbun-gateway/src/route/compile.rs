//! Compiles configuration into a route table, or says everything that is wrong with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bunbun_core::config::{
    Dialect, Fault, Faults,
    gateway::{Access, GatewayConfig, RouteConfig},
};
use http::{HeaderValue, Method, StatusCode};

use super::{HostPattern, HostRule, KeyRules, Route, RouteTable, Rules, Target};
use crate::{
    metrics::RouteMetrics,
    rate_limit::{Limits, Policy},
    slot::Slots,
    upstream::{Registry, Settings, Upstream},
};

const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Room for what stands around the file in the form of an upload.
const UPLOAD_FORM_BYTES: u64 = 64 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What routes refer to.
#[derive(Clone)]
pub struct Environment {
    /// The service slots.
    pub slots: Slots,
    /// Upstreams that live on over reloads.
    pub registry: Arc<Registry>,
    /// Rate-limit counters that live on over reloads.
    pub limits: Arc<Limits>,
    /// How many workers keep connections.
    pub shards: usize,
    /// The `Host` that realtime reads its tenant from.
    pub realtime_host: String,
    /// Largest body of a request to BunBun's own endpoints.
    pub max_api_body_bytes: u64,
    /// Largest file of an upload.
    pub file_size_limit: u64,
}

/// Compiles the built-in profile with the user's configuration.
///
/// # Errors
/// Every fault, each at its route.
pub fn compile(user: &GatewayConfig, environment: &Environment) -> Result<RouteTable, Faults> {
    let config = super::profile::with(user);
    let mut compiler = Compiler {
        user,
        config: &config,
        environment,
        faults: Vec::new(),
        upstreams: HashMap::new(),
    };
    compiler.compile_upstreams();
    let mut routes: Vec<Arc<Route>> = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        if config.routes[..index]
            .iter()
            .any(|other| other.name == route.name)
        {
            compiler.fault(
                route,
                "another route has this name".to_owned(),
                "give each route a name of its own",
            );
        }
        if let Some(route) = compiler.compile_route(route) {
            routes.push(Arc::new(route));
        }
    }
    if compiler.faults.is_empty() {
        Ok(RouteTable::new(routes))
    } else {
        Err(Faults(compiler.faults))
    }
}

struct Compiler<'c> {
    user: &'c GatewayConfig,
    config: &'c GatewayConfig,
    environment: &'c Environment,
    faults: Vec<Fault>,
    upstreams: HashMap<String, Arc<Upstream>>,
}

impl Compiler<'_> {
    /// `hint` says what to write. The index is that of the user's list, from 0.
    fn fault(&mut self, route: &RouteConfig, problem: String, hint: impl Into<String>) {
        let index = self
            .user
            .routes
            .iter()
            .position(|other| other.name == route.name);
        let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
        self.faults.push(Fault {
            at: format!("gateway.routes{index} '{}'", route.name),
            problem,
            hint: hint.into(),
        });
    }

    fn compile_upstreams(&mut self) {
        for (name, config) in &self.config.upstreams {
            let made = Settings::of_config(name, config).and_then(|settings| {
                self.environment
                    .registry
                    .get(settings, self.environment.shards)
            });
            match made {
                Ok(upstream) => {
                    self.upstreams.insert(name.clone(), upstream);
                }
                Err(error) => self.faults.push(Fault {
                    at: format!("gateway.upstreams.{name}"),
                    problem: error.problem,
                    hint: "urls = [\"http://10.0.0.5:8080\"]; ca_file names a readable PEM file"
                        .to_owned(),
                }),
            }
        }
    }

    fn compile_route(&mut self, config: &RouteConfig) -> Option<Route> {
        let before = self.faults.len();
        self.check(config);
        let target = self.target(config);
        let mirror = config
            .mirror
            .as_ref()
            .and_then(|name| self.upstream(config, name));
        let methods = config
            .methods
            .iter()
            .filter_map(
                |text| match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
                    Ok(method) => Some(method),
                    Err(_) => {
                        self.fault(
                            config,
                            format!("'{text}' is no method"),
                            "write for example methods = [\"GET\", \"POST\"]",
                        );
                        None
                    }
                },
            )
            .collect();
        let host = self.host(config);
        let mut rules = |rules| match Rules::parse(rules) {
            Ok(rules) => rules,
            Err(problem) => {
                self.fault(
                    config,
                    problem,
                    "write for example { set = { X-Site = \"blog\" }, remove = [\"X-Debug\"] }",
                );
                Rules::default()
            }
        };
        let request_rules = rules(&config.request_headers);
        let response_rules = rules(&config.response_headers);
        let policy = self.policy(config);
        let own = config.slot.as_deref() == Some("api");
        let is_storage = config.slot.as_deref() == Some("storage");
        let default_limit = if config.uploads {
            let file = self.environment.file_size_limit;
            Some(file.saturating_add(UPLOAD_FORM_BYTES))
        } else {
            own.then_some(self.environment.max_api_body_bytes)
        };
        if self.faults.len() > before {
            return None;
        }
        let through = self.has_public_paths(config);
        Some(Route {
            name: config.name.as_str().into(),
            path: config.path.as_str().into(),
            exact: config.exact,
            hosts: config
                .hosts
                .iter()
                .map(|text| HostPattern::parse(text))
                .collect(),
            methods,
            target: target?,
            sticky: config.sticky,
            mirror,
            rewrite: (!config.keep_path && !through).then(|| config.rewrite.as_str().into()),
            host,
            forwarded_prefix: is_storage
                .then(|| HeaderValue::try_from(config.path.trim_end_matches('/')).ok())
                .flatten(),
            access: config.access,
            roles: config.roles.clone(),
            scopes: config.scopes.clone(),
            allow_ips: config.allow_ips.clone(),
            deny_ips: config.deny_ips.clone(),
            cors: config.cors,
            policy,
            first_byte_timeout: config
                .first_byte_timeout
                .map_or(FIRST_BYTE_TIMEOUT, |d| d.0),
            idle_timeout: config.idle_timeout.map_or(IDLE_TIMEOUT, |d| d.0),
            retries: config.retries.unwrap_or(0).min(5),
            cache_ttl: config.cache_ttl.map(|d| d.0),
            max_body_bytes: config.max_body_bytes.or(default_limit),
            request_rules,
            response_rules,
            keys: self.key_rules(config),
            own,
            metrics: RouteMetrics::new(&config.name),
        })
    }

    fn check(&mut self, config: &RouteConfig) {
        if config.name.is_empty() || config.name.len() > 100 {
            self.fault(
                config,
                "a route needs a name of at most 100 characters".to_owned(),
                "write for example name = \"blog\"",
            );
        }
        let normal = crate::path::normalise(&config.path);
        if normal.as_deref() != Ok(config.path.as_str()) {
            self.fault(
                config,
                format!(
                    "path '{}' is not a normal path beginning with '/'",
                    config.path
                ),
                "write for example path = \"/blog\", without . and .. and needless escapes",
            );
        }
        if !config.rewrite.starts_with('/') {
            self.fault(
                config,
                format!("rewrite '{}' does not begin with '/'", config.rewrite),
                "write for example rewrite = \"/\"",
            );
        }
        if config.preserve_host && config.host.is_some() {
            self.fault(
                config,
                "host and preserve_host exclude one another".to_owned(),
                "keep one of them",
            );
        }
    }

    fn target(&mut self, config: &RouteConfig) -> Option<Target> {
        let given = [
            config.slot.is_some(),
            config.upstream.is_some(),
            !config.split.is_empty(),
            config.respond.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            self.fault(
                config,
                "needs exactly one of slot, upstream, split and respond".to_owned(),
                "write for example upstream = \"blog\" and nothing else of these",
            );
            return None;
        }
        if let Some(name) = &config.slot {
            let Some(slot) = self.environment.slots.find(name) else {
                self.fault(
                    config,
                    format!(
                        "no slot '{name}': there are {}",
                        crate::slot::NAMES.join(" ")
                    ),
                    "write one of these as slot; your own services are upstreams",
                );
                return None;
            };
            return Some(Target::Slot(Arc::clone(slot)));
        }
        if let Some(name) = &config.upstream {
            return self.upstream(config, name).map(Target::Upstream);
        }
        if let Some(respond) = &config.respond {
            let status = StatusCode::from_u16(respond.status)
                .ok()
                .filter(|s| !s.is_informational());
            let content_type = HeaderValue::try_from(&respond.content_type).ok();
            let (Some(status), Some(content_type)) = (status, content_type) else {
                self.fault(
                    config,
                    "respond has an impossible status or content_type".to_owned(),
                    "write for example respond = { status = 200, body = \"hello\" }",
                );
                return None;
            };
            let body = respond.body.clone().into();
            return Some(Target::Respond {
                status,
                body,
                content_type,
            });
        }
        let mut end = 0_u16;
        let mut sides = Vec::new();
        for side in &config.split {
            end += u16::from(side.percent);
            let upstream = self.upstream(config, &side.upstream)?;
            sides.push((u8::try_from(end).unwrap_or(u8::MAX), upstream));
        }
        if end != 100 {
            self.fault(
                config,
                format!("the shares of the split add up to {end}, not 100"),
                "change percent of its sides until they do",
            );
            return None;
        }
        Some(Target::Split(sides))
    }

    fn upstream(&mut self, config: &RouteConfig, name: &str) -> Option<Arc<Upstream>> {
        let found = self.upstreams.get(name).map(Arc::clone);
        if found.is_none() && !self.config.upstreams.contains_key(name) {
            self.fault(
                config,
                format!("no upstream '{name}' in [gateway.upstreams]"), format!("write [gateway.upstreams.{name}] with urls = [\"http://10.0.0.5:8080\"], or name one that is there"));
        }
        found
    }

    fn policy(&mut self, config: &RouteConfig) -> Option<Arc<Policy>> {
        let name = config.rate_limit.as_ref()?;
        let Some(limit) = self.config.rate_limits.get(name) else {
            self.fault(
                config,
                format!("no policy '{name}' in [gateway.rate_limits]"), format!("write [gateway.rate_limits.{name}] with limit = 600 and window = \"1m\", or name one that is there"));
            return None;
        };
        match self.environment.limits.policy(name, limit) {
            Ok(policy) => Some(policy),
            Err(problem) => {
                self.fault(
                    config,
                    format!("policy '{name}': {problem}"),
                    "write for example limit = 600 and window = \"1m\"",
                );
                None
            }
        }
    }

    fn host(&mut self, config: &RouteConfig) -> HostRule {
        let realtime = (config.slot.as_deref() == Some("realtime")
            && !self.has_public_paths(config))
        .then_some(&self.environment.realtime_host);
        match (&config.host, realtime) {
            (Some(host), _) | (None, Some(host)) => {
                if let Ok(value) = HeaderValue::try_from(host) {
                    return HostRule::Fixed(value);
                }
                self.fault(
                    config,
                    format!("host '{host}' is no host"),
                    "write for example host = \"blog.internal\"",
                );
                HostRule::Upstream
            }
            (None, None) if config.preserve_host => HostRule::Preserve,
            (None, None) => HostRule::Upstream,
        }
    }

    fn has_public_paths(&self, config: &RouteConfig) -> bool {
        let slot = config
            .slot
            .as_ref()
            .and_then(|name| self.environment.slots.find(name));
        slot.is_some_and(|slot| slot.public_paths)
    }

    fn key_rules(&self, config: &RouteConfig) -> KeyRules {
        let slot = config.slot.as_deref().unwrap_or_default();
        let dialect = self.config.dialect;
        let service = matches!(
            slot,
            "auth" | "rest" | "realtime" | "storage" | "functions" | "analytics" | "meta"
        );
        if !service {
            return KeyRules::default();
        }
        let keyed = matches!(config.access, Access::Key | Access::ServiceRole);
        let translates =
            dialect != Dialect::Kong2 && (keyed || matches!(slot, "storage" | "functions"));
        KeyRules {
            authorization: translates,
            bearer: dialect == Dialect::Envoy,
            x_api_key: slot == "realtime" && dialect != Dialect::Kong2,
            sb_api_key: slot == "functions" && dialect != Dialect::Kong2,
            hide: slot == "rest" && dialect == Dialect::Kong2,
            consumer: keyed && dialect != Dialect::Envoy,
        }
    }
}
