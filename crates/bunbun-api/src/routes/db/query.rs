//! `POST /api/db/query`: any statement of the project's owner.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, State},
    response::{IntoResponse as _, Response},
};
use bunbun_databases::postgres::{
    pool::Pool,
    query::{self, Parameter, RowFormat},
};
use bunbun_http::{ApiError, access::ServiceRole, extract::Json};
use garde::Validate;
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    openapi::{BodyRefusals, DatabaseRefusals, OwnerRefusals},
    state::{ApiState, DatabaseLimits},
};

pub(crate) const MAX_SQL_BYTES: usize = 1024 * 1024;
/// PostgreSQL's own limit.
pub(crate) const MAX_PARAMETERS: usize = 65_535;
pub(crate) const MAX_TIMEOUT_MS: u64 = 600_000;

/// A statement.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "sql": "select $1::int + 1 as n", "params": [41] }))]
pub(crate) struct RunQuery {
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
    /// Whether PostgreSQL is to refuse every write.
    #[garde(skip)]
    #[serde(default)]
    read_only: bool,
}

pub(crate) fn null_is_absent<'de, D: Deserializer<'de>>(
    json: D,
) -> Result<Vec<Parameter>, D::Error> {
    Option::deserialize(json).map(Option::unwrap_or_default)
}

impl RunQuery {
    fn into_request(self, limits: DatabaseLimits) -> query::Request {
        let mut request = query::Request::new(self.sql);
        request.params = self.params;
        request.timeout = self
            .timeout_ms
            .map_or(limits.statement_timeout, Duration::from_millis);
        request.read_only = self.read_only;
        request.max_rows = limits.max_rows as u64;
        request
    }
}

/// The buffered answer. It is rendered by the database crate; this is its description.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "rows": [{ "n": 42 }], "rowCount": 1, "fields": [{ "name": "n", "type": "int4" }],
    "command": "SELECT", "durationMs": 0.41,
}))]
pub struct QueryResult {
    /// The rows, members in the order of the columns. Numbers where a double holds them exactly,
    /// else strings; `numeric` as string, JSON as JSON, times in ISO 8601, `bytea` in base64,
    /// arrays as arrays, every other type as its text.
    #[schema(value_type = Vec<Object>)]
    pub rows: Vec<serde_json::Map<String, Value>>,
    /// Rows returned or written.
    pub row_count: u64,
    /// The columns.
    pub fields: Vec<Field>,
    /// The command as PostgreSQL names it.
    pub command: String,
    /// Milliseconds from the statement's start to its end.
    pub duration_ms: f64,
    /// Present and true where rows were left out (`DATABASE_MAX_ROWS`); stream to get all.
    #[serde(default)]
    #[schema(required = false)]
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type as PostgreSQL's catalogue names it.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Run SQL
///
/// Any statement, as the project's owner. `Accept: application/x-ndjson` and `text/csv` stream all
/// rows with flat memory; a failure in mid-stream is a last line `{"error": …}` in NDJSON and cuts
/// CSV off. The statement is cancelled when its time is over or the client goes away. An error of
/// the SQL has PostgreSQL's SQLSTATE, position and hint in `details`.
#[utoipa::path(
    post, path = "/api/db/query", tag = "db",
    request_body = RunQuery,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The rows", content(
            (QueryResult = "application/json"),
            (String = "application/x-ndjson", example = json!("{\"n\":42}\n")),
            (String = "text/csv", example = json!("n\r\n42\r\n")),
        )),
        BodyRefusals, OwnerRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn run_query(
    State(state): State<Arc<ApiState>>,
    ServiceRole(context): ServiceRole,
    Wanted(format): Wanted,
    Json(body): Json<RunQuery>,
) -> Result<Response, ApiError> {
    let pool = state.parts.databases.pool(&context.project.reference)?;
    let request = body.into_request(state.parts.database_limits);
    let changes = query::may_change_catalogue(&pool, &request);
    let response = run(&pool, request, format).await;
    if changes && let Ok(connections) = state.connections() {
        connections.invalidate_schemas(&context.project.reference);
    }
    response
}

async fn run(
    pool: &Pool,
    request: query::Request,
    format: Option<RowFormat>,
) -> Result<Response, ApiError> {
    match format {
        None => {
            let answer = query::run(pool, &request).await?;
            let mut response = Response::new(Body::from(answer.body));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            Ok(response)
        }
        Some(format) => {
            let rows = query::stream(pool, request, format).await?;
            Ok((
                [(CONTENT_TYPE, media_type(format))],
                Body::from_stream(rows),
            )
                .into_response())
        }
    }
}

pub(crate) const fn media_type(format: RowFormat) -> &'static str {
    match format {
        RowFormat::Ndjson => "application/x-ndjson",
        RowFormat::Csv => "text/csv; charset=utf-8; header=present",
    }
}

/// The form that `Accept` prefers; `None` is the buffered one, also where nothing fits. An extractor,
/// because axum's own for headers copies all of them.
pub(crate) struct Wanted(pub(crate) Option<RowFormat>);

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(wanted(&parts.headers)))
    }
}

fn wanted(headers: &HeaderMap) -> Option<RowFormat> {
    let mut best: (f32, Option<RowFormat>) = (0.0, None);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default() {
                "application/x-ndjson" | "application/ndjson" => Some(RowFormat::Ndjson),
                "text/csv" => Some(RowFormat::Csv),
                "application/json" | "application/*" | "*/*" => None,
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |text| text.parse().unwrap_or(0.0));
            // Of equals the first named counts.
            if quality > best.0 {
                best = (quality, format);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use bunbun_databases::postgres::query::RowFormat;
    use http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::wanted;

    #[test]
    fn accept_decides_the_form_and_json_is_the_rule() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            wanted(&headers)
        };
        assert_eq!(wanted(&HeaderMap::new()), None);
        for text in [
            "*/*",
            "",
            "image/png",
            "application/json, text/csv",
            "text/csv;q=0, */*;q=0.1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of("application/x-ndjson"), Some(RowFormat::Ndjson));
        assert_eq!(
            of("text/csv;q=0.9, application/json;q=0.5"),
            Some(RowFormat::Csv)
        );
        assert_eq!(
            of("application/json;q=0.5 , application/x-ndjson"),
            Some(RowFormat::Ndjson)
        );
    }
}
