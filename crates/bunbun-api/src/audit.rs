//! What the audit log (`platform.audit_log`) says of a request: who did what where and when, never
//! a value.
//!
//! Nobody has to remember it. A handler that changes something holds `ProjectAccess<Write>`, and
//! with that the way to a database ([`Connections::database`]) leads through [`Attempt::record`],
//! which writes the row *before* anything is changed; [`observe`], a layer around all of
//! `/api/platform`, adds how it ended. Where the row cannot be written, nothing is changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use bunbun_core::{
    Code,
    id::{AuditId, ProjectRef},
    task,
};
use bunbun_databases::registry::PoolKey;
use bunbun_http::{ApiError, error::Unrendered};
use bunbun_store::{
    Store,
    audit_log::{self, Finished, NewEntry},
};
use http::{StatusCode, request::Parts};
use parking_lot::Mutex;

use crate::{
    access::{Permission, ProjectAccess},
    connections::Connections,
};

/// Longest target in the log, in characters.
const MAX_TARGET: usize = 1024;

/// How often the end of an attempt is tried to be written.
const TRIES: u32 = 5;

/// One request, as far as the log and the metrics want to know it.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Method and route: what it is called where the handler says nothing.
    route: String,
    told: Mutex<Told>,
    /// Held while the row is written, so that there is one.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Told {
    action: Option<&'static str>,
    target: Option<String>,
    row: Option<(ProjectRef, AuditId)>,
    connections: Option<Connections>,
    pool: Option<PoolKey>,
}

impl Attempt {
    /// The request's attempt; all extractors of a request share one.
    pub(crate) fn of(parts: &mut Parts) -> Arc<Self> {
        if let Some(attempt) = parts.extensions.get::<Arc<Self>>() {
            return Arc::clone(attempt);
        }
        let route = parts.extensions.get::<MatchedPath>();
        let route = route.map_or("", MatchedPath::as_str);
        let attempt = Arc::new(Self {
            route: format!("{} {route}", parts.method),
            told: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        });
        parts.extensions.insert(Arc::clone(&attempt));
        attempt
    }

    /// Names what the request does, better than its route can.
    pub(crate) fn name(&self, action: &'static str, target: &str) {
        let mut told = self.told.lock();
        told.action = Some(action);
        let target = target.chars().take(MAX_TARGET);
        // PostgreSQL's texts have no NUL.
        let target = target.map(|char| if char == '\0' { '\u{2400}' } else { char });
        told.target = Some(target.collect());
    }

    /// Which pool the request works on.
    pub(crate) fn works_on(&self, connections: &Connections, pool: PoolKey) {
        let mut told = self.told.lock();
        told.connections = Some(connections.clone());
        told.pool = Some(pool);
    }

    /// Writes the row, once.
    pub(crate) async fn record<P: Permission>(
        &self,
        access: &ProjectAccess<P>,
        connections: &Connections,
    ) -> Result<(), ApiError> {
        let _writing = self.writing.lock().await;
        let (action, target, connection) = {
            let told = self.told.lock();
            if told.row.is_some() {
                return Ok(());
            }
            let pool = told.pool.as_ref();
            (told.action, told.target.clone(), pool.map(|pool| pool.id))
        };
        let id = AuditId::generate();
        let context = access.context();
        let actor = access.actor();
        let client_ip = context.client_ip.to_string();
        let entry = NewEntry {
            id,
            actor_kind: actor.kind,
            actor_id: actor.id.as_deref(),
            action: action.unwrap_or(&self.route),
            target: target.as_deref(),
            request_id: context.request_id.as_str(),
            client_ip: &client_ip,
            connection,
        };
        let client = Box::pin(connections.store().client()).await?;
        audit_log::insert(&client, access.project(), entry).await?;
        let mut told = self.told.lock();
        told.row = Some((access.project().clone(), id));
        told.connections = Some(connections.clone());
        Ok(())
    }

    /// Writes how it ended.
    async fn finish(self: Arc<Self>, status: StatusCode) {
        let (connections, project, id, action, target, connection) = {
            let told = self.told.lock();
            let (Some(connections), Some((project, id))) = (&told.connections, &told.row) else {
                return;
            };
            (
                connections.clone(),
                project.clone(),
                *id,
                told.action,
                told.target.clone(),
                told.pool.as_ref().map(|pool| pool.id),
            )
        };
        let action = action.unwrap_or(&self.route).to_owned();
        let write = async |store: &Store| {
            let client = store.client().await?;
            let finished = Finished {
                action: &action,
                target: target.as_deref(),
                connection,
                status: status.as_u16(),
            };
            audit_log::update_finished(&client, &project, id, finished).await
        };
        for attempt in 1..=TRIES {
            match write(connections.store()).await {
                Ok(()) => return,
                Err(error) => {
                    let error = bunbun_core::error::chain(&error);
                    tracing::warn!(%id, attempt, error, "the audit log does not know how a request ended");
                }
            }
            tokio::time::sleep(Duration::from_secs(u64::from(attempt))).await;
        }
    }
}

/// The layer around `/api/platform`: completes the audit log, counts and times.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (mut parts, body) = request.into_parts();
    let attempt = Attempt::of(&mut parts);
    let database_type = database_type(parts.uri.path());
    let response = next.run(Request::from_parts(parts, body)).await;
    let operation: Arc<str> = attempt.route.as_str().into();
    let code = response
        .extensions()
        .get::<Unrendered>()
        .map(|Unrendered(error)| error.code());
    measure(database_type, &operation, code, begun.elapsed());
    if code == Some(Code::ConnectionFailed) {
        let told = attempt.told.lock();
        if let (Some(connections), Some(pool)) = (&told.connections, &told.pool) {
            connections.registry().failed(pool);
        }
    }
    let wrote = {
        let told = attempt.told.lock();
        if let (Some(_), Some(connections), Some(pool)) = (&told.row, &told.connections, &told.pool)
        {
            connections.wrote(pool.id);
        }
        told.row.is_some()
    };
    if wrote {
        // Not waited for: the attempt is in the log already.
        task::spawn_quiet(attempt.finish(response.status()));
    }
    response
}

/// `/api/platform/{kind}/…`; only kinds that there are become labels.
fn database_type(path: &str) -> &'static str {
    path.split('/')
        .nth(3)
        .and_then(|kind| kind.parse::<bunbun_databases::DatabaseType>().ok())
        .map_or("none", bunbun_databases::DatabaseType::as_str)
}

fn measure(database_type: &'static str, operation: &Arc<str>, code: Option<Code>, took: Duration) {
    metrics::histogram!(
        "bunbun_database_request_seconds",
        "database_type" => database_type,
        "operation" => Arc::clone(operation),
    )
    .record(took);
    if let Some(code) = code {
        metrics::counter!(
            "bunbun_database_errors_total",
            "database_type" => database_type,
            "operation" => Arc::clone(operation),
            "code" => code.as_str(),
        )
        .increment(1);
    }
}
