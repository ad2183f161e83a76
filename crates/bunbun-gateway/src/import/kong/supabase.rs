//! Recognises the routes of a Supabase-style stack: where one does what BunBun's built-in route
//! does, it becomes the URL of a service slot and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use bunbun_core::config::{
    Dialect, HumanDuration,
    gateway::{Access, CorsConfig, RouteConfig},
    settings,
};

use super::{
    document::{Document, Generation},
    fields::Findings,
    patterns,
    protection::{access_is_at_least, is_at_least},
    routes::Draft,
};
use crate::route::profile;

/// The host under which the stack's own configuration names realtime.
const REALTIME_HOST: &str = "realtime-dev.supabase-realtime";

/// Kong's default for each of a service's timeouts.
const KONG_TIMEOUT: HumanDuration = HumanDuration::seconds(60);
/// Kong's default for a service's retries.
const KONG_RETRIES: u8 = 5;

/// The built-in routes and which slots the file's services fill.
#[derive(Debug)]
pub(super) struct Stack {
    routes: Vec<RouteConfig>,
    /// The URL of each slot; empty when the file is no such stack's.
    origins: BTreeMap<String, String>,
}

/// What becomes of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The built-in one does the same: nothing is needed.
    BuiltIn,
    /// It goes to a slot, but differs.
    Slot(String),
    /// It is none of the stack's.
    Foreign,
}

impl Stack {
    /// Looks through the routes for a stack's.
    pub(super) fn find(document: &Document, drafts: &[Draft]) -> Self {
        let mut stack = Self {
            routes: profile::builtin().routes,
            origins: BTreeMap::new(),
        };
        let mut origins = BTreeMap::new();
        // The route named like its slot has the last word on where the slot lies.
        for main in [true, false] {
            for draft in drafts {
                let built_in = stack
                    .routes
                    .iter()
                    .find(|route| route.path == draft.route.path);
                if let Some((route, origin)) = built_in.zip(origin(document, draft))
                    && same_target(route, draft)
                    && let Some(slot) = route.slot.as_deref().filter(|slot| *slot != "api")
                    && (route.name == slot) == main
                {
                    origins.entry(slot.to_owned()).or_insert(origin);
                }
            }
        }
        // One path in common may be chance: any application may have a page at `/`.
        if origins.keys().filter(|slot| *slot != "studio").count() >= 2 {
            stack.origins = origins;
        }
        stack
    }

    /// Names of built-in routes: one of the result with such a name replaces it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// The built-in route with exactly the same matches.
    pub(super) fn replaced_by(&self, route: &RouteConfig) -> Option<&RouteConfig> {
        let is_general = route.hosts.is_empty() && route.methods.is_empty();
        let same = |built_in: &&RouteConfig| built_in.path == route.path && !built_in.exact;
        self.routes.iter().filter(|_| is_general).find(same)
    }

    /// Whether the file is such a stack's.
    pub(super) fn is_there(&self) -> bool {
        !self.origins.is_empty()
    }

    /// What becomes of a route.
    pub(super) fn judge(
        &self,
        document: &Document,
        draft: &Draft,
        findings: &mut Findings,
    ) -> Verdict {
        let Some(origin) = origin(document, draft) else {
            return Verdict::Foreign;
        };
        let covering = self
            .routes
            .iter()
            .filter(|route| !route.exact || route.path == draft.route.path)
            .filter(|route| patterns::covers(&route.path, &draft.route.path))
            .max_by_key(|route| (route.path.len(), !route.exact));
        if let Some(built_in) = covering
            && let Some(slot) = &built_in.slot
            && self.origins.get(slot) == Some(&origin)
            && same_target(built_in, draft)
            && same_rules(built_in, &draft.route)
        {
            if is_stricter(built_in, draft.route.access) && slot == "analytics" {
                let hint = "send the service_role key, or add a route with `access` = \"open\"";
                findings.note(&draft.label, "the built-in route asks for a key", hint);
            }
            return Verdict::BuiltIn;
        }
        self.origins
            .iter()
            .find(|(_, url)| **url == origin)
            .map_or(Verdict::Foreign, |(slot, _)| Verdict::Slot(slot.clone()))
    }

