//! `POST /api/platform/postgres/{ref}/query`, `POST …/query/{id}/cancel`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json as Answered,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bunbun_databases::postgres::{
    Postgres,
    query::{self, Parameter, RowFormat},
};
use bunbun_http::{
    ApiError,
    extract::{Json, Path, Query as Parameters},
};
use garde::Validate;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Which, answer, connected};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{
        BodyRefusals, ConflictRefusals, ConnectionRefusals, OwnerRefusals, ParameterRefusals,
        ThingRefusals,
    },
    routes::{
        Success,
        db::query::{
            MAX_PARAMETERS, MAX_SQL_BYTES, MAX_TIMEOUT_MS, QueryResult, Wanted, media_type,
            null_is_absent,
        },
    },
    state::{ApiState, DatabaseLimits},
};

/// A statement.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "sql": "select $1::int + 1 as n", "params": [41], "id": "report-7" }))]
pub(crate) struct RunPostgresQuery {
    /// What it can be cancelled by while it runs; by default the request's `x-request-id`.
    #[garde(custom(is_plain))]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    id: Option<String>,
    /// The SQL; several statements only without parameters.
    #[garde(length(bytes, min = 1, max = MAX_SQL_BYTES))]
    #[schema(min_length = 1, max_length = 1_048_576)]
    sql: String,
    /// The values of `$1`, `$2`, …; converted by the statement's own parameter types.
    #[garde(length(max = MAX_PARAMETERS))]
    #[serde(default, deserialize_with = "null_is_absent")]
    #[schema(max_items = 65_535, value_type = Vec<Value>)]
    params: Vec<Parameter>,
    /// Longest run, in milliseconds; by default what `DATABASE_STATEMENT_TIMEOUT` says.
    #[garde(range(min = 1, max = MAX_TIMEOUT_MS))]
    #[schema(minimum = 1, maximum = 600_000)]
    timeout_ms: Option<u64>,
    /// Whether PostgreSQL is to refuse every write. Always so for who may only read.
    #[garde(skip)]
    #[serde(default)]
    read_only: bool,
}

/// An id is a part of a path: it needs no encoding.
#[expect(clippy::ref_option, reason = "garde hands the field over as it is")]
fn is_plain(id: &Option<String>, _: &()) -> garde::Result {
    if id.as_deref().is_none_or(is_id) {
        return Ok(());
    }
    Err(garde::Error::new(
        "1 to 64 letters, digits, '.', '_' and '-'",
    ))
}

fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
}

impl RunPostgresQuery {
    fn into_request(self, limits: DatabaseLimits, may_write: bool) -> query::Request {
        let mut request = query::Request::new(self.sql);
        request.params = self.params;
        request.timeout = self
            .timeout_ms
            .map_or(limits.statement_timeout, Duration::from_millis);
        request.read_only = self.read_only || !may_write;
        request.max_rows = limits.max_rows as u64;
        request
    }
}

/// Run SQL on a stored connection
///
/// As `POST /api/db/query`, on any of the project's databases. While it runs it can be cancelled by
/// its `id`. `Accept: application/x-ndjson` and `text/csv` stream all rows with flat memory; a
/// failure in mid-stream is a last line `{"error": …}` in NDJSON and cuts CSV off.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/query", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), Which),
    request_body = RunPostgresQuery,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The rows", content(
            (QueryResult = "application/json"),
            (String = "application/x-ndjson", example = json!("{\"n\":42}\n")),
            (String = "text/csv", example = json!("n\r\n42\r\n")),
        )),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn run_postgres_query(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(which): Parameters<Which>,
    Wanted(format): Wanted,
    Json(mut body): Json<RunPostgresQuery>,
) -> Result<Response, ApiError> {
    let id = body.id.take();
    let id = id.unwrap_or_else(|| access.context().request_id.to_string());
    let write = access.may_write().ok().filter(|_| !body.read_only);
    let request = body.into_request(state.parts.database_limits, write.is_some());
    let which = which.connection.as_deref();
    let postgres = match &write {
        // In the audit log before it runs.
        Some(access) => {
            let connections = state.connections()?;
            connections.audit(access, "postgres.query", &id).await?;
            connected(&state, access, which).await?
        }
        None => connected(&state, &access, which).await?,
    };
    let changes = postgres.may_change_catalogue(&request);
    let response = run(&postgres, &id, request, format).await;
    if changes {
        state.connections()?.invalidate_schemas(&postgres.project);
    }
    response
}

async fn run(
    postgres: &Postgres,
    id: &str,
    request: query::Request,
    format: Option<RowFormat>,
) -> Result<Response, ApiError> {
    let Some(format) = format else {
        let answer = postgres.run(id, &request).await?;
        return Ok(answer::json(answer.body));
    };
    let rows = postgres.stream(id, request, format).await?;
    let media = [(CONTENT_TYPE, media_type(format))];
    Ok((media, Body::from_stream(rows)).into_response())
}

/// Cancel a statement
///
/// One that runs at this moment, by its `id`; its request answers `QUERY_CANCELLED`.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/query/{id}/cancel", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("id" = String, Path, description = "The statement's id"),
        Which,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "It is being cancelled", body = Success),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn cancel_postgres_query(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path((_project, id)): Path<(String, String)>,
    Parameters(which): Parameters<Which>,
) -> Result<Answered<Success>, ApiError> {
    // It changes nothing that is stored, but whose statement it ended is to be known.
    let connections = state.connections()?;
    let action = "postgres.query.cancel";
    connections.audit(&access, action, &id).await?;
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let Err(error) = postgres.cancel(&id) else {
        return Ok(Answered(Success::new()));
    };
    // What could not be an id is not asked for.
    let is_elsewhere = is_id(&id)
        && connections
            .cancel_elsewhere(&postgres.project, postgres.id, &id)
            .await?;
    if !is_elsewhere {
        return Err(error.into());
    }
    Ok(Answered(Success::new()))
}
