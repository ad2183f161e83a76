//! The history of migrations in the database: `supabase_migrations.schema_migrations`.
//!
//! The Supabase CLI makes the table with `version`, `statements` and `name`, reads and writes it by
//! these names, and removes rows (`migration repair`). What we know beyond that stands in further
//! nullable columns of the same row, so that a fact can never outlive or miss its migration; the
//! hosted platform keeps its own further columns (`idempotency_key` among them) there in the same
//! way. A row without them is one that the CLI wrote; its checksum is computed.
//!
//! An unfinished (dirty) migration must *not* stand there, for the CLI takes every row as applied.
//! It stands in `supabase_migrations.bunbun_unfinished`, from which it moves in one transaction.

use std::collections::HashSet;

use time::OffsetDateTime;
use tokio_postgres::{Client, Row, types::Type};

use super::{Migration, UnfinishedMigration, checksum, error::Error};

/// Taken by whoever changes the history. PostgreSQL keys advisory locks by database on its own.
/// The number is "bunbun" in ASCII and a zero.
pub(super) const LOCK: i64 = 0x6275_6e62_756e_0000;

/// Puts the session's settings out of the way of statements of ours, until the transaction ends.
const OWN_SETTINGS: &str = "\
    set local session authorization default; set local role none; \
    set local search_path = pg_catalog; set local statement_timeout = '30s'";

/// The columns beyond the CLI's three, with their types.
const OWN_COLUMNS: [(&str, &str); 5] = [
    ("idempotency_key", "text"),
    ("checksum", "text"),
    ("applied_at", "timestamp with time zone"),
    ("duration_ms", "bigint"),
    ("transactional", "boolean"),
];

/// What exists of the tables.
#[derive(Debug, Default)]
pub(super) struct Shape {
    schema: bool,
    columns: HashSet<String>,
    unfinished: bool,
}

/// A row of the history, with what tells requests apart.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) migration: Migration,
    pub(super) transactional: Option<bool>,
}

/// A row of `bunbun_unfinished`, with what tells requests apart.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) migration: UnfinishedMigration,
    pub(super) idempotency_key: Option<String>,
}

/// What a finished migration leaves behind.
#[derive(Debug)]
pub(super) struct Finished<'a> {
    pub(super) name: &'a str,
    pub(super) statements: Vec<&'a str>,
    pub(super) checksum: &'a str,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) duration_ms: i64,
    pub(super) transactional: bool,
}

impl Shape {
    /// Looks without changing anything.
    pub(super) async fn load(client: &Client) -> Result<Self, Error> {
        let sql = "\
            select n.oid is not null, \
                   array(select a.attname::text from pg_catalog.pg_attribute a \
                         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), \
                   exists(select from pg_catalog.pg_class u \
                          where u.relnamespace = n.oid and u.relname = 'bunbun_unfinished') \
            from (select 1) as one \
            left join pg_catalog.pg_namespace n on n.nspname = 'supabase_migrations' \
            left join pg_catalog.pg_class c \
                   on c.relnamespace = n.oid and c.relname = 'schema_migrations'";
        let row = query_one(client, sql).await?;
        let columns: Vec<String> = get(&row, 1)?;
        Ok(Self {
            schema: get(&row, 0)?,
            columns: columns.into_iter().collect(),
            unfinished: get(&row, 2)?,
        })
    }

    /// Whether nothing is missing.
    pub(super) fn is_complete(&self) -> bool {
        let own = OWN_COLUMNS.iter().map(|(name, _)| *name);
        let mut wanted = ["version", "statements", "name"].into_iter().chain(own);
        self.unfinished && wanted.all(|name| self.columns.contains(name))
    }

    /// Whether there is a history at all.
    pub(super) fn exists(&self) -> bool {
        self.columns.contains("version")
    }

    /// The expression for a column that may be missing.
    fn column(&self, name: &str, kind: &str) -> String {
        if self.columns.contains(name) {
            format!("m.{name}")
        } else {
            format!("null::pg_catalog.{kind}")
        }
    }

    fn select(&self, statements: &str) -> String {
        format!(
            "select m.version, coalesce({name}, ''), {checksum}, {applied_at}, {duration_ms}, \
                    {transactional}, {statements} \
             from supabase_migrations.schema_migrations m",
            name = self.column("name", "text"),
            checksum = self.column("checksum", "text"),
            applied_at = self.column("applied_at", "timestamptz"),
            duration_ms = self.column("duration_ms", "int8"),
            transactional = self.column("transactional", "bool"),
        )
    }

