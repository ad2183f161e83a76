//! Lists of what a database has: `GET /api/platform/postgres/{ref}/{schemas,tables,columns,…}`.
//!
//! Each list is one statement in a read-only transaction, paged by the names that order it, and
//! bounded. PostgreSQL itself writes the items as JSON; only those of the page are worked out,
//! because it evaluates what is dear after `limit`. Sizes, expressions and definitions of what
//! another session holds for itself alone are null: the functions that tell them would wait.

mod columns;
mod extensions;
mod functions;
mod indexes;
mod policies;
mod roles;
mod schemas;
mod tables;
mod triggers;
mod types;
mod views;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::value::RawValue;
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{FromSql, ToSql, Type},
};

use super::{error::Error, pool::Pool};

pub use columns::COLUMNS;
pub use extensions::EXTENSIONS;
pub use functions::FUNCTIONS;
pub use indexes::INDEXES;
pub use policies::POLICIES;
pub use roles::ROLES;
pub use schemas::SCHEMAS;
pub use tables::TABLES;
pub use triggers::TRIGGERS;
pub use types::TYPES;
pub use views::VIEWS;

/// Most items of one page.
pub const MOST_ITEMS: u32 = 1_000;

/// Most names that make up the place of an item in its list.
const MOST_NAMES: usize = 4;

/// Nothing but PostgreSQL's own names without a schema, so that types and functions of the user
/// come with theirs, and cannot stand in for ours.
pub(super) const BEGIN: &str = "\
    begin isolation level repeatable read read only; \
    set local search_path = pg_catalog, pg_temp; \
    set local lock_timeout = '3s'; set local statement_timeout = '30s'";

/// Relations that another session holds or awaits for itself alone.
pub(super) const LOCKED: &str = "\
    (select distinct l.relation from pg_locks l \
     where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid() \
       and l.database = (select oid from pg_database where datname = current_database()))";

const SCHEMA_EXISTS: &str =
    "select $1::text is null or exists(select from pg_namespace where nspname = $1)";

/// One kind of thing that can be listed.
#[derive(Debug)]
pub struct List {
    /// Tables and conditions; `{locked}` stands for [`LOCKED`], here and in `item`.
    pub(super) from: &'static str,
    /// The expressions that order the list and tell one item from the next.
    pub(super) key: &'static [&'static str],
    /// The schema's name, where the thing lies in one.
    pub(super) schema: Option<&'static str>,
    /// The table's name, where the thing belongs to one.
    pub(super) table: Option<&'static str>,
    /// Its own name.
    pub(super) name: &'static str,
    /// What is PostgreSQL's own, and listed on demand only.
    pub(super) system: Option<&'static str>,
    /// The members of an item, as `expression as name`; `$6` tells whether definitions are wanted.
    pub(super) item: &'static str,
}

/// Which part of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Only what lies in this schema.
    pub schema: Option<String>,
    /// Only what belongs to a table of this name.
    pub table: Option<String>,
    /// Only what has this text in its name, in whichever case.
    pub search: Option<String>,
    /// Also what is PostgreSQL's own.
    pub system: bool,
    /// With the source of views and functions.
    pub definitions: bool,
    /// Most items, at most [`MOST_ITEMS`].
    pub limit: u32,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page.
#[derive(Debug)]
pub struct Items {
    /// As PostgreSQL wrote them.
    pub items: Vec<Box<RawValue>>,
    /// Gives the page after this one; `None` at the end.
    pub next_cursor: Option<String>,
}

impl List {
    fn statement(&self) -> String {
        let key = format!("array[{}]::text[] collate \"C\"", self.key.join(", "));
        let mut conditions = format!("($2::text[] is null or {key} > $2)");
        if let Some(schema) = self.schema {
            conditions.push_str(&format!(" and ($1::text is null or {schema} = $1)"));
        }
        if let Some(table) = self.table {
            conditions.push_str(&format!(" and ($4::text is null or {table} = $4)"));
        }
        conditions.push_str(&format!(
            " and ($5::text is null or position(lower($5) in lower({}::text)) > 0)",
            self.name
        ));
        if let Some(system) = self.system {
            // Who names a schema means it, whosever it is.
            let named = if self.schema.is_some() {
                "$1::text is not null or "
            } else {
                ""
            };
            conditions.push_str(&format!(" and ({named}$7::bool or not ({system}))"));
        }
        let statement = format!(
            "select {key}, (select row_to_json(i)::text from (select {}) i) from {} \
             where {conditions} order by 1 limit $3::int8",
            self.item, self.from,
        );
        statement.replace("{locked}", LOCKED)
    }
}

