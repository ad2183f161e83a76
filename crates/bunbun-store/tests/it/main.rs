//! Integration tests on a real PostgreSQL; each test has a database of its own.

mod audit_log;
mod backups;
mod data_keys;
mod database_connections;
mod migrate;

use std::time::Duration;

use bunbun_core::config::DatabaseConfig;
use bunbun_store::{Client, Store};
use bunbun_test::TestDb;

/// A configuration with the given `DATABASE_URL` and `PLATFORM_DATABASE_URL`.
fn config(url: Option<&str>, platform_url: Option<&str>) -> DatabaseConfig {
    DatabaseConfig {
        url: url.map(Into::into),
        platform_url: platform_url.map(Into::into),
        pool_size: 1,
        statement_timeout: Duration::from_secs(30),
        max_rows: 1,
    }
}

/// The store in a database of its own, and a migrated connection to it.
async fn store() -> Option<(TestDb, Store, Client)> {
    let database = TestDb::create().await?;
    let store = Store::new(&config(None, Some(database.url()))).expect("a store");
    let client = store.client().await.expect("a connection");
    Some((database, store, client))
}
