//! Changing rows: `POST …/rows`, `PATCH …/rows/{key}`, `DELETE …/rows/{key}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::{
    super::{
        error::Error,
        pool::Pool,
        query::{self, Parameter},
    },
    MOST_ROWS, key,
    read::{find, with_shape},
    row::{Row, Selection},
    shape::{Kind, Shape, TableName},
    statement::{Place, ROW, Statement, in_terms_of_request, no_column, refused},
};

/// PostgreSQL's limit of parameters.
const MOST_VALUES: usize = 65_535;

/// Values by column.
pub type Values = BTreeMap<String, Parameter>;

/// What happens to a new row whose key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Nothing is inserted, and the error is told.
    #[default]
    Refuse,
    /// The row is left out.
    Ignore,
    /// The row that is there gets the new values.
    Update,
}

/// Rows to be inserted, all or none.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Into which table.
    pub table: TableName,
    /// Each row's values; a column that is not there gets its default.
    pub rows: Vec<Values>,
    /// What happens where a key is taken.
    pub on_conflict: OnConflict,
    /// Longest run of the statement.
    pub timeout: Duration,
}

/// Inserts rows and answers with those that were inserted, or updated.
///
/// # Errors
/// As [`super::list`]; PostgreSQL's own refusals are [`Error::Sql`].
pub async fn insert(pool: &Pool, request: &Insert) -> Result<Vec<Row>, Error> {
    with_shape(pool, &request.table, move |shape| {
        Box::pin(async move {
            check_changeable(&shape, &request.table)?;
            let columns = columns_of(&shape, &request.rows)?;
            let mut statement = Statement::new("insert into ");
            statement.table(&request.table);
            statement.push(" as ");
            statement.push(ROW);
            if columns.is_empty() {
                // Of several rows without values there is no form.
                statement.push(" default values");
            } else {
                write_rows(&request.rows, &columns, &mut statement);
            }
            write_on_conflict(request.on_conflict, &shape, &columns, &mut statement)?;
            returning(pool, &shape, statement, request.timeout).await
        })
    })
    .await
}

/// All columns that a row has a value for.
fn columns_of<'a>(shape: &Shape, rows: &'a [Values]) -> Result<Vec<&'a str>, Error> {
    let place = Place::new("/rows", "rows");
    if rows.is_empty() || rows.len() > MOST_ROWS as usize {
        return Err(refused(&place, format!("expected 1 to {MOST_ROWS} rows")));
    }
    let mut columns = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        for name in row.keys() {
            if shape.column(name).is_none() {
                return Err(no_column(name, &format!("/rows/{index}")));
            }
            columns.insert(name.as_str());
        }
    }
    if columns.is_empty() && rows.len() > 1 {
        return Err(refused(
            &place,
            "of several rows at least one needs a value",
        ));
    }
    if columns.len() * rows.len() > MOST_VALUES {
        let message = format!("more than {MOST_VALUES} values at once");
        return Err(refused(&place, message));
    }
    Ok(columns.into_iter().collect())
}

fn write_rows(rows: &[Values], columns: &[&str], out: &mut Statement) {
    for (index, name) in columns.iter().enumerate() {
        out.push(if index > 0 { ", " } else { " (" });
        out.name(name);
    }
    out.push(") values ");
    for (number, row) in rows.iter().enumerate() {
        out.push(if number > 0 { ", (" } else { "(" });
        for (index, name) in columns.iter().enumerate() {
            out.push(if index > 0 { ", " } else { "" });
            match row.get(*name) {
                Some(value) => {
                    let place = Place::new(format!("/rows/{number}/{}", escaped(name)), *name);
                    out.bind(value.clone(), place);
                }
                None => out.push("default"),
            }
        }
        out.push(")");
    }
}

fn write_on_conflict(
    wanted: OnConflict,
    shape: &Shape,
    columns: &[&str],
    out: &mut Statement,
) -> Result<(), Error> {
    match wanted {
        OnConflict::Refuse => Ok(()),
        OnConflict::Ignore => {
            out.push(" on conflict do nothing");
            Ok(())
        }
        OnConflict::Update => {
            if shape.key.is_empty() {
                let message = "the table has no key by which a row could be found";
                return Err(refused(&Place::new("/on_conflict", "on_conflict"), message));
            }
            for (index, name) in shape.key.iter().enumerate() {
                out.push(if index > 0 { ", " } else { " on conflict (" });
                out.name(name);
            }
            let changed: Vec<&&str> = columns
                .iter()
                .filter(|name| !shape.key.iter().any(|key| key == *name))
                .collect();
            if changed.is_empty() {
                out.push(") do nothing");
                return Ok(());
            }
            for (index, name) in changed.into_iter().enumerate() {
                out.push(if index > 0 { ", " } else { ") do update set " });
                out.name(name);
                out.push(" = excluded.");
                out.name(name);
            }
            Ok(())
        }
    }
}