    /// Every applied migration, newest first.
    pub(super) async fn list(&self, client: &Client) -> Result<Vec<Migration>, Error> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        // The statements are large and needed only where the checksum must be computed.
        let statements = format!(
            "case when {} is null then {} end",
            self.column("checksum", "text"),
            self.column("statements", "text[]")
        );
        let sql = format!(
            "{} order by m.version collate \"C\" desc",
            self.select(&statements)
        );
        let rows = client
            .query_typed(&sql, &[])
            .await
            .map_err(Error::from_history)?;
        rows.iter()
            .map(|row| Ok(recorded(row)?.migration))
            .collect()
    }

    /// The rows of one name, oldest first. Their checksums are computed anew, since
    /// `supabase migration repair` replaces statements and knows of no checksum.
    pub(super) async fn by_name(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<Vec<Recorded>, Error> {
        if !self.columns.contains("name") {
            return Ok(Vec::new());
        }
        let sql = format!(
            "{} where m.name = $1 order by m.version collate \"C\"",
            self.select(&self.column("statements", "text[]"))
        );
        let rows = client
            .query_typed(&sql, &[(&name, Type::TEXT)])
            .await
            .map_err(Error::from_history)?;
        rows.iter().map(recorded).collect()
    }

    /// The row that a request with this idempotency key made.
    pub(super) async fn by_key(
        &self,
        client: &Client,
        idempotency_key: &str,
    ) -> Result<Option<Recorded>, Error> {
        if !self.columns.contains("idempotency_key") {
            return Ok(None);
        }
        let sql = format!(
            "{} where m.idempotency_key = $1",
            self.select(&self.column("statements", "text[]"))
        );
        let rows = client
            .query_typed(&sql, &[(&idempotency_key, Type::TEXT)])
            .await
            .map_err(Error::from_history)?;
        rows.first().map(recorded).transpose()
    }

    /// The migration that stopped half-way, if one did.
    pub(super) async fn unfinished(&self, client: &Client) -> Result<Option<Unfinished>, Error> {
        if !self.unfinished {
            return Ok(None);
        }
        let sql = "\
            select name, checksum, started_at, statement_number, reason, idempotency_key \
            from supabase_migrations.bunbun_unfinished order by started_at limit 1";
        let rows = client
            .query_typed(sql, &[])
            .await
            .map_err(Error::from_history)?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let statement_number: i32 = get(row, 3)?;
        Ok(Some(Unfinished {
            migration: UnfinishedMigration {
                name: get(row, 0)?,
                checksum: get(row, 1)?,
                started_at: get(row, 2)?,
                statement_number: usize::try_from(statement_number).unwrap_or(0),
                reason: get(row, 4)?,
            },
            idempotency_key: get(row, 5)?,
        }))
    }

    /// Makes what is missing, inside the caller's transaction and under the lock. Each part only
    /// when it is missing: `if not exists` would still need the privilege, or take the lock.
    pub(super) async fn create(&self, client: &Client) -> Result<(), Error> {
        let mut sql = String::new();
        if !self.schema {
            sql.push_str("create schema supabase_migrations;");
        }
        if !self.exists() {
            sql.push_str(
                "create table supabase_migrations.schema_migrations \
                 (version text not null primary key);",
            );
        }
        for (name, kind) in [("statements", "text[]"), ("name", "text")]
            .into_iter()
            .chain(OWN_COLUMNS)
            .filter(|(name, _)| !self.columns.contains(*name))
        {
            sql.push_str(&format!(
                "alter table supabase_migrations.schema_migrations add column {name} {kind};"
            ));
        }
        if !self.columns.contains("idempotency_key") {
            sql.push_str(
                "create unique index schema_migrations_idempotency_key_key \
                 on supabase_migrations.schema_migrations (idempotency_key);",
            );
        }
        if !self.unfinished {
            sql.push_str(
                "create table supabase_migrations.bunbun_unfinished (\
                   name text not null primary key, \
                   checksum text not null, \
                   idempotency_key text, \
                   started_at timestamp with time zone not null default pg_catalog.now(), \
                   statement_number integer not null, \
                   reason text);",
            );
        }
        client
            .batch_execute(&sql)
            .await
            .map_err(Error::from_history)
    }
}

