//! `GET /api/health/services`: whether the services behind BunBun answer.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::State;
use bunbun_core::id::ProjectRef;
use bunbun_databases::postgres::health;
use bunbun_http::{
    access::Anyone,
    slots::{SlotMode, SlotProbe},
};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{openapi::AnyoneRefusals, state::ApiState};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Every service by name.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Report {
    /// `postgres`, `auth`, `rest`, `storage`, `realtime`, `meta`, `functions`, …
    pub services: BTreeMap<String, ServiceHealth>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// Nobody told BunBun where it is.
    NotConfigured,
}

/// The health of one service.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ServiceHealth {
    /// How it is.
    pub status: Status,
    /// Milliseconds until it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1.25)]
    pub latency: Option<f64>,
    /// Whether it runs inside BunBun or elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SlotMode>,
    /// Why it is down; told to the project's owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether the services answer
///
/// Asks all at once, each for at most two seconds, and remembers the answer for five. Always 200:
/// the body tells the truth. Error texts are told to the project's owner only.
#[utoipa::path(
    get, path = "/api/health/services", tag = "health",
    security((), ("bearer" = []), ("apikey" = [])),
    responses((status = 200, description = "The services by name", body = Report), AnyoneRefusals),
)]
pub(crate) async fn list_services_health(
    State(state): State<Arc<ApiState>>,
    caller: Anyone,
) -> axum::Json<Report> {
    let mut report = (*services(&state).await).clone();
    if !caller.is_owner() {
        for service in report.services.values_mut() {
            service.error = None;
        }
    }
    axum::Json(report)
}

/// The state of all services, at most five seconds old.
pub(crate) async fn services(state: &ApiState) -> Arc<Report> {
    state.services.get(probe_all(state)).await
}

async fn probe_all(state: &ApiState) -> Report {
    let mut probes = vec![postgres(state)];
    probes.extend(state.parts.slots.probes());
    let services = join_all(probes.into_iter().map(probe)).await;
    Report {
        services: services.into_iter().collect(),
    }
}

fn postgres(state: &ApiState) -> SlotProbe {
    let pool = state.parts.databases.pool(&ProjectRef::default_project());
    let filling = pool.ok().map(|pool| {
        let check: BoxFuture<'static, Result<(), String>> = async move {
            health::check(&pool, PROBE_TIMEOUT)
                .await
                .map(drop)
                .map_err(|error| bunbun_core::error::chain(&error))
        }
        .boxed();
        (state.parts.postgres_mode, check)
    });
    SlotProbe {
        name: "postgres".into(),
        filling,
    }
}

async fn probe(slot: SlotProbe) -> (String, ServiceHealth) {
    let Some((mode, check)) = slot.filling else {
        let service = ServiceHealth {
            status: Status::NotConfigured,
            latency: None,
            mode: None,
            error: None,
        };
        return (slot.name.to_string(), service);
    };
    let started = Instant::now();
    let outcome = timeout(PROBE_TIMEOUT, check).await;
    let latency = milliseconds(started.elapsed());
    let error = match outcome {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    };
    let service = ServiceHealth {
        status: if error.is_none() {
            Status::Up
        } else {
            Status::Down
        },
        latency: error.is_none().then_some(latency),
        mode: Some(mode),
        error,
    };
    (slot.name.to_string(), service)
}

/// Milliseconds with two decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
