//! For tests only: real servers, started by the tests themselves.
//!
//! - [`TestDb`]: a database of its own for each test, on a real PostgreSQL.
//! - [`MongodbServer`]: servers that speak MongoDB's protocol.
//! - [`TestServer`]: where that PostgreSQL comes from.
//! - [`TestRedis`], [`TestRedisCluster`]: Redis servers, one or three for each test.

#![expect(clippy::print_stderr, reason = "a skipped test must be seen")]

mod database;
mod mongodb;
mod redis;
mod server;

pub use database::TestDb;
pub use mongodb::{MongodbKind, MongodbServer};
pub use redis::{TestRedis, TestRedisCluster};
pub use server::TestServer;

/// Says that a test is skipped and why; in CI (`CI=true`) a missing server is a failure instead.
///
/// # Panics
/// In CI.
pub fn skip(reason: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1");
    assert!(!in_ci, "this test must not be skipped in CI: {reason}");
    eprintln!("SKIPPED: {reason}");
}
