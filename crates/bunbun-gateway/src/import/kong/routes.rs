//! Routes with everything that holds for them, before it is known where they lead.

use std::collections::{BTreeMap, HashMap, HashSet};

use bunbun_core::config::gateway::{Access, CorsConfig, RateLimitConfig, RouteConfig};

use super::{
    super::ImportError,
    consumers::{self, Decision, Scheme},
    document::{Document, Route, Scope},
    fields::{Findings, Outcome, shown},
    names::Names,
    patterns::{self, Pattern},
    plugins::{CorsRule, Effective, Kind, Name, Plugin},
    precedence,
    protection::{self, Gap},
    services::Service,
};

/// Most routes of the result: each path of a route becomes one.
pub(super) const MAX_ROUTES: usize = 10_000;
/// Most comparisons of routes with one another.
pub(super) const MAX_COMPARISONS: usize = 10_000_000;
/// Most bytes of text in the result's routes, about: what is set at the top is copied to each.
const MAX_RESULT_BYTES: usize = 8 * 1024 * 1024;

/// A route that is almost done: where it leads is decided last.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// The route, without name and destination.
    pub(super) route: RouteConfig,
    /// Where it stands in the file.
    pub(super) label: String,
    /// Its name in the file.
    pub(super) name: Option<String>,
    /// Its service.
    pub(super) service: Option<usize>,
    /// What the service sees in place of the route's path.
    pub(super) upstream_path: String,
    /// Whether it turns application keys into tokens.
    pub(super) translates_keys: bool,
    /// The built-in route whose place it takes.
    pub(super) replaces: Option<String>,
}

impl Draft {
    /// The same route at a path below its own.
    pub(super) fn at(&self, path: &str) -> Self {
        let rest = path.strip_prefix(&self.route.path).unwrap_or_default();
        let base = self.upstream_path.as_str();
        let base = if rest.starts_with('/') {
            base.trim_end_matches('/')
        } else {
            base
        };
        let mut draft = self.clone();
        draft.lead_to(path, format!("{base}{rest}"));
        draft
    }

    /// What it matches, for comparison: path, hosts and methods.
    pub(super) fn matches(&self) -> (String, Vec<String>, Vec<String>) {
        let (mut hosts, mut methods) = (self.route.hosts.clone(), self.route.methods.clone());
        hosts.sort_unstable();
        methods.sort_unstable();
        (self.route.path.clone(), hosts, methods)
    }

    fn lead_to(&mut self, path: &str, upstream_path: String) {
        path.clone_into(&mut self.route.path);
        self.route.keep_path = upstream_path == path;
        self.route.rewrite = if self.route.keep_path {
            "/".to_owned()
        } else {
            upstream_path.clone()
        };
        self.upstream_path = upstream_path;
    }
}

/// The routes and what they share.
#[derive(Debug, Default)]
pub(super) struct Drafts<'d> {
    /// The routes, in the order of the file.
    pub(super) drafts: Vec<Draft>,
    /// Policies by name.
    pub(super) rate_limits: BTreeMap<String, RateLimitConfig>,
    /// The `cors` plugins that hold somewhere, with their labels.
    pub(super) cors: Vec<(&'d str, &'d CorsRule)>,
}

/// Puts the routes together.
pub(super) fn assemble<'d>(document: &'d Document, findings: &mut Findings) -> Outcome<Drafts<'d>> {
    let levels = Levels::new(document);
    let mut assembler = Assembler {
        document,
        findings,
        result: Drafts::default(),
        gaps: Vec::new(),
        seen: HashSet::new(),
        policies: HashMap::new(),
        names: Names::default(),
        bytes: 0,
    };
    for (at, route) in document.routes.iter().enumerate() {
        let service = route.service.map(|service| &document.services[service]);
        if service.is_none_or(|service| service.enabled) {
            assembler.route(route, service, &levels.of(at, route))?;
        }
    }
    let Assembler {
        mut result, gaps, ..
    } = assembler;
    protection::resolve_duplicates(&mut result.drafts, findings);
    precedence::repeat_limited_routes(&mut result.drafts)?;
    if gaps.len() * result.drafts.len() > MAX_COMPARISONS {
        return Err(ImportError::TooMany {
            what: "routes that match in ways BunBun does not",
            limit: MAX_COMPARISONS / result.drafts.len().max(1),
        });
    }
    protection::close_gaps(&mut result.drafts, &gaps, findings);
    Ok(result)
}

