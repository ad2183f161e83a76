//! `/api/platform/postgres/{ref}/tables/{schema}/{table}/rows`: the rows of one table.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

use std::sync::Arc;

use axum::{
    Json as Answered,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bunbun_databases::postgres::rows::{
    self, Count, Filter, Insert, ListRows, MOST_ROWS, OnConflict, Order, Row, TableName, Values,
};
use bunbun_http::{
    ApiError,
    extract::{Json, Path, Query as Parameters},
};
use garde::Validate;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, ETAG, IF_MATCH},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::super::{Which, connected, listing::hundred, named};
use crate::{
    access::{ProjectAccess, Read, Write},
    openapi::{
        BodyRefusals, ConditionRefusals, ConflictRefusals, ConnectionRefusals, OwnerRefusals,
        ParameterRefusals, ThingRefusals,
    },
    routes::db::query::{Wanted, media_type},
    state::ApiState,
};

/// Longest filter, order and list of columns.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Which rows.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowParameters {
    /// The identifier of the stored connection; by default the primary one.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    connection: Option<String>,
    /// Conditions, as JSON: a list of `{"column", "op", "value"}`, all of which have to hold, with
    /// `{"any": […]}`, `{"all": […]}` and `{"not": …}` inside where needed. `op` is one of `eq`,
    /// `ne`, `lt`, `lte`, `gt`, `gte`, `in`, `not_in`, `like`, `ilike`, `starts_with`, `is_null`,
    /// `contains`, `contained_by`, `overlaps`.
    #[garde(length(bytes, min = 1, max = MAX_TEXT_BYTES))]
    #[param(
        min_length = 1,
        max_length = 16384,
        example = r#"[{"column":"age","op":"gte","value":18}]"#
    )]
    filter: Option<String>,
    /// `name,-created_at`; or a JSON list of `{"column", "descending", "nulls"}`. Rows that are
    /// equal in it follow by their key.
    #[garde(length(bytes, min = 1, max = MAX_TEXT_BYTES))]
    #[param(min_length = 1, max_length = 16384, example = "-created_at")]
    order: Option<String>,
    /// `id,name`, or a JSON list of names; by default all columns.
    #[garde(length(bytes, min = 1, max = MAX_TEXT_BYTES))]
    #[param(min_length = 1, max_length = 16384)]
    columns: Option<String>,
    /// Whether all rows that fit are counted: `exact` counts them, `estimate` asks the planner.
    #[garde(skip)]
    #[param(inline)]
    count: Option<CountParameter>,
    /// Most rows of the page.
    #[garde(range(min = 1, max = MOST_ROWS))]
    #[serde(default = "hundred")]
    #[param(required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[garde(length(max = 65536))]
    #[param(max_length = 65536)]
    cursor: Option<String>,
}

/// Whether and how rows are counted.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CountParameter {
    /// Counts them.
    Exact,
    /// Asks the planner.
    Estimate,
}

impl RowParameters {
    fn into_request(self, table: TableName, state: &ApiState) -> Result<ListRows, ApiError> {
        let filter = self.filter.as_deref();
        let order = self.order.as_deref().unwrap_or_default();
        Ok(ListRows {
            table,
            columns: self.columns.as_deref().map(names).transpose()?,
            filter: filter
                .map(|text| Filter::read(text, "/filter"))
                .transpose()?,
            order: Order::read(order, "/order")?,
            limit: self.limit,
            cursor: self.cursor,
            count: match self.count {
                None => Count::None,
                Some(CountParameter::Exact) => Count::Exact,
                Some(CountParameter::Estimate) => Count::Estimate,
            },
            timeout: state.parts.database_limits.statement_timeout,
        })
    }
}

/// The names of columns: with commas between, or as JSON.
fn names(text: &str) -> Result<Vec<String>, ApiError> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| {
            let message = format!("columns: not a JSON list of names: {error}.");
            ApiError::new(bunbun_core::Code::InvalidRequest, message)
        });
    }
    Ok(text.split(',').map(str::to_owned).collect())
}

/// A page of rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PostgresRows {
    /// In the wanted order.
    #[schema(value_type = Vec<PostgresRow>)]
    rows: Vec<Row>,
    /// Gives the page after this one; null at the end.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// How many rows fit, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// A row.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresRow {
    /// What stands for it in URLs, before percent-encoding: the text of its key, or a JSON list
    /// where the key has several columns or begins with `[` or `~`; `~` and that list in base64url
    /// where no path may hold it. Null where the table has no key.
    #[schema(required = true)]
    pub key: Option<String>,
    /// Its version, for `If-Match`. Null where rows have none (views), and of rows just inserted
    /// into a partitioned table.
    #[schema(required = true)]
    pub etag: Option<String>,
    /// Its values by column, as in the answer to `POST …/query`.
    #[schema(value_type = Object)]
    pub values: serde_json::Map<String, Value>,
}

