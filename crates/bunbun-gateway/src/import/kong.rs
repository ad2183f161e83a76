//! Kong's declarative file (`kong.yml`, format 1.1, 2.1 or 3.0).
//!
//! The file is read into entities (`document`), plugins are resolved to the route they hold for
//! (`routes`), and what is left is where each route leads: a built-in route of the same effect
//! (`supabase`), a service slot, or an upstream of its own.

mod consumers;
mod document;
mod fields;
mod names;
mod patterns;
mod plugins;
mod precedence;
mod protection;
mod routes;
mod services;
mod supabase;
mod upstreams;
mod yaml;

use std::collections::{BTreeSet, HashMap, HashSet};

use bunbun_core::config::{
    GatewayConfig,
    gateway::{Access, CorsConfig, RouteConfig, SplitConfig},
};

pub use super::{ImportError, Imported, Untranslated};
use document::Document;
use fields::Findings;
use names::Names;
use plugins::CorsRule;
use routes::{Draft, Drafts};
use supabase::{Stack, Verdict};

/// Translates a declarative file.
///
/// # Errors
/// [`ImportError`] when the text is no such file, contradicts itself, or is larger than is
/// sensible.
pub fn import(yaml: &str) -> Result<Imported, ImportError> {
    let mut findings = Findings::default();
    let document = document::read(yaml::parse(yaml)?, &mut findings)?;
    let Drafts {
        drafts,
        rate_limits,
        cors,
    } = routes::assemble(&document, &mut findings)?;
    let stack = Stack::find(&document, &drafts);
    let mut writer = Writer {
        document: &document,
        findings: &mut findings,
        config: GatewayConfig {
            dialect: Stack::dialect(&document, &drafts),
            rate_limits,
            ..GatewayConfig::default()
        },
        names: Names::default(),
        upstream_names: Names::default(),
        destinations: HashMap::new(),
    };
    for name in stack.names() {
        writer.names.reserve(name);
    }
    stack.note_missing(&drafts, writer.findings);
    let judged: Vec<(Draft, Verdict)> = drafts
        .into_iter()
        .map(|draft| {
            let verdict = stack.judge(&document, &draft, writer.findings);
            (draft, verdict)
        })
        .collect();
    let closing = stack.close_built_in_routes(&judged);
    let mut seen = HashSet::new();
    for (draft, verdict) in judged.into_iter().chain(closing) {
        if verdict != Verdict::BuiltIn {
            if seen.insert(draft.label.clone()) {
                stack.note_covered(&draft, writer.findings);
            }
            writer.route(draft, verdict, &stack);
        }
    }
    let config = writer.config;
    note_unused_upstreams(&document, &mut findings);
    let mut environment = stack.environment();
    environment.extend(allowed_origins(&cors, &mut findings));
    Ok(Imported {
        config,
        environment,
        untranslated: findings.finish()?,
    })
}

/// Where the routes of a service lead.
#[derive(Debug, Clone)]
enum Destination {
    Upstream {
        name: String,
        host: Option<String>,
    },
    Split {
        sides: Vec<SplitConfig>,
        host: Option<String>,
    },
    Nowhere,
}

/// Writes routes and upstreams into the result.
struct Writer<'d> {
    document: &'d Document,
    findings: &'d mut Findings,
    config: GatewayConfig,
    names: Names,
    upstream_names: Names,
    destinations: HashMap<usize, Destination>,
}

