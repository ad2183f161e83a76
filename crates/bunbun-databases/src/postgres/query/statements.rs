//! Prepared statements of one connection, and the types that they speak of.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use postgres_protocol::message::frontend;

use super::{
    super::{
        error::Error,
        wire::{self, Connection, Described, Reader, Tag},
    },
    classify::{Effects, Names, Text},
    data_type::{Conversion, DataType},
    output, values,
};

/// Most statements that a connection keeps prepared.
const MOST_STATEMENTS: usize = 128;

/// Longer texts are not kept.
const LONGEST_KEPT_BYTES: usize = 16 * 1024;

/// How long a prepared statement is used. The server keeps the types of its parameters for ever:
/// when a column gets another type, values would silently go through the old one.
const BELIEVED: Duration = Duration::from_secs(1);

/// The statements that a connection keeps prepared: the most recently used ones.
#[derive(Default)]
pub(crate) struct Statements {
    by_text: HashMap<Box<str>, Kept>,
    names: u64,
    clock: u64,
    /// Those that were prepared before are out of date.
    believed_from: Option<Instant>,
}

struct Kept {
    statement: Arc<Prepared>,
    used: u64,
    since: Instant,
}

/// A statement that the server has prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its name on its connection.
    pub(crate) name: String,
    pub(crate) parameters: Vec<Arc<DataType>>,
    pub(crate) columns: Vec<Column>,
    /// The columns as an answer describes them.
    pub(crate) fields: Vec<u8>,
    /// What its run may leave behind; more than its text shows where it reads a view, for example.
    pub(crate) effects: Effects,
}

/// A column of an answer.
#[derive(Debug)]
pub(crate) struct Column {
    /// Unique in its row: of several columns `a` the second is `a_2`.
    pub(crate) name: String,
    /// `"name":`, as it stands in a row.
    pub(crate) key: Vec<u8>,
    pub(crate) data_type: Arc<DataType>,
}

impl Statements {
    /// Forgets all, after the server has.
    pub(crate) fn clear(&mut self) {
        self.by_text.clear();
    }

    /// Forgets one, for example because a table that it reads has changed.
    pub(crate) fn forget(&mut self, sql: &str) {
        self.by_text.remove(sql);
    }

    /// Believes nothing that was prepared before: tables may have changed.
    pub(crate) fn believe_from(&mut self, instant: Instant) {
        self.believed_from = Some(instant);
    }

    fn find(&mut self, sql: &str) -> Option<Arc<Prepared>> {
        self.clock += 1;
        let kept = self.by_text.get_mut(sql)?;
        let is_past = self.believed_from.is_some_and(|from| kept.since <= from);
        if is_past || kept.since.elapsed() > BELIEVED {
            return None;
        }
        kept.used = self.clock;
        Some(Arc::clone(&kept.statement))
    }

    fn keep(&mut self, sql: &str, statement: &Arc<Prepared>) {
        let kept = Kept {
            statement: Arc::clone(statement),
            used: self.clock,
            since: Instant::now(),
        };
        self.by_text.insert(sql.into(), kept);
    }

    /// Makes room for this text; the name of the statement that had to go: that of the same text
    /// which is out of date, or the one that was used least recently.
    fn evict(&mut self, sql: &str) -> Option<String> {
        if let Some(past) = self.by_text.remove(sql) {
            return Some(past.statement.name.clone());
        }
        if self.by_text.len() < MOST_STATEMENTS {
            return None;
        }
        let oldest = self
            .by_text
            .iter()
            .min_by_key(|(_, kept)| kept.used)?
            .0
            .clone();
        self.by_text
            .remove(&oldest)
            .map(|kept| kept.statement.name.clone())
    }
}

/// Whether and how a statement came to be prepared.
pub(crate) struct Preparation {
    pub(crate) statement: Arc<Prepared>,
    /// It was prepared earlier: its plan may be stale.
    pub(crate) was_kept: bool,
}

/// Has a statement prepared, one round trip unless it is kept already. Nothing is executed.
pub(crate) async fn prepare(
    connection: &mut Connection,
    sql: &str,
    text: &Text,
) -> Result<Preparation, Error> {
    if let Some(statement) = connection.statements.find(sql) {
        return Ok(Preparation {
            statement,
            was_kept: true,
        });
    }
    // Statements that are planned are worth keeping; others run once and leave with `DISCARD ALL`.
    let keep = text.effects != Effects::Everything && sql.len() <= LONGEST_KEPT_BYTES;
    let evicted = if keep {
        connection.statements.evict(sql)
    } else {
        None
    };
    connection.statements.names += 1;
    let name = format!("bunbun_{}", connection.statements.names);
    let described = describe(connection, &name, sql, evicted).await?;
    let parameters = resolve(connection, &described.parameters).await?;
    let oids: Vec<u32> = described
        .fields
        .iter()
        .map(|field| field.type_oid)
        .collect();
    let types = resolve(connection, &oids).await?;
    let names = described.fields.into_iter().map(|field| field.name);
    let columns = columns(names, types);
    let effects = match text.effects {
        Effects::None if hides_effects(connection, &text.names).await => Effects::Session,
        effects => effects,
    };
    let statement = Arc::new(Prepared {
        name,
        parameters,
        fields: output::fields(&columns),
        columns,
        effects,
    });
    if keep {
        connection.statements.keep(sql, &statement);
    }
    Ok(Preparation {
        statement,
        was_kept: false,
    })
}