/// The plugins of each level.
struct Levels<'d> {
    global: Effective<'d>,
    services: Vec<Effective<'d>>,
    routes: Vec<Effective<'d>>,
}

impl<'d> Levels<'d> {
    fn new(document: &'d Document) -> Self {
        let mut levels = Self {
            global: Effective::default(),
            services: vec![Effective::default(); document.services.len()],
            routes: vec![Effective::default(); document.routes.len()],
        };
        for (scope, plugin) in &document.plugins {
            match scope {
                Scope::Global => levels.global.add(plugin),
                Scope::Service(at) => levels.services[*at].add(plugin),
                Scope::Route(at) => levels.routes[*at].add(plugin),
                // The consumers have taken note of these.
                Scope::Consumer(_) => {}
            }
        }
        levels
    }

    fn of(&self, at: usize, route: &Route) -> Effective<'d> {
        let mut effective = self.global;
        if let Some(service) = route.service {
            effective.overlay(&self.services[service]);
        }
        effective.overlay(&self.routes[at]);
        effective
    }
}

struct Assembler<'d, 'f> {
    document: &'d Document,
    findings: &'f mut Findings,
    result: Drafts<'d>,
    gaps: Vec<Gap>,
    /// What was listed once for many routes.
    seen: HashSet<String>,
    /// Names of policies by the label of their plugin.
    policies: HashMap<&'d str, String>,
    names: Names,
    bytes: usize,
}

