//! `/api/backups`: backups of the project's PostgreSQL, and restores from them.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bunbun_core::{id::BackupId, secret};
use bunbun_http::{
    ApiError,
    access::ServiceRole,
    extract::{Json as Body, Path, Query as Parameters},
};
use bunbun_store::backups as rows;
use garde::Validate;
use http::{
    HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    backups::{Download, RestoreRequest},
    openapi::{
        BodyRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals, ParameterRefusals,
        ThingRefusals, UpstreamRefusals,
    },
    state::ApiState,
};

/// Backups on one page, unless the caller says otherwise.
const DEFAULT_LIMIT: u32 = 100;

/// The digest of what an answer stands for (RFC 9530).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_backups, create_backup))
        .routes(routes!(get_backup, delete_backup))
        .routes(routes!(download_backup))
        .routes(routes!(restore_backup))
}

/// How far a backup or restore is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackupStatus {
    /// At work.
    Running,
    /// Complete.
    Succeeded,
    /// Given up; `error` says why.
    Failed,
}

impl From<rows::Status> for BackupStatus {
    fn from(status: rows::Status) -> Self {
        match status {
            rows::Status::Running => Self::Running,
            rows::Status::Succeeded => Self::Succeeded,
            rows::Status::Failed => Self::Failed,
        }
    }
}

/// A backup.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Backup {
    /// Its id; later backups have greater ones.
    id: Uuid,
    /// The database that was read.
    #[schema(example = "postgres")]
    database: String,
    /// How far it is.
    status: BackupStatus,
    /// Size of the dump so far, in bytes.
    #[schema(example = 73_400_320)]
    bytes: u64,
    /// SHA-256 of the complete dump, in hexadecimal.
    sha256: Option<String>,
    /// Version of the PostgreSQL server that was read.
    #[schema(example = "15.14")]
    database_version: String,
    /// How far a running one is.
    progress: BackupProgress,
    /// Why it failed.
    error: Option<String>,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// When it succeeded or failed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<OffsetDateTime>,
    /// The last restore from it.
    restore: Option<BackupRestore>,
}

/// How far a backup is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackupProgress {
    /// Tables whose rows are written.
    #[schema(example = 12)]
    tables_done: u32,
    /// Tables that there are.
    #[schema(example = 40)]
    tables_total: Option<u32>,
}

/// The last restore from a backup.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackupRestore {
    /// How far it is.
    status: BackupStatus,
    /// The database that it makes or replaces.
    #[schema(example = "shop_copy")]
    database: String,
    /// The name under which the replaced database was kept. Drop it when it is not needed.
    #[schema(example = "postgres_before_restore_20261121064500")]
    previous_database: Option<String>,
    /// Why it failed; then nothing was replaced.
    error: Option<String>,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    /// When it succeeded or failed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<OffsetDateTime>,
}

impl From<rows::Backup> for Backup {
    fn from(row: rows::Backup) -> Self {
        let tables_total = row.tables_total;
        Self {
            id: row.id.0,
            database: row.database,
            status: row.status.into(),
            bytes: row.bytes,
            sha256: row.sha256.map(|digest| secret::hex(&digest)),
            database_version: row.database_version,
            progress: BackupProgress {
                tables_done: row.tables_done.min(tables_total.unwrap_or(u32::MAX)),
                tables_total,
            },
            error: row.error,
            created_at: row.created_at,
            finished_at: row.finished_at,
            restore: row.restore.map(|restore| BackupRestore {
                status: restore.status.into(),
                database: restore.database,
                previous_database: restore.previous_database,
                error: restore.error,
                started_at: restore.started_at,
                finished_at: restore.finished_at,
            }),
        }
    }
}

/// Some backups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Backups {
    /// Newest first.
    backups: Vec<Backup>,
    /// What to send as `before` for the next page; null on the last.
    next: Option<Uuid>,
}

/// Which backups.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListBackupsQuery {
    /// Most backups of the answer; 100 when absent.
    #[garde(range(min = 1, max = 1000))]
    #[param(minimum = 1, maximum = 1000, example = 20)]
    limit: Option<u32>,
    /// Only backups older than this one.
    #[garde(skip)]
    before: Option<Uuid>,
}

/// The project's backups
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/backups", tag = "backups",
    params(ListBackupsQuery),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The backups", body = Backups),
        ParameterRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_backups(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Parameters(query): Parameters<ListBackupsQuery>,
) -> Result<Json<Backups>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let before = query.before.map(BackupId);
    let project = &context.project.reference;
    let mut found = state.backups()?.list(project, before, limit + 1).await?;
    let is_last = found.len() <= limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| !is_last).map(|backup| backup.id.0);
    Ok(Json(Backups {
        backups: found.into_iter().map(Into::into).collect(),
        next,
    }))
}

