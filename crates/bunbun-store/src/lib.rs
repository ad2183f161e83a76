//! The control plane's PostgreSQL: connections, migrations, and one module per table of the
//! schema `platform`.
//!
//! A table's functions take the executor first and the tenant second; the caller owns the
//! transaction. `find` answers with an [`Option`], `get` with an error where there is no row.

pub mod audit_log;
pub mod backups;
pub mod data_keys;
pub mod database_connections;
mod error;
mod migrate;
pub mod signals;
mod store;

pub use deadpool_postgres::{Client, GenericClient as Executor, Transaction};
pub use error::Error;
pub use migrate::{AppliedMigration, MigrationReport, migrate};
pub use store::{Status, Store};