/// Whether a name or operator stands for something that may do more than its text shows: a view, a
/// table with policies for us, a domain, or an operator that the user made.
async fn hides_effects(connection: &mut Connection, names: &Names) -> bool {
    if names.words.is_empty() && names.operators.is_empty() {
        return false;
    }
    let sql = format!(
        "select 1 from pg_catalog.pg_class c \
         where c.relname = any(array[{words}]::pg_catalog.name[]) \
           and (c.relkind in ('v', 'f') and {own} c.relnamespace) \
             or c.relrowsecurity and pg_catalog.row_security_active(c.oid)) \
         union all select 1 from pg_catalog.pg_type t \
         where t.typname = any(array[{words}]::pg_catalog.name[]) \
           and t.typtype = 'd' and {own} t.typnamespace) \
         union all select 1 from pg_catalog.pg_operator o \
         where o.oprname = any(array[{operators}]::pg_catalog.name[]) and {own} o.oprnamespace) \
           and not exists(select from pg_catalog.pg_depend d \
             where d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass \
               and d.objid = o.oid and d.deptype = 'e') \
         limit 1",
        words = literals(&names.words),
        operators = literals(&names.operators),
        own = "not exists(select from pg_catalog.pg_namespace n \
               where n.nspname in ('pg_catalog', 'information_schema') and n.oid =",
    );
    // Where it is not known, it is taken for granted.
    simple_rows(connection, &sql, |_| ())
        .await
        .map_or(true, |rows| !rows.is_empty())
}

/// Texts as constants, whatever `standard_conforming_strings` says.
fn literals(texts: &[String]) -> String {
    let escape = |text: &String| {
        let text = text.replace('\\', "\\\\").replace('\'', "''");
        format!("E'{text}'")
    };
    texts.iter().map(escape).collect::<Vec<_>>().join(", ")
}

async fn describe(
    connection: &mut Connection,
    name: &str,
    sql: &str,
    evicted: Option<String>,
) -> Result<Described, Error> {
    let start = connection.outgoing.len();
    let out = &mut connection.outgoing;
    let written = evicted
        .map_or(Ok(()), |evicted| frontend::close(b'S', &evicted, out))
        .and_then(|()| frontend::parse(name, sql, std::iter::empty(), out))
        .and_then(|()| frontend::describe(b'S', name, out));
    if written.is_err() {
        connection.outgoing.truncate(start);
        return Err(Error::invalid("The SQL contains a NUL character."));
    }
    connection.add_sync();
    connection.flush().await?;
    let mut described = Described::default();
    let mut failure = None;
    loop {
        match connection.next().await? {
            Tag::Ready => break,
            Tag::Error => failure = Some(connection.error()),
            Tag::ParameterDescription => {
                described.parameters = wire::parameters(connection.body())?;
            }
            Tag::RowDescription => described.fields = wire::fields(connection.body())?,
            _ => {}
        }
    }
    failure.map_or(Ok(described), |error| Err(error.into()))
}