    /// The variables that fill the slots.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for setting in settings::SETTINGS {
            let slot = setting.path.strip_prefix("services.");
            if let Some(origin) = slot.and_then(|slot| self.origins.get(slot)) {
                variables.push((setting.env.to_owned(), origin.clone()));
            }
        }
        if let Some(host) = self.origins.get("realtime").and_then(|url| host_of(url))
            && host != REALTIME_HOST
            && host.contains('.')
        {
            // Realtime reads its tenant from the first label of the host.
            variables.push(("REALTIME_TENANT_HOST".to_owned(), host.to_owned()));
        }
        variables
    }

    /// Lists the built-in routes that the file does without.
    pub(super) fn note_missing(&self, drafts: &[Draft], findings: &mut Findings) {
        for built_in in &self.routes {
            let is_main = ["auth", "rest", "realtime", "storage", "functions", "meta"]
                .contains(&built_in.name.as_str());
            let given = drafts.iter().any(|draft| draft.route.path == built_in.path);
            if self.is_there() && is_main && !given {
                findings.note(
                    "services",
                    format!(
                        "the file has no route for {}, BunBun has one",
                        built_in.path
                    ),
                    format!(
                        "to keep it closed, add a route `{}` with `access` = \"deny\"",
                        built_in.name
                    ),
                );
            }
        }
    }

    /// Routes that take the place of built-in ones which the file does not name, and which would
    /// let requests through that the file refuses: `/auth/v1/verify` is open in BunBun, but not
    /// when the file closes all of `/auth/v1/`.
    pub(super) fn close_built_in_routes(
        &self,
        judged: &[(Draft, Verdict)],
    ) -> Vec<(Draft, Verdict)> {
        let general = |(draft, _): &&(Draft, Verdict)| {
            draft.route.hosts.is_empty() && draft.route.methods.is_empty()
        };
        let mut closing = Vec::new();
        let of_stack = |route: &&RouteConfig| route.slot.as_deref() != Some("api");
        for built_in in self
            .routes
            .iter()
            .filter(|_| self.is_there())
            .filter(of_stack)
        {
            let nearest = judged
                .iter()
                .filter(general)
                .filter(|(draft, _)| patterns::covers(&draft.route.path, &built_in.path))
                .max_by_key(|(draft, _)| draft.route.path.len());
            let Some((draft, verdict)) = nearest else {
                continue;
            };
            let is_named = draft.route.path == built_in.path && !built_in.exact;
            // In Kong's dialects the exact route is as open as the one around it.
            let mut actual = built_in.clone();
            if built_in.exact && actual.access == Access::ServiceRole {
                actual.access = Access::Key;
            }
            if is_named || *verdict == Verdict::BuiltIn || is_at_least(&actual, &draft.route) {
                continue;
            }
            let mut closed = draft.at(&built_in.path);
            closed.route.exact = built_in.exact;
            closed.replaces = Some(built_in.name.clone());
            if draft.route.access == Access::ServiceRole {
                closed.route.roles = vec!["service_role".to_owned()];
            }
            closing.push((closed, verdict.clone()));
        }
        closing
    }

    /// Lists the built-in routes below a route of the file: with their longer paths they come
    /// first.
    pub(super) fn note_covered(&self, draft: &Draft, findings: &mut Findings) {
        let route = &draft.route;
        // Routes with hosts come before all without.
        if !route.hosts.is_empty() || draft.replaces.is_some() {
            return;
        }
        let covered: Vec<&str> = self
            .routes
            .iter()
            .filter(|built_in| !self.is_there() || built_in.slot.as_deref() == Some("api"))
            .map(|built_in| built_in.path.as_str())
            .filter(|path| *path != route.path && patterns::covers(&route.path, path))
            .collect();
        if let [first, ..] = covered.as_slice() {
            let reason = format!(
                "{} of BunBun's own routes lie below it and come first, for example {first}",
                covered.len()
            );
            findings.note(
                &draft.label,
                reason,
                "`bunbun routes` shows all; limit it to `hosts`",
            );
        }
    }

    /// Whose answers clients of this file are used to.
    pub(super) fn dialect(document: &Document, drafts: &[Draft]) -> Dialect {
        // Kong 3 reads format 2.1 too; key expressions came with it.
        if document.generation == Generation::Three || drafts.iter().any(|d| d.translates_keys) {
            Dialect::Kong3
        } else {
            Dialect::Kong2
        }
    }
}

