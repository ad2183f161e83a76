//! Users' PostgreSQL: connections, queries, migrations, catalogue, dumps, and a private cluster.

pub mod activity;
pub mod catalog;
pub mod cluster;
pub mod database;
pub mod dump;
pub mod error;
pub mod explain;
pub mod health;
pub mod migrate;
mod origin;
pub mod pool;
pub mod query;
pub mod rows;
pub mod running;
pub mod stats;
pub mod tables;
mod wire;

pub use database::Postgres;
pub use error::{Error, SqlError};
