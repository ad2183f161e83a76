//! Reads `pg_catalog` in sets, not table by table, and puts the sets together.
//!
//! The statements go out together and are answered together; a transaction gives them one snapshot.

use std::collections::HashMap;

use tokio_postgres::{
    Client, Row,
    error::SqlState,
    types::{FromSql, Type},
};

use super::{Column, ForeignKey, Identity, Index, Kind, Reference, Table};
use crate::postgres::Error;

/// `public` in the path: its types and functions come without a schema in expressions.
const BEGIN: &str = "\
    begin isolation level repeatable read read only; \
    set local search_path = pg_catalog, public; \
    set local lock_timeout = '3s'; set local statement_timeout = '30s'";

/// `$1` is a schema or null.
const SCHEMA_EXISTS: &str = "\
    select $1::text is null or exists(select from pg_catalog.pg_namespace where nspname = $1)";

macro_rules! wanted {
    () => {
        "(n.nspname = $1 or $1::text is null \
          and n.nspname !~ '^pg_' and n.nspname <> 'information_schema')"
    };
}

/// Relations that another session holds or awaits for itself alone. The functions that tell sizes
/// and expressions would wait in the queue for them.
macro_rules! locked {
    () => {
        "(select distinct l.relation from pg_catalog.pg_locks l \
          where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' \
            and l.database = (select oid from pg_catalog.pg_database \
                              where datname = pg_catalog.current_database()))"
    };
}

/// Before the first `analyze`, `reltuples` is -1 and the activity counters know more.
const TABLES: &str = concat!(
    "select c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
            case when c.relkind = 'v' then null \
                 when c.reltuples >= 0 then c.reltuples::int8 \
                 when c.relkind = 'r' then pg_catalog.pg_stat_get_live_tuples(c.oid) end, \
            case when c.relkind in ('r', 'm', 'p') and l.relation is null \
                 then pg_catalog.pg_table_size(c.oid) end, \
            c.relrowsecurity, d.description, l.relation is not null \
     from pg_catalog.pg_class c \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     left join pg_catalog.pg_description d \
            on d.objoid = c.oid and d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           and d.objsubid = 0 \
     left join ",
    locked!(),
    " l on l.relation = c.oid \
     where c.relkind in ('r', 'v', 'm', 'f', 'p') and ",
    wanted!(),
    " order by n.nspname, c.relname"
);

const COLUMNS: &str = concat!(
    "select a.attrelid, a.attnum, a.attname::text, \
            pg_catalog.format_type(a.atttypid, a.atttypmod), \
            not (a.attnotnull or t.typtype = 'd' and t.typnotnull), \
            case when l.relation is null then pg_catalog.pg_get_expr(v.adbin, v.adrelid) end, \
            a.attidentity::text, \
            a.attgenerated <> '', d.description, e.labels \
     from pg_catalog.pg_attribute a \
     join pg_catalog.pg_class c on c.oid = a.attrelid \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     join pg_catalog.pg_type t on t.oid = a.atttypid \
     left join pg_catalog.pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum \
     left join pg_catalog.pg_description d \
            on d.objoid = c.oid and d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           and d.objsubid = a.attnum \
     left join (select enumtypid, \
                       pg_catalog.array_agg(enumlabel::text order by enumsortorder) as labels \
                from pg_catalog.pg_enum group by enumtypid) e \
            on e.enumtypid = case when t.typtype = 'd' then t.typbasetype \
                                  when t.typcategory = 'A' then t.typelem else t.oid end \
     left join ",
    locked!(),
    " l on l.relation = c.oid \
     where c.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped and ",
    wanted!(),
    " order by a.attrelid, a.attnum"
);