/// Columns with unique names.
pub(crate) fn columns(
    names: impl Iterator<Item = String>,
    types: Vec<Arc<DataType>>,
) -> Vec<Column> {
    let names: Vec<String> = names.collect();
    let mut columns: Vec<Column> = Vec::with_capacity(names.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (name, data_type) in names.into_iter().zip(types) {
        let count = seen.entry(name.clone()).or_insert(0);
        *count += 1;
        let mut unique = name.clone();
        let mut number = *count;
        while number > 1 && seen.contains_key(&unique) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        if unique != name {
            seen.insert(name, number - 1);
            seen.insert(unique.clone(), 1);
        }
        let mut key = Vec::with_capacity(unique.len() + 3);
        values::write_string(unique.as_bytes(), &mut key);
        key.push(b':');
        columns.push(Column {
            name: unique,
            key,
            data_type,
        });
    }
    columns
}

/// The types of object ids; those that are not built in are read from the catalogue, once.
pub(crate) async fn resolve(
    connection: &mut Connection,
    oids: &[u32],
) -> Result<Vec<Arc<DataType>>, Error> {
    loop {
        let missing: Vec<u32> = oids
            .iter()
            .copied()
            .filter(|oid| known(connection, *oid).is_none())
            .collect();
        if missing.is_empty() {
            break;
        }
        read_types(connection, missing).await?;
    }
    Ok(oids
        .iter()
        .filter_map(|oid| known(connection, *oid))
        .collect())
}

fn known(connection: &Connection, oid: u32) -> Option<Arc<DataType>> {
    DataType::built_in(oid).or_else(|| connection.types.get(&oid).cloned())
}

/// One row of `pg_type`.
struct TypeRow {
    oid: u32,
    name: String,
    kind: String,
    category: String,
    element: u32,
    base: u32,
    delimiter: u8,
}

/// Reads types and all that they are made of.
async fn read_types(connection: &mut Connection, wanted: Vec<u32>) -> Result<(), Error> {
    let mut rows: Vec<TypeRow> = Vec::new();
    let mut unread = wanted;
    while !unread.is_empty() {
        let found = type_rows(connection, &unread).await?;
        for oid in unread {
            if !found.iter().any(|row| row.oid == oid) {
                // Dropped in the meantime, or not readable.
                let unknown = DataType::new("unknown", Conversion::Other);
                connection.types.insert(oid, Arc::new(unknown));
            }
        }
        rows.extend(found);
        unread = rows
            .iter()
            .flat_map(|row| [row.element, row.base])
            .filter(|oid| *oid != 0 && known(connection, *oid).is_none())
            .filter(|oid| !rows.iter().any(|row| row.oid == *oid))
            .collect();
    }
    // What a type is made of was read after it.
    for row in rows.iter().rev() {
        let part = |oid| {
            known(connection, oid)
                .unwrap_or_else(|| Arc::new(DataType::new("unknown", Conversion::Other)))
        };
        let data_type = match (row.kind.as_str(), row.category.as_str()) {
            ("d", _) => part(row.base),
            (_, "A") if row.element != 0 => {
                Arc::new(DataType::array_of(part(row.element), row.delimiter))
            }
            ("e", _) | (_, "S") => Arc::new(DataType::new(&row.name, Conversion::Text)),
            _ => Arc::new(DataType::new(&row.name, Conversion::Other)),
        };
        connection.types.insert(row.oid, data_type);
    }
    Ok(())
}

async fn type_rows(connection: &mut Connection, oids: &[u32]) -> Result<Vec<TypeRow>, Error> {
    let list = oids
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "select t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype, \
         coalesce(e.typdelim, ',') from pg_catalog.pg_type t \
         left join pg_catalog.pg_type e on e.oid = t.typelem where t.oid in ({list})"
    );
    simple_rows(connection, &sql, |mut reader| {
        let mut text = || {
            let value = reader.value().flatten().unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        TypeRow {
            oid: text().parse().unwrap_or(0),
            name: text(),
            kind: text(),
            category: text(),
            element: text().parse().unwrap_or(0),
            base: text().parse().unwrap_or(0),
            delimiter: text().bytes().next().unwrap_or(b','),
        }
    })
    .await
}

/// Runs a statement of ours; `read` gets each row at its first value.
async fn simple_rows<T>(
    connection: &mut Connection,
    sql: &str,
    read: impl Fn(Reader<'_>) -> T,
) -> Result<Vec<T>, Error> {
    connection.add_simple_query(sql)?;
    connection.flush().await?;
    let mut rows = Vec::new();
    let mut failure = None;
    loop {
        match connection.next().await? {
            Tag::Ready => break,
            Tag::Error => failure = Some(connection.error()),
            Tag::DataRow => {
                let mut reader = Reader(connection.body());
                reader.u16();
                rows.push(read(reader));
            }
            _ => {}
        }
    }
    failure.map_or(Ok(rows), |error| Err(Error::internal(error)))
}

#[cfg(test)]
mod tests {
    use super::{super::data_type::DataType, columns};

    #[test]
    fn names_of_columns_are_made_unique() {
        let unique = |names: &[&str]| -> Vec<String> {
            let types = names
                .iter()
                .filter_map(|_| DataType::built_in(25))
                .collect();
            columns(names.iter().map(|name| (*name).to_owned()), types)
                .into_iter()
                .map(|column| column.name)
                .collect()
        };
        assert_eq!(unique(&["a", "b"]), ["a", "b"]);
        assert_eq!(unique(&["a", "a", "a"]), ["a", "a_2", "a_3"]);
        assert_eq!(unique(&["a_2", "a", "a"]), ["a_2", "a", "a_3"]);
        assert_eq!(unique(&["a", "a", "a_2"]), ["a", "a_2", "a_2_2"]);
    }
}