/// A page of a list.
///
/// # Errors
/// [`Error::SchemaNotFound`], [`Error::Invalid`] for a cursor of another list, and
/// [`Error::Unavailable`] also while another session locks the catalogue.
pub async fn list(pool: &Pool, list: &List, page: &Page) -> Result<Items, Error> {
    let after = page
        .cursor
        .as_deref()
        .map(|cursor| position(cursor, list.key.len()))
        .transpose()?;
    if let Some(name) = page.schema.as_ref().filter(|name| name.contains('\0')) {
        return Err(Error::SchemaNotFound(name.clone()));
    }
    for filter in [&page.table, &page.search].into_iter().flatten() {
        if filter.contains('\0') {
            return Ok(Items::none());
        }
    }
    let limit = page.limit.clamp(1, MOST_ITEMS);
    let more = i64::from(limit) + 1;
    let statement = list.statement();
    let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
        (&page.schema, Type::TEXT),
        (&after, Type::TEXT_ARRAY),
        (&more, Type::INT8),
        (&page.table, Type::TEXT),
        (&page.search, Type::TEXT),
        (&page.definitions, Type::BOOL),
        (&page.system, Type::BOOL),
    ];
    let client = pool.get().await?;
    // Each is sent when it is first polled, in this order, before the first answer is awaited.
    let (begun, exists, rows, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_typed(SCHEMA_EXISTS, &parameters[..1]),
        client.query_typed(&statement, &parameters),
        client.batch_execute("commit"),
    );
    begun.map_err(failed)?;
    let exists = exists.map_err(failed)?;
    let rows = rows.map_err(failed)?;
    ended.map_err(failed)?;
    let is_known = list.schema.is_none()
        || exists
            .first()
            .map(|row| get(row, 0))
            .transpose()?
            .unwrap_or(false);
    if !is_known {
        return Err(Error::SchemaNotFound(
            page.schema.clone().unwrap_or_default(),
        ));
    }
    Items::read(&rows, limit as usize)
}

impl Items {
    const fn none() -> Self {
        Self {
            items: Vec::new(),
            next_cursor: None,
        }
    }

    /// Of rows of key and item, of which one more was asked for than is wanted.
    fn read(rows: &[Row], limit: usize) -> Result<Self, Error> {
        let kept = &rows[..rows.len().min(limit)];
        let items = kept
            .iter()
            .map(|row| json(row, 1))
            .collect::<Result<_, _>>()?;
        let next_cursor = match kept.last() {
            Some(last) if rows.len() > limit => {
                let key: Vec<String> = get(last, 0)?;
                let json = serde_json::to_vec(&key).map_err(Error::internal)?;
                Some(URL_SAFE_NO_PAD.encode(json))
            }
            _ => None,
        };
        Ok(Self { items, next_cursor })
    }
}

/// The names at which a cursor stands.
fn position(cursor: &str, names: usize) -> Result<Vec<String>, Error> {
    debug_assert!(names <= MOST_NAMES, "a list has few names");
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice::<Vec<String>>(&json).ok())
        .filter(|key| key.len() == names && key.iter().all(|name| !name.contains('\0')))
        .ok_or_else(|| Error::Invalid {
            message: "The cursor is not one of this list; leave it out to begin anew.".to_owned(),
            details: serde_json::json!({"errors": [{
                "pointer": "/cursor",
                "message": "expected the next_cursor of the page before",
            }]}),
        })
}

/// A column that holds JSON as text.
pub(super) fn json(row: &Row, index: usize) -> Result<Box<RawValue>, Error> {
    let text: String = get(row, index)?;
    RawValue::from_string(text).map_err(Error::internal)
}

pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(Error::from_own_statement)
}

/// Somebody else's lock is no fault of ours and passes.
pub(super) fn failed(error: tokio_postgres::Error) -> Error {
    let passes = [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED];
    if error.code().is_some_and(|code| passes.contains(code)) {
        Error::unavailable(error)
    } else {
        Error::from_own_statement(error)
    }
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn only_a_cursor_of_the_same_shape_is_taken() {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let cursor = |text: &str| URL_SAFE_NO_PAD.encode(text);
        assert_eq!(
            position(&cursor("[\"a\",\"b\"]"), 2).ok(),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        for bad in [
            "",
            "!",
            &cursor("[\"a\"]"),
            &cursor("[\"a\",1]"),
            &cursor("[\"a\",\"\\u0000\"]"),
        ] {
            assert!(position(bad, 2).is_err(), "{bad}");
        }
    }
}
