//! Explains decisions: which route, credential, policy and slot a request would get, and why one
//! was refused.

use std::collections::VecDeque;

use bunbun_core::config::gateway::{Access, CorsConfig};
use bunbun_http::{
    RequestContext,
    explain::{Explain, Explanation},
};
use http::Method;
use parking_lot::Mutex;

use crate::{
    edge::Edge,
    path,
    refusal::{Refusal, empty_slot},
    route::{Route, Target},
};

/// How many refusals are remembered.
const REMEMBERED: usize = 2000;

/// A request that was refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its id.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its normalised path.
    pub path: String,
    /// The project it belonged to; empty where none was found.
    pub project: String,
    /// The route, where one matched.
    pub route: Option<String>,
    /// The status it got.
    pub status: u16,
    /// Why.
    pub refusal: Refusal,
}

/// The latest refusals of this node.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<VecDeque<Refused>>);

impl Refusals {
    /// Remembers one.
    pub fn remember(&self, refused: Refused) {
        let mut list = self.0.lock();
        if list.len() == REMEMBERED {
            list.pop_front();
        }
        list.push_back(refused);
    }

    fn find(&self, request_id: &str) -> Option<Refused> {
        self.0
            .lock()
            .iter()
            .rev()
            .find(|refused| refused.request_id == request_id)
            .cloned()
    }
}

impl Explain for Edge {
    fn explain(
        &self,
        method: &Method,
        raw: &str,
        context: &RequestContext,
    ) -> Result<Explanation, String> {
        let raw = raw.split('?').next().unwrap_or_default();
        let path = path::normalise(raw).map_err(|error| error.to_string())?;
        let named = path
            .strip_prefix("/p/")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let (is_own, path) = match named {
            Some((reference, rest)) => (
                reference == context.project.reference.as_str(),
                format!("/{rest}"),
            ),
            None => (true, path.into_owned()),
        };
        let mut told = Explanation {
            method: method.to_string(),
            project: context.project.reference.to_string(),
            path: path.clone(),
            ..Explanation::default()
        };
        if !is_own {
            // Another project's is as good as none.
            told.refused_with = Some(Refusal::UnknownProject.status().as_u16());
            told.reason = Refusal::UnknownProject.explanation().into_owned();
            return Ok(told);
        }
        let snapshot = self.snapshot();
        let Some(route) = snapshot.table.find("", &path, method) else {
            told.refused_with = Some(Refusal::NoRoute.status().as_u16());
            told.reason = Refusal::NoRoute.explanation().into_owned();
            return Ok(told);
        };
        let refusal = anonymous_refusal(route);
        told.route = Some(route.name.to_string());
        told.target = Some(target(route));
        told.upstream_path = Some(route.upstream_path(&path).into_owned());
        told.access = Some(access(route).to_owned());
        told.rate_limit = route.policy.as_ref().map(|policy| policy.name().to_owned());
        told.cors = Some(cors(route.cors).to_owned());
        told.refused_with = refusal.as_ref().map(|refusal| refusal.status().as_u16());
        told.reason = match refusal {
            Some(refusal) => format!("Without a credential: {}", refusal.explanation()),
            None => "It is passed on.".to_owned(),
        };
        Ok(told)
    }

    fn refused(&self, request_id: &str, context: &RequestContext) -> Option<Explanation> {
        let own = context.project.reference.as_str();
        let refused = self.refusals.find(request_id)?;
        // What was refused before its project was known belongs to the installation's own.
        let of_default = refused.project.is_empty() && own == bunbun_core::id::ProjectRef::DEFAULT;
        (refused.project == own || of_default).then(|| Explanation {
            request_id: Some(refused.request_id),
            method: refused.method,
            path: refused.path,
            project: refused.project,
            route: refused.route,
            refused_with: Some(refused.status),
            reason: refused.refusal.explanation().into_owned(),
            ..Explanation::default()
        })
    }
}

/// What a request without any credential would be refused with.
fn anonymous_refusal(route: &Route) -> Option<Refusal> {
    match route.access {
        Access::Deny => return Some(Refusal::Closed),
        Access::Key | Access::ServiceRole => return Some(Refusal::NoKey),
        Access::User => return Some(Refusal::NoUser),
        Access::Basic => return Some(Refusal::NoBasic),
        Access::Open | Access::OpenKnownKey => {}
    }
    match &route.target {
        Target::Slot(slot) if slot.mode() == "not_configured" => {
            Some(Refusal::EmptySlot(empty_slot(&slot.name).into()))
        }
        _ if !route.roles.is_empty() || !route.scopes.is_empty() => Some(Refusal::NoUser),
        _ => None,
    }
}

/// The credential that a route needs, in words.
#[must_use]
pub const fn access(route: &Route) -> &'static str {
    match route.access {
        Access::Open => "nothing at the gateway",
        Access::OpenKnownKey => "nothing; an sb_ key must be known",
        Access::Key => "an API key (anon or service_role)",
        Access::ServiceRole => "the service_role key",
        Access::User => "a user token",
        Access::Basic => "the dashboard's user name and password",
        Access::Deny => "closed to everyone",
    }
}

const fn cors(config: CorsConfig) -> &'static str {
    match config {
        CorsConfig::Allowed => "origins of ALLOWED_ORIGINS only",
        CorsConfig::Public => "origins of ALLOWED_ORIGINS, or any without credentials where unset",
        CorsConfig::Off => "the service's own business",
    }
}

/// Where a route leads, and how that is filled.
#[must_use]
pub fn target(route: &Route) -> String {
    match &route.target {
        Target::Slot(slot) => format!("slot {} ({})", slot.name, slot.mode()),
        Target::Upstream(upstream) => format!("upstream {}", upstream.name()),
        Target::Split(sides) => {
            let mut before = 0;
            let shares = sides.iter().map(|(end, upstream)| {
                let share = end - before;
                before = *end;
                format!("{} {share}%", upstream.name())
            });
            format!("split {}", shares.collect::<Vec<_>>().join(", "))
        }
        Target::Respond { status, .. } => format!("fixed answer {}", status.as_u16()),
    }
}