impl Writer<'_> {
    fn route(&mut self, draft: Draft, verdict: Verdict, stack: &Stack) {
        let name = self.name(&draft, stack);
        let Draft {
            mut route,
            label,
            service,
            translates_keys,
            ..
        } = draft;
        route.name = name;
        match (verdict, service) {
            _ if route.respond.is_some() => {
                // An answer has no upstream whose path or headers could be changed.
                route.keep_path = false;
                "/".clone_into(&mut route.rewrite);
            }
            (Verdict::Slot(slot), _) => route.slot = Some(slot),
            (_, Some(service)) => {
                if translates_keys {
                    let hint = "set the headers that the service needs in `request_headers`";
                    let reason = "keys become tokens on the way to service slots only";
                    self.findings.note(label, reason, hint);
                }
                let destination = self.destination(service);
                lead(&mut route, destination);
            }
            (_, None) => lead(&mut route, Destination::Nowhere),
        }
        self.config.routes.push(route);
    }

    /// The route's name: that of the built-in route whose place it takes, or its own.
    fn name(&mut self, draft: &Draft, stack: &Stack) -> String {
        if let Some(name) = &draft.replaces {
            return name.clone();
        }
        if let Some(built_in) = stack.replaced_by(&draft.route) {
            let taken = self
                .config
                .routes
                .iter()
                .any(|route| route.name == built_in.name);
            if !taken {
                if built_in.slot.as_deref() == Some("api") {
                    let reason = format!("takes the place of BunBun's own {}", built_in.path);
                    let hint = "choose another path if BunBun's own API is needed";
                    self.findings.note(&draft.label, reason, hint);
                }
                return built_in.name.clone();
            }
        }
        let service = draft.service.map(|at| &self.document.services[at]);
        let wanted = draft
            .name
            .as_ref()
            .or_else(|| service.and_then(|service| service.name.as_ref()));
        self.names.unique(wanted.unwrap_or(&draft.label))
    }

    fn destination(&mut self, at: usize) -> Destination {
        if let Some(destination) = self.destinations.get(&at) {
            return destination.clone();
        }
        let destination = self.make_destination(at);
        self.destinations.insert(at, destination.clone());
        destination
    }

    fn make_destination(&mut self, at: usize) -> Destination {
        let service = &self.document.services[at];
        let Some(endpoint) = &service.endpoint else {
            return Destination::Nowhere;
        };
        let wanted = service.name.as_ref().unwrap_or(&service.label);
        let upstream = self
            .document
            .upstreams
            .iter()
            .find(|up| up.name == endpoint.host);
        let Some(upstream) = upstream else {
            let urls = endpoint.origin().into_iter().collect();
            let name = self.upstream_names.unique(wanted);
            self.config
                .upstreams
                .insert(name.clone(), services::plain(urls, service));
            return Destination::Upstream { name, host: None };
        };
        let configs = upstream.configs(service, endpoint.scheme, self.findings);
        let host = upstream.host_header.clone();
        let mut names = Vec::new();
        let mut shares = Vec::new();
        for (config, share) in configs {
            let name = self.upstream_names.unique(wanted);
            self.config.upstreams.insert(name.clone(), config);
            names.push(name);
            shares.push(share);
        }
        match (names.pop(), names.is_empty()) {
            (None, _) => {
                let hint = "name an `upstream` in these routes";
                self.findings
                    .note(&service.label, "its upstream has no target", hint);
                Destination::Nowhere
            }
            (Some(name), true) => Destination::Upstream { name, host },
            (Some(last), false) => {
                names.push(last);
                let sides = upstreams::split(names, &shares);
                Destination::Split { sides, host }
            }
        }
    }
}

fn lead(route: &mut RouteConfig, destination: Destination) {
    let own_host = match destination {
        Destination::Upstream { name, host } => {
            route.upstream = Some(name);
            host
        }
        Destination::Split { sides, host } => {
            route.split = sides;
            host
        }
        Destination::Nowhere => {
            route.access = Access::Deny;
            route.respond = Some(protection::refusal());
            route.keep_path = false;
            "/".clone_into(&mut route.rewrite);
            None
        }
    };
    if !route.preserve_host && route.host.is_none() {
        route.host = own_host;
    }
}

fn note_unused_upstreams(document: &Document, findings: &mut Findings) {
    let used: HashSet<&str> = document
        .services
        .iter()
        .filter_map(|service| Some(service.endpoint.as_ref()?.host.as_str()))
        .collect();
    for upstream in &document.upstreams {
        if !used.contains(upstream.name.as_str()) {
            findings.note(
                &upstream.label,
                "no service uses it: left out",
                "nothing to do",
            );
        }
    }
}

/// The origins for `ALLOWED_ORIGINS`. It holds for all routes, so only those that every `cors`
/// plugin lists may stand in it.
fn allowed_origins(
    rules: &[(&str, &CorsRule)],
    findings: &mut Findings,
) -> Option<(String, String)> {
    let listed: Vec<_> = rules
        .iter()
        .filter(|(_, rule)| !rule.origins.is_empty())
        .collect();
    let (_, first) = listed.first()?;
    let common: BTreeSet<&String> = first
        .origins
        .iter()
        .filter(|origin| {
            listed
                .iter()
                .all(|(_, rule)| rule.origins.contains(*origin))
        })
        .collect();
    for (label, rule) in &listed {
        let left_out = rule
            .origins
            .iter()
            .filter(|origin| !common.contains(origin))
            .count();
        if left_out > 0 {
            let reason = format!("{left_out} of its origins are not listed everywhere: left out");
            let hint = "ALLOWED_ORIGINS holds for all routes; add them if that is right";
            findings.note(format!("{label}.config.origins"), reason, hint);
        }
    }
    let public = rules
        .iter()
        .filter(|(_, rule)| rule.mode == CorsConfig::Public);
    for (label, _) in public {
        let hint = "list every origin that matters";
        findings.note(
            *label,
            "ALLOWED_ORIGINS limits routes for all origins, too",
            hint,
        );
    }
    let text = common
        .into_iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",");
    (!text.is_empty()).then(|| ("ALLOWED_ORIGINS".to_owned(), text))
}