/// Changes the row with a key, where it still has one of the versions if any are given.
///
/// # Errors
/// [`Error::RowNotFound`]; [`Error::RowChanged`] where the row has another version by now;
/// [`Error::NotAllowed`] where the table has no key, or a policy or trigger keeps the row as it is.
pub async fn update(
    pool: &Pool,
    table: &TableName,
    key: &str,
    values: &Values,
    versions: Option<&[String]>,
    timeout: Duration,
) -> Result<Row, Error> {
    with_shape(pool, table, move |shape| {
        Box::pin(async move {
            check_changeable(&shape, table)?;
            if values.is_empty() {
                return Err(refused(
                    &Place::new("/values", "values"),
                    "expected a column at least",
                ));
            }
            let mut statement = Statement::new("update ");
            shape.write_table(table, &mut statement);
            for (index, (name, value)) in values.iter().enumerate() {
                if shape.column(name).is_none() {
                    return Err(no_column(name, "/values"));
                }
                statement.push(if index > 0 { ", " } else { " set " });
                statement.name(name);
                statement.push(" = ");
                let place = Place::new(format!("/values/{}", escaped(name)), name.as_str());
                statement.bind(value.clone(), place);
            }
            let changed = change(pool, &shape, table, key, versions, statement, timeout).await?;
            let now = match &changed.key {
                Some(key) if changed.etag.is_none() => {
                    find(pool, &shape, table, key, timeout).await?
                }
                _ => None,
            };
            Ok(now.unwrap_or(changed))
        })
    })
    .await
}

/// Deletes the row with a key, and answers with what it was.
///
/// # Errors
/// As [`update`].
pub async fn delete(
    pool: &Pool,
    table: &TableName,
    key: &str,
    versions: Option<&[String]>,
    timeout: Duration,
) -> Result<Row, Error> {
    with_shape(pool, table, move |shape| {
        Box::pin(async move {
            check_changeable(&shape, table)?;
            let mut statement = Statement::new("delete from ");
            shape.write_table(table, &mut statement);
            change(pool, &shape, table, key, versions, statement, timeout).await
        })
    })
    .await
}

/// Finishes a statement on the one row with a key and runs it.
async fn change(
    pool: &Pool,
    shape: &Shape,
    table: &TableName,
    key: &str,
    versions: Option<&[String]>,
    mut statement: Statement,
    timeout: Duration,
) -> Result<Row, Error> {
    let values = key::read(key, shape, table)?;
    statement.push(" where ");
    key::write_condition(&values, shape, &mut statement);
    if let Some(versions) = versions {
        // Looked at again once a change of somebody else is through, which makes it a lock.
        statement.push(&format!(" and {ROW}.xmin::text = any("));
        statement.bind(Value::from(versions), Place::new("/if-match", "If-Match"));
        statement.push("::text[])");
    }
    let mut changed = returning(pool, shape, statement, timeout).await?;
    if let Some(row) = changed.pop() {
        return Ok(row);
    }
    match (find(pool, shape, table, key, timeout).await?, versions) {
        (None, _) => Err(Error::RowNotFound),
        (Some(row), Some(versions)) if !is_among(row.etag.as_deref(), versions) => {
            Err(Error::RowChanged {
                etag: row.etag.unwrap_or_default(),
            })
        }
        (Some(_), _) => Err(Error::NotAllowed {
            message:
                "The row is there, but a policy of row-level security, a trigger or a rule of \
                      the table kept it from being changed."
                    .to_owned(),
        }),
    }
}

fn is_among(etag: Option<&str>, versions: &[String]) -> bool {
    let version = etag.unwrap_or_default().trim_matches('"');
    versions.iter().any(|known| known == version)
}

/// Runs a change and reads the rows that it touched.
async fn returning(
    pool: &Pool,
    shape: &Shape,
    mut statement: Statement,
    timeout: Duration,
) -> Result<Vec<Row>, Error> {
    let selection = Selection::of_change(shape)?;
    statement.push(" returning ");
    selection.write(&mut statement);
    let (mut query, places) = statement.into_request(timeout, false);
    query.max_rows = u64::from(MOST_ROWS);
    let answer = query::run(pool, &query)
        .await
        .map_err(|error| in_terms_of_request(error, &places))?;
    let parts = selection.read(&answer.body)?;
    parts.iter().map(|parts| selection.row(parts)).collect()
}

/// Views and foreign tables have no versions and mostly no keys.
fn check_changeable(shape: &Shape, table: &TableName) -> Result<(), Error> {
    if matches!(shape.kind, Kind::Table | Kind::Partitioned) {
        return Ok(());
    }
    Err(Error::NotAllowed {
        message: format!(
            "'{}.{}' is no table; change what it shows where that is kept, or use POST /query.",
            table.schema, table.name
        ),
    })
}

/// A name in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
