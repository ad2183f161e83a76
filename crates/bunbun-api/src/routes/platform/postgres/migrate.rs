//! `POST /api/platform/postgres/{ref}/migrate`: applies a named migration once.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use bunbun_http::{
    ApiError,
    extract::{self, Query as Parameters},
};
use http::HeaderMap;

use super::{Which, connected};
use crate::{
    access::{ProjectAccess, Write},
    openapi::{BodyRefusals, ConflictRefusals, ConnectionRefusals, OwnerRefusals, ThingRefusals},
    routes::db::migrate::{CreateMigration, MigrationResult, REPLAYED, idempotency_key},
    state::ApiState,
};

/// Apply a migration to a stored connection
///
/// As `POST /api/db/migrate`, on any of the project's databases.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/migrate", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        Which,
        ("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the first outcome again; 1 to 255 printable ASCII characters"),
    ),
    request_body = CreateMigration,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (
            status = 200, description = "Applied, now or before", body = MigrationResult,
            headers(("Idempotency-Replayed" = Option<bool>, description = "`true` where this is the first outcome of a repeated `Idempotency-Key`")),
        ),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn create_postgres_migration(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Parameters(which): Parameters<Which>,
    headers: HeaderMap,
    extract::Json(body): extract::Json<CreateMigration>,
) -> Result<impl IntoResponse, ApiError> {
    let request = body.into_request(idempotency_key(&headers)?);
    let connections = state.connections()?;
    connections
        .audit(&access, "postgres.migrate", &request.name)
        .await?;
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let outcome = postgres.migrate(request).await;
    connections.invalidate_schemas(&postgres.project);
    let outcome = outcome?;
    let replayed = outcome.replayed.then_some([(REPLAYED, "true")]);
    Ok((replayed, Json(MigrationResult::from(outcome))))
}