/// New rows.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "rows": [{ "title": "Feed the cat", "done": false }] }))]
pub(crate) struct CreatePostgresRows {
    /// Values by column; what is left out gets its default. All rows are inserted, or none.
    #[garde(length(min = 1, max = MOST_ROWS as usize))]
    #[schema(min_items = 1, max_items = 1000, value_type = Vec<Object>)]
    rows: Vec<Values>,
    /// What happens where a key is taken.
    #[garde(skip)]
    #[serde(default)]
    on_conflict: OnConflictBody,
}

/// What happens where a key is taken.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnConflictBody {
    /// Nothing is inserted; `ROW_EXISTS`.
    #[default]
    Refuse,
    /// The row is left out.
    Ignore,
    /// The row that is there gets the new values.
    Update,
}

impl From<OnConflictBody> for OnConflict {
    fn from(body: OnConflictBody) -> Self {
        match body {
            OnConflictBody::Refuse => Self::Refuse,
            OnConflictBody::Ignore => Self::Ignore,
            OnConflictBody::Update => Self::Update,
        }
    }
}

/// The rows that were inserted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedRows {
    /// In the order of the request, without those that were left out.
    #[schema(value_type = Vec<PostgresRow>)]
    rows: Vec<Row>,
}

/// New values of a row.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "values": { "done": true } }))]
pub(crate) struct UpdatePostgresRow {
    /// By column; the others stay.
    #[garde(length(min = 1))]
    #[schema(value_type = Object)]
    values: Values,
}

/// The rows of a table or view
///
/// Page by page in any order, with their keys and versions. `Accept: application/x-ndjson` and
/// `text/csv` stream the values of all rows that fit instead, without a limit.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/tables/{schema}/{table}/rows", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("schema" = String, Path, description = "The schema"),
        ("table" = String, Path, description = "The table or view"),
        RowParameters,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "A page of rows, or all of them", content(
            (PostgresRows = "application/json"),
            (String = "application/x-ndjson", example = json!("{\"id\":1}\n")),
            (String = "text/csv", example = json!("id\r\n1\r\n")),
        )),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn list_postgres_rows(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path((_project, schema, name)): Path<(String, String, String)>,
    Parameters(parameters): Parameters<RowParameters>,
    Wanted(format): Wanted,
) -> Result<Response, ApiError> {
    let postgres = connected(&state, &access, parameters.connection.as_deref()).await?;
    let request = parameters.into_request(TableName { schema, name }, &state)?;
    let Some(format) = format else {
        let page = postgres.list_rows(&request).await?;
        return Ok(Answered(PostgresRows::from(page)).into_response());
    };
    let rows = postgres.stream_rows(&request, format).await?;
    Ok((
        [(CONTENT_TYPE, media_type(format))],
        Body::from_stream(rows),
    )
        .into_response())
}

impl From<rows::Rows> for PostgresRows {
    fn from(page: rows::Rows) -> Self {
        Self {
            rows: page.rows,
            next_cursor: page.next_cursor,
            count: page.count,
        }
    }
}

/// Insert rows
///
/// All or none.
#[utoipa::path(
    post, path = "/api/platform/postgres/{ref}/tables/{schema}/{table}/rows", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("schema" = String, Path, description = "The schema"),
        ("table" = String, Path, description = "The table"),
        Which,
    ),
    request_body = CreatePostgresRows,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 201, description = "The rows", body = CreatedRows),
        BodyRefusals, ThingRefusals, ConflictRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn create_postgres_rows(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path((_project, schema, name)): Path<(String, String, String)>,
    Parameters(which): Parameters<Which>,
    Json(body): Json<CreatePostgresRows>,
) -> Result<(StatusCode, Answered<CreatedRows>), ApiError> {
    let (connections, target) = (state.connections()?, named(&schema, &name));
    connections
        .audit(&access, "postgres.rows.insert", &target)
        .await?;
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let request = Insert {
        table: TableName { schema, name },
        rows: body.rows,
        on_conflict: body.on_conflict.into(),
        timeout: state.parts.database_limits.statement_timeout,
    };
    let rows = postgres.insert_rows(&request).await?;
    Ok((StatusCode::CREATED, Answered(CreatedRows { rows })))
}

/// A row
///
/// By its key, with its version as `ETag`.
#[utoipa::path(
    get, path = "/api/platform/postgres/{ref}/tables/{schema}/{table}/rows/{key}", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("schema" = String, Path, description = "The schema"),
        ("table" = String, Path, description = "The table"),
        ("key" = String, Path, description = "The row's `key` as its list has it: a value's text, or a JSON list for several columns and for a text that begins with `[` or `~`"),
        Which,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (
            status = 200, description = "The row", body = PostgresRow,
            headers(("ETag" = String, description = "The row's version")),
        ),
        ParameterRefusals, ThingRefusals, OwnerRefusals, ConnectionRefusals,
    ),
)]
pub(crate) async fn get_postgres_row(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path((_project, schema, name, key)): Path<(String, String, String, String)>,
    Parameters(which): Parameters<Which>,
) -> Result<Response, ApiError> {
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let (table, limit) = (
        TableName { schema, name },
        state.parts.database_limits.statement_timeout,
    );
    let row = postgres.row(&table, &key, limit).await?;
    Ok(with_version(row))
}