/// Writes the row of a finished migration, inside the caller's transaction and under the lock.
/// `OWN_SETTINGS` hold for the rest of the transaction.
pub(super) async fn record(client: &Client, finished: &Finished<'_>) -> Result<Migration, Error> {
    client
        .batch_execute(OWN_SETTINGS)
        .await
        .map_err(Error::from_history)?;
    let row = query_one(
        client,
        "select pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', \
                'YYYYMMDDHH24MISS'), max(version collate \"C\") \
         from supabase_migrations.schema_migrations \
         where version ~ '^[0-9]{14}$' and version collate \"C\" < '9999'",
    )
    .await?;
    let newest: Option<String> = get(&row, 1)?;
    let version = super::version::next(&get::<String>(&row, 0)?, newest.as_deref());
    let sql = "\
        insert into supabase_migrations.schema_migrations \
          (version, name, statements, checksum, idempotency_key, duration_ms, transactional, \
           applied_at) \
        values ($1, $2, $3, $4, $5, $6, $7, pg_catalog.clock_timestamp()) \
        returning applied_at";
    let rows = client
        .query_typed(
            sql,
            &[
                (&version, Type::TEXT),
                (&finished.name, Type::TEXT),
                (&finished.statements, Type::TEXT_ARRAY),
                (&finished.checksum, Type::TEXT),
                (&finished.idempotency_key, Type::TEXT),
                (&finished.duration_ms, Type::INT8),
                (&finished.transactional, Type::BOOL),
            ],
        )
        .await
        .map_err(Error::from_history)?;
    let applied_at = rows.first().map(|row| get(row, 0)).transpose()?;
    Ok(Migration {
        version,
        name: finished.name.to_owned(),
        checksum: finished.checksum.to_owned(),
        applied_at,
        duration_ms: Some(finished.duration_ms),
    })
}

/// Marks a non-transactional migration as begun.
pub(super) async fn mark(
    client: &Client,
    name: &str,
    checksum: &str,
    idempotency_key: Option<&str>,
) -> Result<(), Error> {
    let sql = "\
        insert into supabase_migrations.bunbun_unfinished as u \
          (name, checksum, idempotency_key, statement_number) values ($1, $2, $3, 1) \
        on conflict (name) do update set checksum = excluded.checksum, \
          idempotency_key = excluded.idempotency_key, started_at = pg_catalog.now(), \
          statement_number = 1, reason = null";
    client
        .execute_typed(
            sql,
            &[
                (&name, Type::TEXT),
                (&checksum, Type::TEXT),
                (&idempotency_key, Type::TEXT),
            ],
        )
        .await
        .map_err(Error::from_history)?;
    Ok(())
}

/// Notes how far the marked migration has come, and why it stopped there.
pub(super) async fn note(
    client: &Client,
    name: &str,
    statement_number: usize,
    reason: Option<&str>,
) -> Result<(), Error> {
    let number = i32::try_from(statement_number).unwrap_or(i32::MAX);
    begin_own(client).await?;
    client
        .execute_typed(
            "update supabase_migrations.bunbun_unfinished \
             set statement_number = $2, reason = $3 where name = $1",
            &[
                (&name, Type::TEXT),
                (&number, Type::INT4),
                (&reason, Type::TEXT),
            ],
        )
        .await
        .map_err(Error::from_history)?;
    client
        .batch_execute("commit")
        .await
        .map_err(Error::from_history)
}

/// Moves the marked migration into the history.
pub(super) async fn finish_marked(
    client: &Client,
    finished: &Finished<'_>,
) -> Result<Migration, Error> {
    begin_own(client).await?;
    client
        .execute_typed(
            "delete from supabase_migrations.bunbun_unfinished where name = $1",
            &[(&finished.name, Type::TEXT)],
        )
        .await
        .map_err(Error::from_history)?;
    let migration = record(client, finished).await?;
    client
        .batch_execute("commit")
        .await
        .map_err(Error::from_history)?;
    Ok(migration)
}

async fn begin_own(client: &Client) -> Result<(), Error> {
    let sql = format!("begin; {OWN_SETTINGS}");
    client
        .batch_execute(&sql)
        .await
        .map_err(Error::from_history)
}

fn recorded(row: &Row) -> Result<Recorded, Error> {
    let stored: Option<String> = get(row, 2)?;
    let statements: Option<Vec<String>> = get(row, 6)?;
    let computed = statements.map(|statements| checksum::of_row(&statements));
    let applied_at: Option<OffsetDateTime> = get(row, 3)?;
    Ok(Recorded {
        migration: Migration {
            version: get(row, 0)?,
            name: get(row, 1)?,
            checksum: computed.or(stored).unwrap_or_default(),
            applied_at,
            duration_ms: get(row, 4)?,
        },
        transactional: get(row, 5)?,
    })
}

async fn query_one(client: &Client, sql: &str) -> Result<Row, Error> {
    client
        .query_typed_one(sql, &[])
        .await
        .map_err(Error::from_history)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Error> {
    row.try_get(index).map_err(Error::from_history)
}