const INDEXES: &str = concat!(
    "select x.indrelid, i.relname::text, (x.indkey::int2[])[0:x.indnkeyatts - 1], \
            x.indexprs is null, \
            case when x.indexprs is not null and l.relation is null then array( \
              select pg_catalog.pg_get_indexdef(x.indexrelid, k, true) \
              from pg_catalog.generate_series(1, x.indnkeyatts) k order by k) end, \
            x.indisunique, x.indisprimary, m.amname::text, \
            case when l.relation is null then pg_catalog.pg_get_indexdef(x.indexrelid) end, \
            x.indisvalid, \
            case when coalesce(l.relation, h.relation) is null \
                 then pg_catalog.pg_relation_size(x.indexrelid) end \
     from pg_catalog.pg_index x \
     join pg_catalog.pg_class i on i.oid = x.indexrelid \
     join pg_catalog.pg_am m on m.oid = i.relam \
     join pg_catalog.pg_class c on c.oid = x.indrelid \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     left join ",
    locked!(),
    " l on l.relation = x.indrelid left join ",
    locked!(),
    " h on h.relation = x.indexrelid \
     where c.relkind in ('r', 'm', 'p') and ",
    wanted!(),
    " order by x.indrelid, i.relname"
);

/// A key that references a partitioned table has a row more for each of its partitions: those
/// whose parent constraint is on the same table.
const FOREIGN_KEYS: &str = concat!(
    "select k.conrelid, k.conname::text, k.conkey, o.nspname::text, f.relname::text, \
            array(select a.attname::text \
                  from pg_catalog.unnest(k.confkey) with ordinality u(number, place) \
                  join pg_catalog.pg_attribute a \
                    on a.attrelid = k.confrelid and a.attnum = u.number \
                  order by u.place), \
            k.confupdtype::text, k.confdeltype::text \
     from pg_catalog.pg_constraint k \
     join pg_catalog.pg_class c on c.oid = k.conrelid \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     join pg_catalog.pg_class f on f.oid = k.confrelid \
     join pg_catalog.pg_namespace o on o.oid = f.relnamespace \
     where k.contype = 'f' \
       and not exists(select from pg_catalog.pg_constraint p \
                      where p.oid = k.conparentid and p.conrelid = k.conrelid) and ",
    wanted!(),
    " order by k.conrelid, k.conname"
);

/// The tables; `None` when there is no such schema.
pub(super) async fn catalogue(
    client: &Client,
    schema: Option<&str>,
) -> Result<Option<Vec<Table>>, Error> {
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
        [(&schema, Type::TEXT)];
    // Each is sent when it is first polled, in this order, before the first answer is awaited.
    let (begun, exists, tables, columns, indexes, foreign_keys, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_typed(SCHEMA_EXISTS, &parameters),
        client.query_typed(TABLES, &parameters),
        client.query_typed(COLUMNS, &parameters),
        client.query_typed(INDEXES, &parameters),
        client.query_typed(FOREIGN_KEYS, &parameters),
        client.batch_execute("commit"),
    );
    begun.map_err(failed)?;
    let exists = exists.map_err(failed)?;
    let tables = tables.map_err(failed)?;
    let columns = columns.map_err(failed)?;
    let indexes = indexes.map_err(failed)?;
    let foreign_keys = foreign_keys.map_err(failed)?;
    ended.map_err(failed)?;
    if !exists
        .first()
        .map(|row| get(row, 0))
        .transpose()?
        .unwrap_or(false)
    {
        return Ok(None);
    }
    let mut parts = Parts {
        columns: grouped(&columns, column)?,
        indexes: HashMap::new(),
        foreign_keys: HashMap::new(),
    };
    parts.indexes = grouped(&indexes, |row| parts.index(row))?;
    parts.foreign_keys = grouped(&foreign_keys, |row| parts.foreign_key(row))?;
    tables
        .iter()
        .map(|row| parts.table(row))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Somebody else's lock is no fault of ours and passes.
fn failed(error: tokio_postgres::Error) -> Error {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        Error::unavailable(error)
    } else {
        Error::from_own_statement(error)
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(Error::from_own_statement)
}

/// Rows by the table's object id, which is their first column.
fn grouped<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, Error>,
) -> Result<HashMap<u32, Vec<T>>, Error> {
    let mut groups: HashMap<u32, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(get(row, 0)?).or_default().push(read(row)?);
    }
    Ok(groups)
}

