//! Reading rows: `GET …/rows`, `GET …/rows/{key}`.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{
    super::{
        error::Error,
        pool::Pool,
        query::{self, RowFormat, RowStream},
        running::describe,
    },
    MOST_ROWS,
    cursor::{self, Position},
    filter::Filter,
    key,
    order::{Order, Sort},
    row::{Row, Selection},
    shape::{Shape, TableName},
    statement::{Place, Statement, in_terms_of_request},
};

/// Whether and how all rows that fit are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Count {
    /// Not at all.
    #[default]
    None,
    /// By PostgreSQL's planner, which is quick.
    Estimate,
    /// One by one, which takes its time on a large table.
    Exact,
}

/// Which rows are wanted.
#[derive(Debug, Clone)]
pub struct ListRows {
    /// Of which table.
    pub table: TableName,
    /// Which columns; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Which rows.
    pub filter: Option<Filter>,
    /// In which order; rows that are equal in it follow in the order of the key.
    pub order: Vec<Order>,
    /// Most rows of the page, at most [`MOST_ROWS`].
    pub limit: u32,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Whether all rows that fit are counted.
    pub count: Count,
    /// Longest run of the statement.
    pub timeout: Duration,
}

/// A page.
#[derive(Debug)]
pub struct Rows {
    /// In the wanted order.
    pub rows: Vec<Row>,
    /// Gives the page after this one; `None` at the end.
    pub next_cursor: Option<String>,
    /// How many rows fit, where that was asked for.
    pub count: Option<u64>,
}

/// A page of a table's rows.
///
/// # Errors
/// [`Error::TableNotFound`], [`Error::Invalid`] with the place of the fault, and as
/// [`query::run`].
pub async fn list(pool: &Pool, request: &ListRows) -> Result<Rows, Error> {
    with_shape(pool, &request.table, move |shape| {
        Box::pin(async move {
            let mut page = page(pool, &shape, request).await?;
            page.count = count(pool, &shape, request).await?;
            Ok(page)
        })
    })
    .await
}

/// Runs work that needs the shape of a table, once more where the shape was one of yesterday.
pub(super) async fn with_shape<'a, T>(
    pool: &Pool,
    table: &TableName,
    work: impl Fn(Arc<Shape>) -> BoxFuture<'a, Result<T, Error>>,
) -> Result<T, Error> {
    let shapes = pool.shapes();
    let (shape, was_kept) = shapes.of(pool, table).await?;
    match work(shape).await {
        Err(error) if was_kept && may_be_stale(&error) => {
            shapes.forget();
            let (shape, _) = shapes.of(pool, table).await?;
            work(shape).await
        }
        result => result,
    }
}

/// Unknown names and wrong types, refused before anything was done.
fn may_be_stale(error: &Error) -> bool {
    match error {
        Error::Sql(error) => error.sqlstate.starts_with("42"),
        Error::Invalid { .. } | Error::NotAllowed { .. } => true,
        _ => false,
    }
}

async fn page(pool: &Pool, shape: &Shape, request: &ListRows) -> Result<Rows, Error> {
    let sort = Sort::new(shape, &request.order)?;
    let position = request
        .cursor
        .as_deref()
        .map(|text| cursor::read(text, &request.table, &sort))
        .transpose()?;
    let leading: Vec<String> = sort.terms.iter().map(|term| term.read.clone()).collect();
    let selection = Selection::new(shape, request.columns.as_deref(), &leading)?;
    let mut statement = Statement::new("select ");
    selection.write(&mut statement);
    write_from(shape, request, &mut statement, |out| {
        let Some(Position::After(values)) = &position else {
            return false;
        };
        sort.write_after(values, out);
        true
    })?;
    sort.write(&mut statement);
    let limit = request.limit.clamp(1, MOST_ROWS);
    statement.push(" limit ");
    statement.bind(Value::from(limit + 1), Place::new("/limit", "limit"));
    let skipped = match position {
        Some(Position::Skip(rows)) => rows,
        _ => 0,
    };
    if skipped > 0 {
        statement.push(" offset ");
        statement.bind(Value::from(skipped), Place::new("/cursor", "cursor"));
    }
    let (mut query, places) = statement.into_request(request.timeout, true);
    query.max_rows = u64::from(limit) + 1;
    let answer = query::run(pool, &query)
        .await
        .map_err(|error| in_terms_of_request(error, &places))?;
    let parts = selection.read(&answer.body)?;
    // Large rows end a page earlier.
    let has_more = parts.len() > limit as usize || answer.is_truncated;
    let kept = &parts[..parts.len().min(limit as usize)];
    let next_cursor = match kept.last() {
        Some(last) if has_more && sort.is_total => {
            let values = selection.leading(last).to_vec();
            Some(cursor::after(&request.table, &sort, values)?)
        }
        Some(_) if has_more => cursor::skip(&request.table, &sort, skipped + kept.len() as u64)?,
        _ => None,
    };
    Ok(Rows {
        rows: kept
            .iter()
            .map(|parts| selection.row(parts))
            .collect::<Result<_, _>>()?,
        next_cursor,
        count: None,
    })
}

