//! `POST /api/db/migrate`: applies a named migration once.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use bunbun_core::Code;
use bunbun_databases::postgres::migrate::{self, MigrationOutcome, MigrationRequest};
use bunbun_http::{ApiError, access::ServiceRole, extract};
use garde::Validate;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::migrations::Migration;
use crate::{
    openapi::{BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals},
    state::ApiState,
};

const MAX_LOCK_TIMEOUT_MS: u64 = 300_000;
const MAX_STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// Tells that the answer is the first outcome of a repeated `Idempotency-Key`.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A migration to apply.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "create_todos", "sql": "create table todos (id bigint generated always as identity primary key, title text not null)" }))]
pub(crate) struct CreateMigration {
    /// What it is called; the same name is applied once.
    #[garde(length(chars, min = 1, max = migrate::MAX_NAME_CHARACTERS))]
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Its statements.
    #[garde(length(bytes, min = 1, max = migrate::MAX_SQL_BYTES))]
    #[schema(min_length = 1, max_length = 10_485_760)]
    sql: String,
    /// Run, report and roll back.
    #[garde(skip)]
    #[serde(default)]
    dry_run: bool,
    /// All statements in one transaction, or each on its own, for those that cannot run in one.
    #[garde(skip)]
    #[serde(default = "yes")]
    #[schema(default = true)]
    transactional: bool,
    /// Longest wait for a lock, in milliseconds; default 10 seconds.
    #[garde(range(min = 1, max = MAX_LOCK_TIMEOUT_MS))]
    #[schema(minimum = 1, maximum = 300_000)]
    lock_timeout_ms: Option<u64>,
    /// Longest run of each statement, in milliseconds; default 10 minutes.
    #[garde(range(min = 1, max = MAX_STATEMENT_TIMEOUT_MS))]
    #[schema(minimum = 1, maximum = 3_600_000)]
    timeout_ms: Option<u64>,
}

const fn yes() -> bool {
    true
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MigrationResult {
    /// Always true: a failure has the error envelope.
    success: bool,
    /// The applied migration; null after a dry run.
    migration: Option<Migration>,
    /// Whether it had been applied before, with the same SQL.
    already_applied: bool,
    /// What a dry run did before it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<DryRun>,
}

/// What a dry run did before it was rolled back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DryRun {
    /// SHA-256 of the statements, in hexadecimal.
    checksum: String,
    /// Each statement, in order; the first 1 000.
    statements: Vec<StatementReport>,
    /// How many there are.
    statement_count: usize,
    /// What PostgreSQL told on the way; the first 200.
    notices: Vec<Notice>,
    /// The strongest lock taken on each relation that existed before.
    locks: Vec<Lock>,
    /// How long all statements ran, in milliseconds.
    duration_ms: i64,
}

/// What one statement did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementReport {
    /// Its number, from 1.
    statement_number: usize,
    /// The line of its first word, from 1.
    line: usize,
    /// Rows that it returned or changed.
    rows: u64,
    /// How long it ran, in milliseconds.
    duration_ms: i64,
}

/// What PostgreSQL told about a statement beside its result.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notice {
    /// The number of the statement, from 1.
    statement_number: usize,
    /// `NOTICE`, `WARNING`, `INFO` …
    severity: String,
    /// The primary message.
    message: String,
    /// The secondary message.
    detail: Option<String>,
    /// What to do about it.
    hint: Option<String>,
}

/// A lock that a dry run took.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Lock {
    /// The schema of the relation.
    schema: String,
    /// The table, index, sequence or view.
    relation: String,
    /// As PostgreSQL names it: `AccessExclusiveLock` keeps even readers out.
    mode: String,
}

/// Apply a migration
///
/// The same name is applied once: again with the same SQL it is told as already applied, with
/// other SQL it is refused with `MIGRATION_CONFLICT`. Statements and history row go into one
/// transaction, under a lock; `transactional: false` runs statement by statement and leaves a mark
/// where it stops half-way. The error of a statement has its SQLSTATE, number, line and position.
#[utoipa::path(
    post, path = "/api/db/migrate", tag = "db",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key with the same request gives the first outcome again; 1 to 255 printable ASCII characters")),
    request_body = CreateMigration,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (
            status = 200, description = "Applied, now or before", body = MigrationResult,
            headers(("Idempotency-Replayed" = Option<bool>, description = "`true` where this is the first outcome of a repeated `Idempotency-Key`")),
        ),
        BodyRefusals, ConflictRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_migration(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    headers: HeaderMap,
    extract::Json(body): extract::Json<CreateMigration>,
) -> Result<impl IntoResponse, ApiError> {
    let pool = state.parts.databases.pool(&context.project.reference)?;
    let request = body.into_request(idempotency_key(&headers)?);
    let outcome = migrate::apply(&pool, request).await;
    if let Ok(connections) = state.connections() {
        connections.invalidate_schemas(&context.project.reference);
    }
    let outcome = outcome?;
    let replayed = outcome.replayed.then_some([(REPLAYED, "true")]);
    Ok((replayed, Json(MigrationResult::from(outcome))))
}

impl CreateMigration {
    pub(crate) fn into_request(self, idempotency_key: Option<String>) -> MigrationRequest {
        let mut request = MigrationRequest::new(self.name, self.sql);
        request.dry_run = self.dry_run;
        request.transactional = self.transactional;
        request.idempotency_key = idempotency_key;
        if let Some(limit) = self.lock_timeout_ms {
            request.lock_timeout = Duration::from_millis(limit);
        }
        if let Some(limit) = self.timeout_ms {
            request.statement_timeout = Duration::from_millis(limit);
        }
        request
    }
}

/// The header `Idempotency-Key`. One that is there but unusable must not be passed over.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(key), None) if (1..=migrate::MAX_KEY_CHARACTERS).contains(&key.len()) => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(ApiError::new(
            Code::InvalidRequest,
            "The header Idempotency-Key is 1 to 255 printable ASCII characters, once.",
        )),
    }
}

impl From<MigrationOutcome> for MigrationResult {
    fn from(outcome: MigrationOutcome) -> Self {
        Self {
            success: true,
            migration: outcome.migration.map(Into::into),
            already_applied: outcome.already_applied,
            dry_run: outcome.dry_run.map(Into::into),
        }
    }
}

impl From<migrate::DryRun> for DryRun {
    fn from(run: migrate::DryRun) -> Self {
        let migrate::DryRun {
            checksum,
            statements,
            statement_count,
            notices,
            locks,
            duration_ms,
        } = run;
        Self {
            checksum,
            statements: statements.into_iter().map(Into::into).collect(),
            statement_count,
            notices: notices.into_iter().map(Into::into).collect(),
            locks: locks.into_iter().map(Into::into).collect(),
            duration_ms,
        }
    }
}

impl From<migrate::StatementReport> for StatementReport {
    fn from(report: migrate::StatementReport) -> Self {
        let migrate::StatementReport {
            statement_number,
            line,
            rows,
            duration_ms,
        } = report;
        Self {
            statement_number,
            line,
            rows,
            duration_ms,
        }
    }
}

impl From<migrate::Notice> for Notice {
    fn from(notice: migrate::Notice) -> Self {
        let migrate::Notice {
            statement_number,
            severity,
            message,
            detail,
            hint,
        } = notice;
        Self {
            statement_number,
            severity,
            message,
            detail,
            hint,
        }
    }
}

impl From<migrate::Lock> for Lock {
    fn from(lock: migrate::Lock) -> Self {
        let migrate::Lock {
            schema,
            relation,
            mode,
        } = lock;
        Self {
            schema,
            relation,
            mode,
        }
    }
}