/// What belongs to tables, by their object ids.
struct Parts {
    columns: HashMap<u32, Vec<Column>>,
    indexes: HashMap<u32, Vec<(Index, Vec<String>)>>,
    foreign_keys: HashMap<u32, Vec<ForeignKey>>,
}

fn column(row: &Row) -> Result<Column, Error> {
    let expression: Option<String> = get(row, 5)?;
    let identity: &str = get(row, 6)?;
    let (default, generated) = if get(row, 7)? {
        (None, expression)
    } else {
        (expression, None)
    };
    Ok(Column {
        name: get(row, 2)?,
        data_type: get(row, 3)?,
        nullable: get(row, 4)?,
        default,
        identity: match identity {
            "a" => Some(Identity::Always),
            "d" => Some(Identity::ByDefault),
            _ => None,
        },
        generated,
        comment: get(row, 8)?,
        enum_values: get(row, 9)?,
        position: get(row, 1)?,
    })
}

impl Parts {
    fn table(&mut self, row: &Row) -> Result<Table, Error> {
        let oid: u32 = get(row, 0)?;
        let own_bytes: Option<i64> = get(row, 5)?;
        let indexes = self.indexes.remove(&oid).unwrap_or_default();
        let mut bytes = own_bytes;
        let mut primary_key = Vec::new();
        let mut kept = Vec::with_capacity(indexes.len());
        for (index, key) in indexes {
            bytes = bytes.zip(index.bytes).map(|(sum, more)| sum + more);
            if index.primary {
                primary_key = key;
            }
            kept.push(index);
        }
        Ok(Table {
            schema: get(row, 1)?,
            name: get(row, 2)?,
            kind: match get(row, 3)? {
                "v" => Kind::View,
                "m" => Kind::MaterializedView,
                "f" => Kind::ForeignTable,
                "p" => Kind::PartitionedTable,
                _ => Kind::Table,
            },
            rows_estimate: get(row, 4)?,
            bytes,
            rls_enabled: get(row, 6)?,
            columns: self.columns.remove(&oid).unwrap_or_default(),
            primary_key,
            foreign_keys: self.foreign_keys.remove(&oid).unwrap_or_default(),
            indexes: kept,
            comment: get(row, 7)?,
            locked: get(row, 8)?,
        })
    }

    /// An index, and the names of its key columns.
    fn index(&self, row: &Row) -> Result<(Index, Vec<String>), Error> {
        let key = self.names(get(row, 0)?, &get::<Vec<i16>>(row, 2)?);
        let only_columns: bool = get(row, 3)?;
        let index = Index {
            name: get(row, 1)?,
            columns: only_columns.then(|| key.clone()),
            expressions: get(row, 4)?,
            unique: get(row, 5)?,
            primary: get(row, 6)?,
            method: get(row, 7)?,
            definition: get(row, 8)?,
            valid: get(row, 9)?,
            bytes: get(row, 10)?,
        };
        Ok((index, key))
    }

    fn foreign_key(&self, row: &Row) -> Result<ForeignKey, Error> {
        Ok(ForeignKey {
            name: get(row, 1)?,
            columns: self.names(get(row, 0)?, &get::<Vec<i16>>(row, 2)?),
            references: Reference {
                schema: get(row, 3)?,
                table: get(row, 4)?,
                columns: get(row, 5)?,
            },
            on_update: action(get(row, 6)?),
            on_delete: action(get(row, 7)?),
        })
    }

    /// The names of a table's columns with these numbers.
    fn names(&self, table: u32, numbers: &[i16]) -> Vec<String> {
        let columns = self.columns.get(&table).map_or(&[][..], Vec::as_slice);
        numbers
            .iter()
            .filter_map(|number| {
                // The columns are in the order of their numbers.
                let at = columns
                    .binary_search_by_key(number, |column| column.position)
                    .ok()?;
                columns.get(at).map(|column| column.name.clone())
            })
            .collect()
    }
}

/// The words of SQL for `pg_constraint`'s letters.
fn action(letter: &str) -> &'static str {
    match letter {
        "r" => "RESTRICT",
        "c" => "CASCADE",
        "n" => "SET NULL",
        "d" => "SET DEFAULT",
        _ => "NO ACTION",
    }
}
