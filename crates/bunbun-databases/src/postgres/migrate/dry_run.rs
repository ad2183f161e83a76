//! What a dry run reports beside its statements: the locks.

use std::collections::HashMap;

use tokio_postgres::{Client, types::Type};

use super::Lock;
use crate::postgres::Error;

/// From the weakest to the strongest.
const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// The names of the user's relations by their object ids. Taken before the migration runs: one
/// that it drops has no name afterwards, and one that it makes keeps nobody waiting.
pub(super) async fn relations(client: &Client) -> Result<HashMap<u32, (String, String)>, Error> {
    let sql = "\
        select c.oid, n.nspname::text, c.relname::text \
        from pg_catalog.pg_class c \
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
        where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'supabase_migrations')";
    let rows = client
        .query_typed(sql, &[])
        .await
        .map_err(Error::from_own_statement)?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?))))
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(Error::from_own_statement)
}

/// The strongest lock that this transaction holds on each of these relations, by name.
pub(super) async fn locks(
    client: &Client,
    relations: &HashMap<u32, (String, String)>,
) -> Result<Vec<Lock>, Error> {
    let sql = "\
        select l.relation, pg_catalog.max(pg_catalog.array_position($1::text[], l.mode)) \
        from pg_catalog.pg_locks l \
        where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted \
        group by l.relation";
    let rows = client
        .query_typed(sql, &[(&MODES.as_slice(), Type::TEXT_ARRAY)])
        .await
        .map_err(Error::from_own_statement)?;
    let mut locks = Vec::new();
    for row in &rows {
        let relation: u32 = row.try_get(0).map_err(Error::from_own_statement)?;
        let rank: Option<i32> = row.try_get(1).map_err(Error::from_own_statement)?;
        let mode = rank
            .and_then(|rank| usize::try_from(rank).ok()?.checked_sub(1))
            .and_then(|index| MODES.get(index));
        if let (Some((schema, name)), Some(mode)) = (relations.get(&relation), mode) {
            locks.push(Lock {
                schema: schema.clone(),
                relation: name.clone(),
                mode: (*mode).to_owned(),
            });
        }
    }
    locks.sort_by(|one, other| (&one.schema, &one.relation).cmp(&(&other.schema, &other.relation)));
    Ok(locks)
}
