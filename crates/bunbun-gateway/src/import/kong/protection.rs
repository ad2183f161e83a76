//! Comparing what two routes refuse, and keeping requests that lose their own route from one
//! that refuses less.

use bunbun_core::config::gateway::{Access, RespondConfig, RouteConfig};

use super::{fields::Findings, patterns, routes::Draft};

/// Requests of a route that cannot be matched here: they go to other routes, which must refuse
/// at least as much.
#[derive(Debug)]
pub(super) struct Gap {
    label: String,
    prefix: String,
    protection: RouteConfig,
}

impl Gap {
    /// The gap that a route leaves under a prefix; `None` where it refused nothing.
    pub(super) fn new(label: &str, prefix: &str, protection: &RouteConfig) -> Option<Self> {
        let nothing = RouteConfig {
            access: Access::Open,
            ..RouteConfig::default()
        };
        (!is_at_least(&nothing, protection)).then(|| Self {
            label: label.to_owned(),
            prefix: prefix.to_owned(),
            protection: RouteConfig {
                access: protection.access,
                allow_ips: protection.allow_ips.clone(),
                deny_ips: protection.deny_ips.clone(),
                respond: protection.respond.clone(),
                ..RouteConfig::default()
            },
        })
    }
}

/// Whether a route refuses all that another one refuses.
pub(super) fn is_at_least(route: &RouteConfig, other: &RouteConfig) -> bool {
    if route.access == Access::Deny || route.respond.is_some() {
        return true;
    }
    let addresses = (other.allow_ips.is_empty() || other.allow_ips == route.allow_ips)
        && other
            .deny_ips
            .iter()
            .all(|network| route.deny_ips.contains(network));
    other.respond.is_none() && addresses && access_is_at_least(route.access, other.access)
}

/// Whether whoever passes one access passes the other.
pub(super) fn access_is_at_least(access: Access, other: Access) -> bool {
    match other {
        Access::Open => true,
        Access::OpenKnownKey => access != Access::Open,
        Access::Key => matches!(access, Access::Key | Access::ServiceRole | Access::Deny),
        other => access == other || access == Access::Deny,
    }
}

/// Refuses what would otherwise get in through a gap.
pub(super) fn close_gaps(drafts: &mut Vec<Draft>, gaps: &[Gap], findings: &mut Findings) {
    for gap in gaps {
        let mut closed = false;
        for draft in drafts.iter_mut() {
            let path = draft.route.path.as_str();
            let same = path.trim_end_matches('/') == gap.prefix.trim_end_matches('/');
            let is_inside = same || patterns::covers(&gap.prefix, path);
            closed |= same && draft.route.hosts.is_empty() && draft.route.methods.is_empty();
            if is_inside && !is_at_least(&draft.route, &gap.protection) {
                draft.route.access = Access::Deny;
                let reason = format!(
                    "refused to everyone: it would take requests of {}, which refuses more",
                    gap.label
                );
                findings.note(
                    &draft.label,
                    reason,
                    "set `access` once that one has a route",
                );
            }
        }
        if !closed {
            drafts.push(closing_route(gap));
        }
    }
}

/// A route that refuses everything below a prefix.
fn closing_route(gap: &Gap) -> Draft {
    Draft {
        route: RouteConfig {
            path: gap.prefix.clone(),
            access: Access::Deny,
            rewrite: "/".to_owned(),
            respond: Some(refusal()),
            ..RouteConfig::default()
        },
        label: gap.label.clone(),
        name: Some(format!("closed-{}", gap.prefix)),
        service: None,
        upstream_path: String::new(),
        translates_keys: false,
        replaces: None,
    }
}

/// The answer of a route that leads nowhere.
pub(super) fn refusal() -> RespondConfig {
    RespondConfig {
        status: 403,
        body: "{\"message\":\"Not translated\"}".to_owned(),
        content_type: "application/json; charset=utf-8".to_owned(),
    }
}

/// Keeps the stricter of two routes that match the same requests.
pub(super) fn resolve_duplicates(drafts: &mut Vec<Draft>, findings: &mut Findings) {
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    let mut seen = std::collections::HashMap::new();
    for draft in drafts.drain(..) {
        let key = draft.matches();
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, kept.len());
            kept.push(draft);
            continue;
        };
        let first: &mut Draft = &mut kept[first];
        let reason = format!("matches the same requests as {}: left out", first.label);
        findings.note(&draft.label, reason, "Kong may choose either; keep one");
        if !is_at_least(&first.route, &draft.route) {
            first.route.access = Access::Deny;
            let reason = format!("refused to everyone: {} refuses more", draft.label);
            findings.note(
                &first.label,
                reason,
                "set `access` once one of the two is gone",
            );
        }
    }
    *drafts = kept;
}