impl<'d> Assembler<'d, '_> {
    fn route(
        &mut self,
        route: &Route,
        service: Option<&Service>,
        effective: &Effective<'d>,
    ) -> Outcome<()> {
        let mut template = self.template(route, service, effective)?;
        if let Some(condition) = route.condition {
            let reason = format!("BunBun does not match by {condition}: the route is left out");
            let hint = "match by path, host or method";
            self.findings.note(&route.label, reason, hint);
            self.gaps_for_all_paths(route, &template.route);
            return Ok(());
        }
        for text in &route.hosts {
            match patterns::host(text) {
                Some(host) => template.route.hosts.push(host),
                None => {
                    let reason = format!("'{}' cannot be matched", shown(text));
                    let hint = "name hosts without port; `*.` may stand at the beginning";
                    self.findings
                        .note(format!("{}.hosts", route.label), reason, hint);
                    self.gaps_for_all_paths(route, &template.route);
                }
            }
        }
        for text in &route.methods {
            template.route.methods.extend(patterns::method(text));
        }
        let lost_hosts = template.route.hosts.is_empty() && !route.hosts.is_empty();
        let lost_methods = template.route.methods.is_empty() && !route.methods.is_empty();
        if lost_hosts || lost_methods {
            return Ok(());
        }
        let everything = ["/".to_owned()];
        let paths = if route.paths.is_empty() {
            &everything[..]
        } else {
            &route.paths
        };
        for path in paths {
            match patterns::classify(path, self.document.generation) {
                Pattern::Prefix(path) => self.draft(&template, route, service, path)?,
                Pattern::Within(prefix) => {
                    let reason = format!("'{}' is no plain path: left out", shown(path));
                    let hint = "write a route with a prefix or an `exact` path";
                    self.findings
                        .note(format!("{}.paths", route.label), reason, hint);
                    self.gap(route, prefix, &template.route);
                }
            }
        }
        Ok(())
    }

    /// What all paths of a route have in common.
    fn template(
        &mut self,
        route: &Route,
        service: Option<&Service>,
        effective: &Effective<'d>,
    ) -> Outcome<Draft> {
        let mut draft = Draft {
            route: RouteConfig {
                rewrite: "/".to_owned(),
                preserve_host: route.preserve_host,
                first_byte_timeout: service.and_then(|service| service.read_timeout),
                idle_timeout: service.and_then(|service| service.read_timeout),
                retries: service.and_then(|service| service.retries),
                access: self.access(route, service, effective),
                cors: CorsConfig::Off,
                ..RouteConfig::default()
            },
            label: route.label.clone(),
            name: route.name.clone(),
            service: route.service,
            upstream_path: String::new(),
            translates_keys: false,
            replaces: None,
        };
        for name in [
            Name::Cors,
            Name::KeyAuth,
            Name::BasicAuth,
            Name::RequestTransformer,
            Name::RequestTermination,
            Name::RateLimiting,
            Name::IpRestriction,
        ] {
            if let Some(plugin) = effective.get(name) {
                self.apply(plugin, &mut draft);
            }
        }
        if route.service.is_none() && draft.route.respond.is_none() {
            let hint = "name a service or an answer";
            self.findings
                .note(&route.label, "leads nowhere, so it is refused", hint);
            draft.route.access = Access::Deny;
        }
        Ok(draft)
    }

    fn apply(&mut self, plugin: &'d Plugin, draft: &mut Draft) {
        let route = &mut draft.route;
        match &plugin.kind {
            Kind::Cors(rule) => {
                route.cors = rule.mode;
                if self.seen.insert(plugin.label.clone()) {
                    self.result.cors.push((&plugin.label, rule));
                }
            }
            Kind::KeyAuth { hide: true } => route.request_headers.remove.push("apikey".to_owned()),
            Kind::BasicAuth { hide: true } => {
                route
                    .request_headers
                    .remove
                    .push("authorization".to_owned());
            }
            Kind::Transform(transformation) => {
                let rules = &mut route.request_headers;
                for name in &transformation.rules.remove {
                    if !rules.remove.contains(name) {
                        rules.remove.push(name.clone());
                    }
                }
                rules.set.clone_from(&transformation.rules.set);
                rules.add.clone_from(&transformation.rules.add);
                route.host.clone_from(&transformation.host);
                route.preserve_host &= route.host.is_none();
                draft.translates_keys = transformation.translates_keys;
            }
            Kind::Respond(respond) => route.respond = Some(respond.clone()),
            Kind::RateLimit(config) => route.rate_limit = Some(self.policy(plugin, config)),
            Kind::Addresses(rule) => {
                route.allow_ips.clone_from(&rule.allow);
                route.deny_ips.clone_from(&rule.deny);
            }
            _ => {}
        }
    }

    fn policy(&mut self, plugin: &'d Plugin, config: &RateLimitConfig) -> String {
        if let Some(name) = self.policies.get(plugin.label.as_str()) {
            return name.clone();
        }
        let owner = plugin.label.trim_end_matches("plugins[rate-limiting]");
        let owner = if owner.is_empty() { "global" } else { owner };
        let name = self.names.unique(&format!("kong-{owner}"));
        self.result.rate_limits.insert(name.clone(), config.clone());
        self.policies.insert(&plugin.label, name.clone());
        name
    }

    fn access(
        &mut self,
        route: &Route,
        service: Option<&Service>,
        effective: &Effective<'d>,
    ) -> Access {
        let (key, basic) = (effective.get(Name::KeyAuth), effective.get(Name::BasicAuth));
        let acl = effective.get(Name::Acl);
        let rule = acl.and_then(|plugin| match &plugin.kind {
            Kind::Acl(rule) => Some(rule),
            _ => None,
        });
        let consumers = &self.document.consumers;
        let decision = match (key, basic, acl) {
            (Some(_), Some(_), _) => Decision::denied(
                "key and password are both asked for: refused to everyone",
                "set `access` to the one that is meant",
            ),
            (Some(_), None, _) => consumers::decide(consumers, Scheme::Key, rule),
            (None, Some(_), _) => consumers::decide(consumers, Scheme::Basic, rule),
            (None, None, Some(_)) => Decision::denied(
                "groups without authentication: nobody passes, as in Kong",
                "set `access`",
            ),
            (None, None, None) => Decision::plain(Access::Open),
        };
        if let Some((reason, hint)) = decision.remark {
            let parts = [acl, key, basic].into_iter().flatten();
            let label = parts
                .map(|plugin| plugin.label.as_str())
                .next()
                .unwrap_or(&route.label);
            self.note_once(label, reason, hint);
        }
        let clears_blank_headers = route
            .paths
            .iter()
            .all(|path| ["/storage/v1/", "/functions/v1/"].contains(&path.as_str()))
            && !route.paths.is_empty();
        if let Some(guard) = effective.guard(clears_blank_headers) {
            let reason = "may refuse requests, and how cannot be expressed: \
                          the routes under it are refused to everyone";
            self.note_once(
                &guard.label,
                reason,
                "set the `access` that these routes need",
            );
            return Access::Deny;
        }
        if route.guarded || service.is_some_and(|service| service.guarded) {
            return Access::Deny;
        }
        decision.access
    }

    fn note_once(&mut self, label: &str, reason: &str, hint: &str) {
        if self.seen.insert(format!("{label} {reason}")) {
            self.findings.note(label, reason, hint);
        }
    }

    fn draft(
        &mut self,
        template: &Draft,
        route: &Route,
        service: Option<&Service>,
        path: &str,
    ) -> Outcome<()> {
        let base = service
            .and_then(|service| service.endpoint.as_ref())
            .map_or("", |endpoint| endpoint.path.as_str());
        let upstream_path = upstream_path(base, path, route.strip_path);
        let mut draft = template.clone();
        draft.lead_to(path, upstream_path);
        self.bytes += weight(&draft.route) + template.label.len();
        if self.result.drafts.len() >= MAX_ROUTES || self.bytes > MAX_RESULT_BYTES {
            return Err(ImportError::TooMany {
                what: "routes, or too much text in them",
                limit: MAX_ROUTES,
            });
        }
        self.result.drafts.push(draft);
        Ok(())
    }

    fn gaps_for_all_paths(&mut self, route: &Route, protection: &RouteConfig) {
        for path in &route.paths {
            let (Pattern::Prefix(prefix) | Pattern::Within(prefix)) =
                patterns::classify(path, self.document.generation);
            self.gap(route, prefix, protection);
        }
        if route.paths.is_empty() {
            self.gap(route, "/", protection);
        }
    }

    fn gap(&mut self, route: &Route, prefix: &str, protection: &RouteConfig) {
        self.gaps.extend(Gap::new(&route.label, prefix, protection));
    }
}

/// What the service sees: its own path, then the request's, with or without what matched.
fn upstream_path(base: &str, path: &str, strip_path: bool) -> String {
    if !strip_path {
        return format!("{base}{path}");
    }
    // What replaces a path that ends in a slash must end in one as well.
    match (path.ends_with('/'), base) {
        (true, base) => format!("{base}/"),
        (false, "") => "/".to_owned(),
        (false, base) => base.to_owned(),
    }
}

/// About how many bytes of text a route takes.
fn weight(route: &RouteConfig) -> usize {
    let texts = |list: &[String]| list.iter().map(|text| text.len() + 8).sum::<usize>();
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| name.len() + value.len() + 8)
            .sum::<usize>()
    };
    let headers = &route.request_headers;
    200 + route.path.len()
        + route.rewrite.len()
        + texts(&route.hosts)
        + texts(&route.methods)
        + texts(&headers.remove)
        + pairs(&headers.set)
        + pairs(&headers.add)
        + 40 * (route.allow_ips.len() + route.deny_ips.len())
        + route
            .respond
            .as_ref()
            .map_or(0, |respond| respond.body.len())
}
