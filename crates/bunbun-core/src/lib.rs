//! What every crate of BunBun shares: ids, error vocabulary, configuration, secrets, JWT, clock,
//! named tasks and shutdown. Nothing here knows HTTP routing or SQL.

pub mod clock;
pub mod config;
pub mod egress;
pub mod encryption;
pub mod error;
pub mod id;
pub mod jwt;
pub mod project;
pub mod secret;
pub mod shutdown;
pub mod task;

pub use error::{Classify, Code, Kind};
