//! The client side of users' databases: PostgreSQL, Redis, MongoDB.
//!
//! [`connection`] has what the three share, each engine's operations stand in its own module.
//! Nothing here knows HTTP: errors are classified by [`bunbun_core::Classify`].

pub mod connection;
mod error;
pub mod mongodb;
pub mod postgres;
pub mod redis;
pub mod registry;
mod tls;

pub use connection::{
    Database, DatabaseType, Host, Limits, Options, PoolStatus, ServerInfo, Settings, TlsMode,
};
pub use error::{Error, Source};
