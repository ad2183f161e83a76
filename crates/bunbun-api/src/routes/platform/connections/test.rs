//! `POST /api/platform/{database_type}/{ref}/connections/test` and `…/connections/{id}/test`:
//! whether a connection works. No port scanner: whatever does not let through is told in the same
//! words and after the same time, trials are counted, and who tried what is in the audit log.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Path},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ConnectionKind, ConnectionPath, KindPath, body::NewConnection};
use crate::{
    access::{ProjectAccess, Write},
    connections::trial::Outcome,
    openapi::{BodyRefusals, DatabaseRefusals, OwnerRefusals, ParameterRefusals, ThingRefusals},
    routes::health::services::milliseconds,
    state::ApiState,
};

/// How a trial went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionTest {
    /// Whether the database answered.
    ok: bool,
    /// Milliseconds of one round trip.
    #[schema(example = 0.42)]
    latency_ms: Option<f64>,
    /// What the server says of itself.
    server: Option<ConnectionServer>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ConnectionTestError>,
}

/// A server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionServer {
    /// Its version.
    #[schema(example = "7.0.15")]
    version: String,
    /// Its part: `primary`, `replica`, `standalone`, `cluster`, …
    #[schema(example = "standalone")]
    role: String,
    /// Whether the connection was encrypted.
    tls: bool,
}

/// Why a connection does not work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionTestError {
    /// A code as in errors: `CONNECTION_FAILED`, `AUTHENTICATION_FAILED`, `HOST_NOT_ALLOWED`.
    #[schema(example = "CONNECTION_FAILED")]
    code: String,
    /// A sentence for people.
    message: String,
    /// What to do.
    hint: String,
}

impl From<Outcome> for ConnectionTest {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Works { latency, server } => Self {
                ok: true,
                latency_ms: Some(milliseconds(latency)),
                server: Some(ConnectionServer {
                    version: server.version,
                    role: server.role,
                    tls: server.tls,
                }),
                error: None,
            },
            Outcome::Fails {
                code,
                message,
                hint,
            } => Self {
                ok: false,
                latency_ms: None,
                server: None,
                error: Some(ConnectionTestError {
                    code: code.as_str().to_owned(),
                    message,
                    hint: hint.to_owned(),
                }),
            },
        }
    }
}

/// Try a connection that is not stored
///
/// A failure to get through is told after five seconds, however soon it was known.
#[utoipa::path(
    post, path = "/api/platform/{database_type}/{ref}/connections/test", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
    ),
    request_body = NewConnection,
    responses(
        (status = 200, description = "How it went", body = ConnectionTest),
        BodyRefusals, OwnerRefusals, ThingRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn test_new_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KindPath>,
    Body(body): Body<NewConnection>,
) -> Result<Json<ConnectionTest>, ApiError> {
    let (kind, connections) = (path.kind()?, state.connections()?);
    let (settings, _) = body.settings(kind)?;
    let outcome = Box::pin(connections.try_settings(&access, &settings)).await?;
    Ok(Json(outcome.into()))
}

/// Try a stored connection
///
/// Also updates its `status`.
#[utoipa::path(
    post, path = "/api/platform/{database_type}/{ref}/connections/{id}/test", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ("id" = Uuid, Path, description = "The connection"),
    ),
    responses(
        (status = 200, description = "How it went", body = ConnectionTest),
        ParameterRefusals, OwnerRefusals, ThingRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn test_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<ConnectionPath>,
) -> Result<Json<ConnectionTest>, ApiError> {
    let ((kind, id), connections) = (path.read()?, state.connections()?);
    let outcome = Box::pin(connections.try_stored(&access, kind, id)).await?;
    Ok(Json(outcome.into()))
}
