//! Migrations of the schema `platform`, embedded from `migrations/`. They go forward only and
//! work with the previous release.

use serde::Serialize;

use crate::{Error, Store};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Where the history lies. In the schema it describes, so that dropping that is a fresh start.
const HISTORY_TABLE: &str = "platform.schema_history";

/// The key of the advisory lock under which migrations run: "bunbun" in ASCII, and the schema.
const LOCK_KEY: i64 = 0x6275_6e62_756e_0001;

/// One migration that is now in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name, words joined by `_`.
    pub name: String,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// Migrations that this run applied, in order.
    pub applied: Vec<AppliedMigration>,
    /// Migrations that this release has.
    pub total: usize,
}

/// Creates the control plane's database when it is missing, and brings it up to date. Several
/// nodes may do so at the same time: an advisory lock makes them take turns.
///
/// # Errors
/// [`Error::Unavailable`]; [`Error::Missing`] when the database may not be created;
/// [`Error::Migration`] when a migration fails, in which case it is rolled back, or differs from
/// the one that was applied under its number.
pub async fn migrate(store: &Store) -> Result<MigrationReport, Error> {
    let report = run(store).await?;
    store.set_ready();
    Ok(report)
}

/// As [`migrate`], without telling the store.
pub(crate) async fn run(store: &Store) -> Result<MigrationReport, Error> {
    // A connection of its own: the lock belongs to the session and goes with it, however this ends.
    let mut client = store.connect().await?;
    // A node that hangs in its migration must not make the others hang too.
    client.batch_execute("set lock_timeout = '30s'").await?;
    client
        .execute("select pg_advisory_lock($1)", &[&LOCK_KEY])
        .await?;
    // Not unconditionally: `create schema if not exists` needs the right to create even if it exists.
    let exists: bool = client
        .query_one("select to_regnamespace('platform') is not null", &[])
        .await?
        .get(0);
    if !exists {
        client.batch_execute("create schema platform").await?;
    }
    let mut runner = embedded::migrations::runner()
        // A database that a newer release has migrated still serves this one.
        .set_abort_missing(false);
    runner.set_migration_table_name(HISTORY_TABLE);
    let total = runner.get_migrations().len();
    let report = runner.run_async(&mut client).await?;
    let applied: Vec<_> = report
        .applied_migrations()
        .iter()
        .map(|migration| AppliedMigration {
            version: i64::from(migration.version()),
            name: migration.name().to_owned(),
        })
        .collect();
    for AppliedMigration { version, name } in &applied {
        tracing::info!(version, name, "applied a control plane migration");
    }
    Ok(MigrationReport { applied, total })
}