/// Writes table and conditions; `more` writes one more condition where there is one.
fn write_from(
    shape: &Shape,
    request: &ListRows,
    out: &mut Statement,
    more: impl FnOnce(&mut Statement) -> bool,
) -> Result<(), Error> {
    out.push(" from ");
    shape.write_table(&request.table, out);
    out.push(" where ");
    match &request.filter {
        Some(filter) => filter.write(shape, out)?,
        None => out.push("true"),
    }
    let start = out.sql.len();
    out.push(" and (");
    if more(out) {
        out.push(")");
    } else {
        out.sql.truncate(start);
    }
    Ok(())
}

/// All rows that fit, as they come; without a limit of number, key and version.
///
/// # Errors
/// As [`list`].
pub async fn stream(
    pool: &Pool,
    request: &ListRows,
    format: RowFormat,
) -> Result<RowStream, Error> {
    with_shape(pool, &request.table, move |shape| {
        Box::pin(async move {
            let selection = Selection::new(&shape, request.columns.as_deref(), &[])?;
            let sort = Sort::new(&shape, &request.order)?;
            let mut statement = Statement::new("select ");
            for (index, name) in selection.columns.iter().enumerate() {
                statement.push(if index > 0 { ", " } else { "" });
                statement.column(name);
            }
            write_from(&shape, request, &mut statement, |_| false)?;
            // To sort them all only for the order of the key would keep the first row waiting.
            if !request.order.is_empty() {
                sort.write(&mut statement);
            }
            let (query, places) = statement.into_request(request.timeout, true);
            query::stream_with(pool, query, format, describe)
                .await
                .map_err(|error| in_terms_of_request(error, &places))
        })
    })
    .await
}

async fn count(pool: &Pool, shape: &Shape, request: &ListRows) -> Result<Option<u64>, Error> {
    let (start, end) = match request.count {
        Count::None => return Ok(None),
        Count::Estimate if request.filter.is_none() && shape.rows_estimate.is_some() => {
            return Ok(shape.rows_estimate.and_then(|rows| rows.try_into().ok()));
        }
        Count::Estimate => ("explain (format json) select 1", ""),
        Count::Exact => ("select count(*) as n", ""),
    };
    let mut statement = Statement::new(start);
    write_from(shape, request, &mut statement, |_| false)?;
    statement.push(end);
    let (query, places) = statement.into_request(request.timeout, true);
    let answer = query::run(pool, &query)
        .await
        .map_err(|error| in_terms_of_request(error, &places))?;
    let body: Value = serde_json::from_slice(&answer.body).map_err(Error::internal)?;
    let row = &body["rows"][0];
    let number = match request.count {
        Count::Exact => &row["n"],
        _ => &row["QUERY PLAN"][0]["Plan"]["Plan Rows"],
    };
    let text = number.as_str().and_then(|text| text.parse().ok());
    Ok(text.or_else(|| number.as_u64()))
}

/// The row with a key.
///
/// # Errors
/// [`Error::RowNotFound`], and as [`list`].
pub async fn get(
    pool: &Pool,
    table: &TableName,
    key: &str,
    timeout: Duration,
) -> Result<Row, Error> {
    with_shape(pool, table, move |shape| {
        Box::pin(async move {
            find(pool, &shape, table, key, timeout)
                .await?
                .ok_or(Error::RowNotFound)
        })
    })
    .await
}

pub(super) async fn find(
    pool: &Pool,
    shape: &Shape,
    table: &TableName,
    key: &str,
    timeout: Duration,
) -> Result<Option<Row>, Error> {
    let values = key::read(key, shape, table)?;
    let selection = Selection::new(shape, None, &[])?;
    let mut statement = Statement::new("select ");
    selection.write(&mut statement);
    statement.push(" from ");
    shape.write_table(table, &mut statement);
    statement.push(" where ");
    key::write_condition(&values, shape, &mut statement);
    let (query, places) = statement.into_request(timeout, true);
    let answer = query::run(pool, &query)
        .await
        .map_err(|error| in_terms_of_request(error, &places))?;
    let parts = selection.read(&answer.body)?;
    parts.first().map(|parts| selection.row(parts)).transpose()
}
