//! How BunBun talks to any PostgreSQL.
//!
//! - [`Target`]: a connection URL with its TLS, understood as libpq does.
//! - [`Pool`], [`Client`], [`Session`], [`Transaction`]: connections of an embedded service.
//! - [`scope`]: a caller's transaction, in which row-level security decides.
//! - [`project`]: roles, schemas and functions that every project's database has.
//! - [`migrate`]: the migrations of one service.
//!
//! A function with SQL takes `&Session`: [`Client`] and [`Transaction`] both deref to it, so who
//! calls it decides about the transaction.

mod client;
mod databases;
mod error;
pub mod migrate;
mod pool;
pub mod project;
pub mod scope;
mod target;
mod tls;

pub use client::{Client, Savepoint, Session, Transaction};
pub use databases::{ProjectDatabases, SingleDatabase};
pub use error::{Error, Refusal};
pub use pool::{Pool, PoolConfig, Status};
pub use target::{Encryption, InvalidUrl, Target};
pub use tokio_postgres::{self, types};
