//! Users' PostgreSQL: connections, queries, migrations, catalogue, dumps, and a private cluster.

pub mod cluster;
pub mod dump;
pub mod error;
pub mod health;
pub mod migrate;
pub mod pool;
pub mod query;
pub mod tables;
mod wire;

pub use error::{Error, SqlError};
