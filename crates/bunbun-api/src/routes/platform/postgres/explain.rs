//! `POST /api/platform/postgres/{ref}/explain`.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use bunbun_databases::postgres::{explain::Explain, query::Parameter};
use bunbun_http::{
    ApiError,
    extract::{Json, Query as Parameters},
};
use garde::Validate;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Which, answer, connected};
use crate::{
    access::{ProjectAccess, Read},
    openapi::{BodyRefusals, ConnectionRefusals, OwnerRefusals, ThingRefusals},
    routes::db::query::{MAX_PARAMETERS, MAX_SQL_BYTES, MAX_TIMEOUT_MS, null_is_absent},
    state::{ApiState, DatabaseLimits},
};

/// A statement to be explained.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "sql": "select * from todos where id = $1", "params": [1] }))]
pub(crate) struct ExplainPostgresQuery {
    /// One statement.
    #[garde(length(bytes, min = 1, max = MAX_SQL_BYTES))]
    #[schema(min_length = 1, max_length = 1_048_576)]
    sql: String,
    /// The values of `$1`, `$2`, ….
    #[garde(length(max = MAX_PARAMETERS))]
    #[serde(default, deserialize_with = "null_is_absent")]
    #[schema(max_items = 65_535, value_type = Vec<Value>)]
    params: Vec<Parameter>,
    /// Run it, measure, and roll back; needs the right to write.
    #[garde(skip)]
    #[serde(default)]
    analyze: bool,
    /// With the columns of each step.
    #[garde(skip)]
    #[serde(default)]
    verbose: bool,
    /// With the settings that differ from the defaults.
    #[garde(skip)]
    #[serde(default)]
    settings: bool,
    /// Longest run, in milliseconds; by default what `DATABASE_STATEMENT_TIMEOUT` says.
    #[garde(range(min = 1, max = MAX_TIMEOUT_MS))]
    #[schema(minimum = 1, maximum = 600_000)]
    timeout_ms: Option<u64>,
}

impl ExplainPostgresQuery {
    fn into_request(self, limits: DatabaseLimits) -> Explain {
        Explain {
            sql: self.sql,
            params: self.params,
            analyze: self.analyze,
            verbose: self.verbose,
            settings: self.settings,
            timeout: self
                .timeout_ms
                .map_or(limits.statement_timeout, Duration::from_millis),
        }
    }
}

/// A plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresPlan {
    /// As PostgreSQL writes it: one object with `Plan`, and with times where it was run.
    #[schema(value_type = Vec<Object>)]
    pub plan: Vec<serde_json::Map<String, Value>>,
    /// Milliseconds from the statement's start to its end.
    pub duration_ms: f64,
}

/// Explain a statement
///
/// Without `analyze` it is planned only, in a read-only transaction. With it, it is run and rolled
/// back; what no transaction undoes stays done: sequences go on, other servers keep what they were
/// told.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/explain", tag = "postgres",
    params(("ref" = String, Path, description = "The project"), Which),
    request_body = ExplainPostgresQuery,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The plan", body = PostgresPlan),
        BodyRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn explain_postgres_query(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Parameters(which): Parameters<Which>,
    Json(body): Json<ExplainPostgresQuery>,
) -> Result<Response, ApiError> {
    let request = body.into_request(state.parts.database_limits);
    let which = which.connection.as_deref();
    let postgres = if request.analyze {
        let access = access.may_write()?;
        let connections = state.connections()?;
        connections
            .audit(&access, "postgres.explain_analyze", "")
            .await?;
        connected(&state, &access, which).await?
    } else {
        connected(&state, &access, which).await?
    };
    let plan = postgres.explain(&request).await?;
    let millis = plan.duration.as_secs_f64() * 1_000.0;
    Ok(answer::json(format!(
        "{{\"plan\":{},\"duration_ms\":{millis:.3}}}",
        plan.plan
    )))
}
