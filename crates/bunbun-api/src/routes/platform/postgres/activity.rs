//! `GET /api/platform/postgres/{ref}/activity`, `POST …/activity/{pid}/cancel`, `…/terminate`.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use bunbun_databases::postgres::{
    activity::End,
    catalog::{MOST_ITEMS, Page},
};
use bunbun_http::{
    ApiError,
    extract::{Path, Query as Parameters},
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Which, answer, connected,
    listing::{self, hundred},
};
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{ConnectionRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    state::ApiState,
};

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionParameters {
    /// The identifier of the stored connection; by default the primary one.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    connection: Option<String>,
    /// Only sessions whose statement has this text in it.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    search: Option<String>,
    /// Most sessions of the page.
    #[garde(range(min = 1, max = MOST_ITEMS))]
    #[serde(default = "hundred")]
    #[param(required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[garde(length(max = 4096))]
    #[param(max_length = 4096)]
    cursor: Option<String>,
}

/// A page of the sessions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSessions {
    /// By process.
    pub sessions: Vec<PostgresSession>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A session. What the connection's role may not see of others is null.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSession {
    /// Its process on the server.
    pub pid: i32,
    /// The role that logged in.
    #[schema(required = true)]
    pub user: Option<String>,
    /// What the client calls itself.
    #[schema(required = true)]
    pub application: Option<String>,
    /// Where the client is; null for a socket.
    #[schema(required = true)]
    pub client_address: Option<String>,
    /// `client backend`.
    #[schema(required = true)]
    pub kind: Option<String>,
    /// `active`, `idle`, `idle in transaction` …
    #[schema(required = true)]
    pub state: Option<String>,
    /// What kind of thing it waits for.
    #[schema(required = true)]
    pub wait_event_type: Option<String>,
    /// What it waits for.
    #[schema(required = true)]
    pub wait_event: Option<String>,
    /// Since when it is connected.
    #[schema(required = true)]
    pub connected_at: Option<String>,
    /// Since when its transaction is open.
    #[schema(required = true)]
    pub transaction_started_at: Option<String>,
    /// When its last statement began.
    #[schema(required = true)]
    pub query_started_at: Option<String>,
    /// Since when it is in this state.
    #[schema(required = true)]
    pub state_changed_at: Option<String>,
    /// How long its statement runs, in milliseconds; null where none does.
    #[schema(required = true)]
    pub running_ms: Option<i64>,
    /// The processes that it waits for.
    pub blocked_by: Vec<i32>,
    /// Its last statement; the first 4096 characters.
    #[schema(required = true)]
    pub query: Option<String>,
}

/// The sessions of the database
///
/// Without the one that looks.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/activity", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), SessionParameters),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of them", body = PostgresSessions),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_sessions(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(parameters): Parameters<SessionParameters>,
) -> Result<Response, ApiError> {
    let postgres = connected(&state, &access, parameters.connection.as_deref()).await?;
    let page = Page {
        search: parameters.search,
        limit: parameters.limit,
        cursor: parameters.cursor,
        ..Page::default()
    };
    let sessions = postgres.activity(&page).await?;
    Ok(answer::json(listing::written("sessions", &sessions)))
}

/// What became of a session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ended {
    /// Whether the server passed it on; false where the session had just ended.
    signalled: bool,
}

/// Cancel what a session does
///
/// Its statement, that is; the session stays.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/activity/{pid}/cancel", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("pid" = i32, Path, description = "The session's process"),
        Which,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is told to stop", body = Ended),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn cancel_postgres_session(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path((_project, pid)): Path<(String, i32)>,
    Parameters(which): Parameters<Which>,
) -> Result<Json<Ended>, ApiError> {
    end(&state, &access, pid, &which, End::Statement).await
}

/// Close a session
///
/// Its transaction is rolled back.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/activity/{pid}/terminate", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("pid" = i32, Path, description = "The session's process"),
        Which,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is told to end", body = Ended),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn terminate_postgres_session(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path((_project, pid)): Path<(String, i32)>,
    Parameters(which): Parameters<Which>,
) -> Result<Json<Ended>, ApiError> {
    end(&state, &access, pid, &which, End::Session).await
}

async fn end(
    state: &ApiState,
    access: &ProjectAccess<Write>,
    pid: i32,
    which: &Which,
    end: End,
) -> Result<Json<Ended>, ApiError> {
    let action = match end {
        End::Statement => "postgres.activity.cancel",
        End::Session => "postgres.activity.terminate",
    };
    let connections = state.connections()?;
    connections.audit(access, action, &pid.to_string()).await?;
    let postgres = connected(state, access, which.connection.as_deref()).await?;
    let signalled = postgres.end(pid, end).await?;
    Ok(Json(Ended { signalled }))
}
