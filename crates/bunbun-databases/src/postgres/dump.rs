//! Dumps of a database with `pg_dump` and `pg_restore` as child processes, streamed: nothing of a
//! dump lies on our disk or in our memory. For `/api/backups`.
//!
//! The password goes to the children in their environment, never in their arguments; that
//! environment holds nothing else of ours.

mod child;
pub mod databases;
mod error;
mod login;
mod read;
mod restore;
mod tools;

pub use error::Error;
pub use read::Dump;
pub use restore::restore;
pub use tools::Tools;

use tokio_postgres::Client;

/// What one should know of a database before dumping it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// The server's version, for example `15.14 (Debian 15.14-0+deb12u1)`.
    pub version: String,
    /// The server's major version, for example 15.
    pub major: u32,
    /// Its size on disk in bytes.
    pub bytes: u64,
    /// Tables whose rows a dump writes.
    pub tables: u32,
    /// Tells databases apart, whatever name or address they are reached by.
    pub identity: String,
}

/// Describes the database that the client is connected to.
///
/// # Errors
/// [`Error::Database`].
pub async fn describe(client: &Client) -> Result<Description, Error> {
    let row = client
        .query_one(
            "select current_database()::text, current_setting('server_version'), \
             current_setting('server_version_num')::integer / 10000, \
             pg_database_size(current_database()), \
             (select count(*) from pg_catalog.pg_class c \
              join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
              where c.relkind = 'r' and c.relpersistence <> 't' \
              and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' \
              and not exists (select from pg_catalog.pg_depend d \
              where d.classid = 'pg_catalog.pg_class'::regclass \
              and d.objid = c.oid and d.deptype = 'e')), \
             extract(epoch from pg_postmaster_start_time())::text || '/' || \
             (select oid from pg_catalog.pg_database where datname = current_database())",
            &[],
        )
        .await
        .map_err(super::Error::from_own_statement)?;
    Ok(Description {
        name: row.get(0),
        version: row.get(1),
        major: u32::try_from(row.get::<_, i32>(2)).unwrap_or_default(),
        bytes: u64::try_from(row.get::<_, i64>(3)).unwrap_or_default(),
        tables: u32::try_from(row.get::<_, i64>(4)).unwrap_or(u32::MAX),
        identity: row.get(5),
    })
}
