//! `GET /api/db/migrations`: what was applied, newest first.

use std::sync::Arc;

use axum::{Json, extract::State};
use bunbun_databases::postgres::migrate;
use bunbun_http::{ApiError, access::ServiceRole};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    openapi::{DatabaseRefusals, OwnerRefusals},
    state::ApiState,
};

/// An applied migration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Migration {
    /// The time of its start as `YYYYMMDDHHMMSS`; later for what was applied later.
    #[schema(example = "20261121064500")]
    version: String,
    /// Its name; empty where another tool gave none.
    #[schema(example = "create_todos")]
    name: String,
    /// SHA-256 of its statements, in hexadecimal; empty where another tool applied it.
    checksum: String,
    /// When; null where another tool applied it.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2026-11-21T06:45:00Z")]
    applied_at: Option<OffsetDateTime>,
    /// How long its statements ran, in milliseconds; null where another tool applied it.
    #[schema(example = 12)]
    duration_ms: Option<i64>,
}

impl From<migrate::Migration> for Migration {
    fn from(migration: migrate::Migration) -> Self {
        let migrate::Migration {
            version,
            name,
            checksum,
            applied_at,
            duration_ms,
        } = migration;
        Self {
            version,
            name,
            checksum,
            applied_at,
            duration_ms,
        }
    }
}

/// The history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Migrations {
    /// Newest first.
    migrations: Vec<Migration>,
}

/// The migrations that were applied
///
/// Newest first, those of the Supabase CLI included: the history is the table
/// `supabase_migrations.schema_migrations` that it reads and writes.
#[utoipa::path(
    get, path = "/api/db/migrations", tag = "db",
    security(("bearer" = []), ("apikey" = [])),
    responses((status = 200, description = "The history", body = Migrations), OwnerRefusals, DatabaseRefusals),
)]
pub(crate) async fn list_migrations(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
) -> Result<Json<Migrations>, ApiError> {
    let pool = state.parts.databases.pool(&context.project.reference)?;
    let migrations = migrate::list(&pool).await?;
    Ok(Json(Migrations {
        migrations: migrations.into_iter().map(Into::into).collect(),
    }))
}
