//! What the audit log (`platform.audit_log`) says of a request: who did what where and when, never
//! a value.
//!
//! Nobody has to remember it. A handler that changes something holds `ProjectAccess<Write>`, and
//! with that the way to a database ([`crate::connections`]) leads through [`Attempt::record`],
//! which writes the row *before* anything is changed; [`finish`], a layer around all of
//! `/api/platform`, adds how it ended. Where the row cannot be written, nothing is changed.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use bunbun_core::id::{AuditId, ProjectRef};
use bunbun_http::ApiError;
use bunbun_store::Store;
use http::request::Parts;
use parking_lot::Mutex;

use crate::access::{Permission, ProjectAccess};

/// One request that may change something.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Method and route: what it is called where the handler says nothing.
    route: String,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    action: Option<&'static str>,
    target: Option<String>,
    row: Option<(Store, ProjectRef, AuditId)>,
}

impl Attempt {
    /// The request's attempt; all extractors of a request share one.
    pub(crate) fn of(parts: &mut Parts) -> Arc<Self> {
        if let Some(attempt) = parts.extensions.get::<Arc<Self>>() {
            return Arc::clone(attempt);
        }
        let attempt = Arc::new(Self::new(parts));
        parts.extensions.insert(Arc::clone(&attempt));
        attempt
    }

    fn new(parts: &Parts) -> Self {
        let route = parts.extensions.get::<MatchedPath>();
        let route = route.map_or("", MatchedPath::as_str);
        Self {
            route: format!("{} {route}", parts.method),
            told: Mutex::default(),
        }
    }
}