/// Change a row
///
/// Some of its values. With `If-Match` only where it still has this version.
#[utoipa::path(
    patch, path = "/api/platform/postgres/{ref}/tables/{schema}/{table}/rows/{key}", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("schema" = String, Path, description = "The schema"),
        ("table" = String, Path, description = "The table"),
        ("key" = String, Path, description = "The row's key"),
        ("If-Match" = Option<String>, Header, description = "The version that the change is based on"),
        Which,
    ),
    request_body = UpdatePostgresRow,
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (
            status = 200, description = "The row as it is now", body = PostgresRow,
            headers(("ETag" = String, description = "The row's version")),
        ),
        BodyRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, OwnerRefusals,
        ConnectionRefusals,
    ),
)]
pub(crate) async fn update_postgres_row(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path((_project, schema, name, key)): Path<(String, String, String, String)>,
    Parameters(which): Parameters<Which>,
    headers: HeaderMap,
    Json(body): Json<UpdatePostgresRow>,
) -> Result<Response, ApiError> {
    let (connections, target) = (state.connections()?, named(&schema, &name));
    connections
        .audit(&access, "postgres.rows.update", &target)
        .await?;
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let (table, limit) = (
        TableName { schema, name },
        state.parts.database_limits.statement_timeout,
    );
    let versions = versions(&headers);
    let of = (&table, key.as_str());
    let row = postgres
        .update_row(of, &body.values, versions.as_deref(), limit)
        .await?;
    Ok(with_version(row))
}

/// Delete a row
///
/// With `If-Match` only where it still has this version. Answers with what it was.
#[utoipa::path(
    delete, path = "/api/platform/postgres/{ref}/tables/{schema}/{table}/rows/{key}", tag = "postgres",
    params(
        ("ref" = String, Path, description = "The project"),
        ("schema" = String, Path, description = "The schema"),
        ("table" = String, Path, description = "The table"),
        ("key" = String, Path, description = "The row's key"),
        ("If-Match" = Option<String>, Header, description = "The version that is to be deleted"),
        Which,
    ),
    security(("bearer" = []), ("apikey" = [])),
    responses(
        (status = 200, description = "The row as it was", body = PostgresRow),
        ParameterRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, OwnerRefusals,
        ConnectionRefusals,
    ),
)]
pub(crate) async fn delete_postgres_row(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path((_project, schema, name, key)): Path<(String, String, String, String)>,
    Parameters(which): Parameters<Which>,
    headers: HeaderMap,
) -> Result<Answered<Row>, ApiError> {
    let (connections, target) = (state.connections()?, named(&schema, &name));
    connections
        .audit(&access, "postgres.rows.delete", &target)
        .await?;
    let postgres = connected(&state, &access, which.connection.as_deref()).await?;
    let (table, limit) = (
        TableName { schema, name },
        state.parts.database_limits.statement_timeout,
    );
    let versions = versions(&headers);
    let of = (&table, key.as_str());
    let row = postgres.delete_row(of, versions.as_deref(), limit).await?;
    Ok(Answered(row))
}

fn with_version(row: Row) -> Response {
    let etag = row.etag.as_ref().and_then(|etag| etag.parse().ok());
    let mut response = Answered(row).into_response();
    if let Some(etag) = etag {
        let _: Option<http::HeaderValue> = response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// The versions that `If-Match` lists; `None` where any will do. What is no version of ours, a weak
/// one among them, is none that a row can have.
fn versions(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut versions = None;
    for value in headers.get_all(IF_MATCH) {
        for tag in value.to_str().unwrap_or("?").split(',').map(str::trim) {
            if tag == "*" {
                return None;
            }
            let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            let list: &mut Vec<String> = versions.get_or_insert_default();
            list.extend(tag.map(str::to_owned));
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::IF_MATCH};

    use super::versions;

    #[test]
    fn if_match_lists_versions() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_static(value));
            }
            versions(&headers)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["*"]), None);
        assert_eq!(of(&["\"7\""]), Some(vec!["7".to_owned()]));
        assert_eq!(
            of(&["\"7\", \"8\"", "\"9\""]),
            Some(vec!["7".to_owned(), "8".to_owned(), "9".to_owned()])
        );
        for no_version in ["", "7", "W/\"7\"", "\"7"] {
            assert_eq!(
                of(&[no_version]),
                Some(Vec::new()),
                "{no_version}: never any row's"
            );
        }
    }
}
