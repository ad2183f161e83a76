//! What has to be known of a table before a statement about its rows can be written.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio_postgres::types::{ToSql, Type};

use super::super::{
    catalog::{self, BEGIN, failed},
    database::in_time,
    error::Error,
    pool::Pool,
};
use super::statement::{ROW, Statement};

/// How long a shape is believed. One that is stale shows itself in PostgreSQL's refusal.
const BELIEVED: Duration = Duration::from_secs(60);

/// Most shapes that are kept.
const MOST_SHAPES: usize = 512;

/// A table's name. It is quoted wherever it is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its own name.
    pub name: String,
}

/// What has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "r")]
    Table,
    #[serde(rename = "p")]
    Partitioned,
    #[serde(rename = "v")]
    View,
    #[serde(rename = "m")]
    MaterializedView,
    #[serde(rename = "f")]
    Foreign,
}

/// A column.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) not_null: bool,
    /// PostgreSQL takes its values for texts.
    pub(super) is_text: bool,
    /// Its type, where a value does not come back as it was when it goes through JSON: a JSON
    /// `null` is not SQL's, composite values have no form there, and names of PostgreSQL's things
    /// are compared as numbers.
    pub(super) text_type: Option<String>,
}

/// A table as far as its rows are concerned.
#[derive(Debug, Deserialize)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) columns: Vec<Column>,
    /// Names of the key's columns, in its order; empty without a key.
    pub(super) key: Vec<String>,
    pub(super) rows_estimate: Option<i64>,
}

const SHAPE: &str = "\
    select json_build_object( \
      'kind', c.relkind, \
      'rows_estimate', case when c.reltuples >= 0 then c.reltuples::int8 end, \
      'columns', coalesce((select json_agg(json_build_object( \
           'name', a.attname, 'not_null', a.attnotnull, 'is_text', t.typcategory = 'S', \
           'text_type', case when t.typtype = 'c' or t.oid = 'jsonb'::regtype \
                                  or t.typname like 'reg%' and t.typnamespace = 'pg_catalog'::regnamespace \
                             then format_type(a.atttypid, a.atttypmod) end) \
           order by a.attnum) \
         from pg_attribute a join pg_type t on t.oid = a.atttypid \
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'), \
      'key', coalesce((select json_agg(a.attname order by k.place) \
         from (select x.indkey, x.indnkeyatts from pg_index x \
               where x.indrelid = c.oid and x.indisunique and x.indisvalid \
                 and (x.indimmediate or x.indisprimary) \
                 and x.indpred is null and x.indexprs is null \
                 and not exists(select from unnest(x.indkey::int2[]) with ordinality u(number, place) \
                                join pg_attribute a on a.attrelid = c.oid and a.attnum = u.number \
                                where u.place <= x.indnkeyatts and not a.attnotnull) \
               order by x.indisprimary desc, x.indnkeyatts, x.indexrelid limit 1) x, \
              unnest(x.indkey::int2[]) with ordinality k(number, place), pg_attribute a \
         where a.attrelid = c.oid and a.attnum = k.number and k.place <= x.indnkeyatts), '[]') \
    )::text \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')";

impl Shape {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The type of a column whose values go as texts.
    pub(super) fn text_type(&self, name: &str) -> Option<&str> {
        self.column(name)?.text_type.as_deref()
    }

    /// Writes the table as the place where its own rows are: without those of tables that inherit from
    /// it, for which its key does not hold.
    pub(super) fn write_table(&self, table: &TableName, out: &mut Statement) {
        if self.kind == Kind::Table {
            out.push("only ");
        }
        out.table(table);
        out.push(" as ");
        out.push(ROW);
    }

    /// Whether its rows have `xmin`.
    pub(super) const fn has_versions(&self) -> bool {
        matches!(
            self.kind,
            Kind::Table | Kind::Partitioned | Kind::MaterializedView
        )
    }

    async fn load(pool: &Pool, table: &TableName) -> Result<Self, Error> {
        let not_found = || Error::TableNotFound {
            schema: table.schema.clone(),
            table: table.name.clone(),
        };
        if table.schema.contains('\0') || table.name.contains('\0') {
            return Err(not_found());
        }
        let client = pool.get().await?;
        let names: [(&(dyn ToSql + Sync), Type); 2] =
            [(&table.schema, Type::TEXT), (&table.name, Type::TEXT)];
        let (begun, rows, ended) = tokio::join!(
            biased;
            client.batch_execute(BEGIN),
            client.query_typed(SHAPE, &names),
            client.batch_execute("commit"),
        );
        begun.map_err(failed)?;
        let rows = rows.map_err(failed)?;
        ended.map_err(failed)?;
        let row = rows.first().ok_or_else(not_found)?;
        let json: String = catalog::get(row, 0)?;
        serde_json::from_str(&json).map_err(Error::internal)
    }
}

/// The shapes of one database's tables that were asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<HashMap<TableName, (Instant, Arc<Shape>)>>);

impl Shapes {
    /// The shape of a table, and whether it is one that was kept.
    pub(super) async fn of(
        &self,
        pool: &Pool,
        table: &TableName,
    ) -> Result<(Arc<Shape>, bool), Error> {
        let known = self.0.lock().get(table).cloned();
        if let Some((at, shape)) = known
            && at.elapsed() < BELIEVED
        {
            return Ok((shape, true));
        }
        let shape = Arc::new(in_time(Shape::load(pool, table)).await?);
        let mut shapes = self.0.lock();
        if shapes.len() >= MOST_SHAPES {
            shapes.clear();
        }
        shapes.insert(table.clone(), (Instant::now(), Arc::clone(&shape)));
        Ok((shape, false))
    }

    /// Forgets all: a statement of a caller may have changed any table.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}