/// Back up the project's PostgreSQL
///
/// Answers when the backup has begun; `GET /api/backups/{id}` tells how far it is. One at a time
/// per database.
#[utoipa::path(
    post, path = "/api/backups", tag = "backups",
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 202, description = "It has begun", body = Backup,
         headers(("Location" = String, description = "Where to ask how far it is"))),
        ConflictRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_backup(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
) -> Result<Response, ApiError> {
    let backup = state.backups()?.create(&context.project.reference).await?;
    Ok(accepted(backup))
}

/// One backup
#[utoipa::path(
    get, path = "/api/backups/{id}", tag = "backups",
    security(("bearer" = []), ("apikey" = [])),
    params(("id" = Uuid, Path, description = "The backup's id")),
    responses(
        (status = 200, description = "The backup", body = Backup),
        ThingRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_backup(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Path(id): Path<String>,
) -> Result<Json<Backup>, ApiError> {
    let backup = state
        .backups()?
        .get(&context.project.reference, backup_id(&id)?)
        .await?;
    Ok(Json(backup.into()))
}

/// A dump in PostgreSQL's custom format, for `pg_restore`.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "stands for a streamed body in the document")]
struct BackupDump(Vec<u8>);

/// Download a backup
///
/// The dump in PostgreSQL's custom format, for `pg_restore`.
#[utoipa::path(
    get, path = "/api/backups/{id}/download", tag = "backups",
    security(("bearer" = []), ("apikey" = [])),
    params(("id" = Uuid, Path, description = "The backup's id")),
    responses(
        (status = 200, description = "The dump", body = BackupDump,
         content_type = "application/octet-stream",
         headers(("Repr-Digest" = String, description = "SHA-256 of the dump (RFC 9530)"))),
        ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn download_backup(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let project = &context.project.reference;
    let Download {
        backup,
        bytes,
        content,
    } = state.backups()?.download(project, backup_id(&id)?).await?;
    let digest = BASE64_STANDARD.encode(backup.sha256.unwrap_or_default());
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", file_name(&backup)),
        ),
        (CACHE_CONTROL, "private, no-store".to_owned()),
        (REPR_DIGEST, format!("sha-256=:{digest}:")),
    ];
    Ok((headers, axum::body::Body::from_stream(content)).into_response())
}

/// Where to restore to.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreBackupBody {
    /// The name of a new database; absent: the database that the backup is of.
    #[garde(length(min = 1, max = 63))]
    #[schema(example = "shop_copy", min_length = 1, max_length = 63)]
    database: Option<String>,
    /// To replace a database: its name. It is kept under another one.
    #[garde(length(min = 1, max = 63))]
    #[schema(min_length = 1, max_length = 63)]
    confirm: Option<String>,
}

/// Restore a backup
///
/// Into a new database, or in place of the one that the backup is of. Either appears under its
/// name only when it is complete. A replaced one is kept under another name, and its sessions are
/// ended. Answers when the restore has begun; `restore` of `GET /api/backups/{id}` tells how far
/// it is.
#[utoipa::path(
    post, path = "/api/backups/{id}/restore", tag = "backups",
    security(("bearer" = []), ("apikey" = [])),
    params(("id" = Uuid, Path, description = "The backup's id")),
    request_body = RestoreBackupBody,
    responses(
        (status = 202, description = "It has begun", body = Backup,
         headers(("Location" = String, description = "Where to ask how far it is"))),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, UpstreamRefusals,
        DatabaseRefusals,
    ),
)]
pub(crate) async fn restore_backup(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Path(id): Path<String>,
    Body(body): Body<RestoreBackupBody>,
) -> Result<Response, ApiError> {
    let request = RestoreRequest {
        database: body.database,
        confirm: body.confirm,
    };
    let project = &context.project.reference;
    let backup = state
        .backups()?
        .restore(project, backup_id(&id)?, request)
        .await?;
    Ok(accepted(backup))
}

/// Delete a backup
///
/// Its dump goes with it. Databases that were restored from it stay.
#[utoipa::path(
    delete, path = "/api/backups/{id}", tag = "backups",
    security(("bearer" = []), ("apikey" = [])),
    params(("id" = Uuid, Path, description = "The backup's id")),
    responses(
        (status = 204, description = "It is deleted"),
        ThingRefusals, ConflictRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn delete_backup(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    state
        .backups()?
        .delete(&context.project.reference, backup_id(&id)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What cannot be an id is the id of nothing.
fn backup_id(text: &str) -> Result<BackupId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::from(bunbun_store::Error::BackupNotFound))
}

/// The answer to what has begun.
fn accepted(backup: rows::Backup) -> Response {
    let location = format!("/api/backups/{}", backup.id);
    (
        StatusCode::ACCEPTED,
        [(LOCATION, location)],
        Json(Backup::from(backup)),
    )
        .into_response()
}

/// `shop-20261121T064500Z.dump`, with nothing in it that a header or a file system minds.
fn file_name(backup: &rows::Backup) -> String {
    let database: String = backup
        .database
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let at = backup.created_at;
    format!(
        "{database}-{:04}{:02}{:02}T{:02}{:02}{:02}Z.dump",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
