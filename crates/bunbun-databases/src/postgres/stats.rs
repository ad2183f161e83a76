//! What a database tells of itself: `GET …/stats`.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::types::Type;

use super::{
    catalog::{BEGIN, LOCKED, failed, get, json},
    error::Error,
    pool::{Client, Pool},
};

/// Most tables, indexes and statements that are told.
const MOST: i64 = 50;

/// Sizes and counters since the last reset.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// The database as a whole.
    pub database: Box<RawValue>,
    /// The largest tables.
    pub tables: Box<RawValue>,
    /// The largest indexes that no query has used, unique ones left out.
    pub unused_indexes: Box<RawValue>,
    /// The statements that took the most time; `None` without `pg_stat_statements`.
    pub statements: Option<Box<RawValue>>,
    /// Why there are none.
    pub statements_missing: Option<&'static str>,
}

const DATABASE: &str = "\
    select row_to_json(x)::text from ( \
      select d.datname as name, pg_database_size(d.datid) as bytes, d.numbackends as connections, \
             current_setting('max_connections')::int as max_connections, \
             d.blks_hit as blocks_hit, d.blks_read as blocks_read, \
             round(d.blks_hit::numeric / nullif(d.blks_hit + d.blks_read, 0), 4)::float8 \
               as cache_hit_ratio, \
             d.xact_commit as commits, d.xact_rollback as rollbacks, \
             d.tup_returned as rows_returned, d.tup_fetched as rows_fetched, \
             d.tup_inserted as rows_inserted, d.tup_updated as rows_updated, \
             d.tup_deleted as rows_deleted, d.deadlocks, d.conflicts, \
             d.temp_files, d.temp_bytes, d.stats_reset as counted_since, \
             pg_postmaster_start_time() as server_started_at \
      from pg_stat_database d where d.datname = current_database()) x";

const TABLES: &str = "\
    select coalesce(json_agg(row_to_json(x) order by x.bytes desc nulls last, x.schema, x.name), \
                    '[]')::text from ( \
      select s.schemaname as schema, s.relname as name, \
             case when l.relation is null then pg_total_relation_size(s.relid) end as bytes, \
             s.n_live_tup as live_rows, s.n_dead_tup as dead_rows, \
             round(s.n_dead_tup::numeric / nullif(s.n_live_tup + s.n_dead_tup, 0), 4)::float8 \
               as dead_ratio, \
             s.seq_scan as sequential_scans, s.idx_scan as index_scans, \
             round((i.heap_blks_hit + coalesce(i.idx_blks_hit, 0))::numeric \
                   / nullif(i.heap_blks_hit + coalesce(i.idx_blks_hit, 0) \
                            + i.heap_blks_read + coalesce(i.idx_blks_read, 0), 0), 4)::float8 \
               as cache_hit_ratio, \
             greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at, \
             greatest(s.last_analyze, s.last_autoanalyze) as analyzed_at \
      from pg_stat_user_tables s join pg_statio_user_tables i on i.relid = s.relid \
      left join {locked} l on l.relation = s.relid \
      order by 3 desc nulls last limit $1) x";

const UNUSED_INDEXES: &str = "\
    select coalesce(json_agg(row_to_json(x) order by x.bytes desc nulls last, x.schema, x.name), \
                    '[]')::text from ( \
      select s.schemaname as schema, s.relname as \"table\", s.indexrelname as name, \
             case when l.relation is null then pg_relation_size(s.indexrelid) end as bytes \
      from pg_stat_user_indexes s join pg_index i on i.indexrelid = s.indexrelid \
      left join {locked} l on l.relation = s.indexrelid \
      where s.idx_scan = 0 and not i.indisunique \
      order by 4 desc nulls last limit $1) x";

/// Where the extension lies; it need not be on anybody's path.
const EXTENSION: &str = "\
    select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace \
    where e.extname = 'pg_stat_statements'";

/// `total_exec_time` since version 1.8 of the extension, PostgreSQL 13.
const STATEMENTS: &str = "\
    select coalesce(json_agg(row_to_json(x) order by x.total_ms desc), '[]')::text from ( \
      select left(s.query, 4096) as query, s.calls, \
             round(s.total_exec_time::numeric, 3)::float8 as total_ms, \
             round(s.mean_exec_time::numeric, 3)::float8 as mean_ms, \
             round(s.max_exec_time::numeric, 3)::float8 as max_ms, s.rows, \
             round(s.shared_blks_hit::numeric \
                   / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 4)::float8 \
               as cache_hit_ratio \
      from {schema}.pg_stat_statements s \
      where s.dbid = (select oid from pg_database where datname = current_database()) \
      order by s.total_exec_time desc limit $1) x";

/// Sizes, cache hits, dead rows, unused indexes and slow statements.
///
/// # Errors
/// [`Error::Unavailable`], also while another session locks the catalogue.
pub async fn read(pool: &Pool) -> Result<Stats, Error> {
    let client = pool.get().await?;
    let most: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] = [(&MOST, Type::INT8)];
    let (of_tables, of_indexes) = (
        TABLES.replace("{locked}", LOCKED),
        UNUSED_INDEXES.replace("{locked}", LOCKED),
    );
    // Sent together; answered in one snapshot.
    let (begun, database, tables, unused_indexes, extension, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_typed(DATABASE, &[]),
        client.query_typed(&of_tables, &most),
        client.query_typed(&of_indexes, &most),
        client.query_typed(EXTENSION, &[]),
        client.batch_execute("commit"),
    );
    begun.map_err(failed)?;
    let one = |rows: Result<Vec<tokio_postgres::Row>, tokio_postgres::Error>| {
        let rows = rows.map_err(failed)?;
        let row = rows.first();
        json(
            row.ok_or_else(|| Error::internal("a statement without rows"))?,
            0,
        )
    };
    let (database, tables) = (one(database)?, one(tables)?);
    let unused_indexes = one(unused_indexes)?;
    let extension = extension.map_err(failed)?;
    ended.map_err(failed)?;
    let schema: Option<String> = extension.first().map(|row| get(row, 0)).transpose()?;
    let (statements, statements_missing) = match schema {
        None => (
            None,
            Some("The extension pg_stat_statements is not installed."),
        ),
        Some(schema) => statements(&client, &schema).await?,
    };
    Ok(Stats {
        database,
        tables,
        unused_indexes,
        statements,
        statements_missing,
    })
}

/// In a transaction of its own: the extension may be there and still refuse.
async fn statements(
    client: &Client,
    schema: &str,
) -> Result<(Option<Box<RawValue>>, Option<&'static str>), Error> {
    let statement = STATEMENTS.replace("{schema}", schema);
    let (begun, rows, ended) = tokio::join!(
        biased;
        client.batch_execute(BEGIN),
        client.query_typed(&statement, &[(&MOST, Type::INT8)]),
        client.batch_execute("rollback"),
    );
    begun.map_err(failed)?;
    ended.map_err(failed)?;
    match rows {
        Ok(rows) => {
            let row = rows.first();
            let row = row.ok_or_else(|| Error::internal("a statement without rows"))?;
            Ok((Some(json(row, 0)?), None))
        }
        Err(error) if error.as_db_error().is_some() => {
            let cause = bunbun_core::error::chain(&error);
            tracing::debug!(cause, "pg_stat_statements cannot be read");
            let reason = "pg_stat_statements cannot be read: the server must load it \
                          (shared_preload_libraries), and the role must be allowed to use it.";
            Ok((None, Some(reason)))
        }
        Err(error) => Err(failed(error)),
    }
}