/// The URL of a route's service, unless that is an upstream of several targets.
fn origin(document: &Document, draft: &Draft) -> Option<String> {
    let endpoint = document.services[draft.service?].endpoint.as_ref()?;
    let is_upstream = document
        .upstreams
        .iter()
        .any(|upstream| upstream.name == endpoint.host);
    (!is_upstream).then(|| endpoint.origin())?
}

fn host_of(url: &str) -> Option<&str> {
    let (_, authority) = url.split_once("://")?;
    authority.split(':').next()
}

/// Whether requests get to the same path of the service by both.
fn same_target(built_in: &RouteConfig, draft: &Draft) -> bool {
    let base = if built_in.keep_path {
        &built_in.path
    } else {
        &built_in.rewrite
    };
    let Some(rest) = draft.route.path.strip_prefix(&built_in.path) else {
        return false;
    };
    // A refused request gets nowhere.
    built_in.access == Access::Deny
        || draft.upstream_path.trim_end_matches('/')
            == format!("{}/{}", base.trim_end_matches('/'), rest.trim_matches('/'))
                .trim_end_matches('/')
}

/// Whether the built-in route refuses more, for reasons that are its own.
fn is_stricter(built_in: &RouteConfig, access: Access) -> bool {
    built_in.access != access && access_is_at_least(built_in.access, access)
}

/// Whether both treat requests alike.
fn same_rules(built_in: &RouteConfig, route: &RouteConfig) -> bool {
    if built_in.access == Access::Deny {
        let refused = route
            .respond
            .as_ref()
            .is_some_and(|respond| respond.status == 403);
        return refused || route.access == Access::Deny;
    }
    let slot = built_in.slot.as_deref();
    let access = built_in.access == route.access
        || (matches!(slot, Some("analytics" | "functions")) && is_stricter(built_in, route.access));
    // Studio's pages call their own origin only.
    let cors = match (built_in.cors, route.cors) {
        (one, other) if one == other => true,
        (CorsConfig::Allowed, CorsConfig::Off) => true,
        (CorsConfig::Allowed, CorsConfig::Public) => slot == Some("studio"),
        _ => false,
    };
    // Exports write Kong's own defaults out.
    let timeouts = [
        (route.first_byte_timeout, built_in.first_byte_timeout),
        (route.idle_timeout, built_in.idle_timeout),
    ]
    .into_iter()
    .all(|(given, built_in)| given.is_none_or(|time| time == KONG_TIMEOUT) || given == built_in);
    let retries = route.retries.is_none_or(|retries| retries == KONG_RETRIES);
    let matches = route.hosts.is_empty() && route.methods.is_empty();
    let plain = route.respond.is_none()
        && !route.preserve_host
        && route.host.is_none()
        && route.rate_limit.is_none()
        && retries
        && route.allow_ips.is_empty()
        && route.deny_ips.is_empty();
    access && cors && timeouts && matches && plain && same_headers(built_in, route)
}

/// Whether the header rules come to the same. The gateway takes away credentials by itself.
fn same_headers(built_in: &RouteConfig, route: &RouteConfig) -> bool {
    let lower = |name: &String, value: &String| (name.to_ascii_lowercase(), value.clone());
    let (rules, given) = (&built_in.request_headers, &route.request_headers);
    let set: BTreeSet<_> = rules.set.iter().map(|(n, v)| lower(n, v)).collect();
    let given_set: BTreeSet<_> = given
        .set
        .iter()
        .chain(&given.add)
        .map(|(n, v)| lower(n, v))
        .collect();
    let own = ["apikey", "authorization", "sb-api-key", "x-api-key"];
    set == given_set && given.remove.iter().all(|name| own.contains(&name.as_str()))
}
