//! Integration tests on real servers; each test has a database or a Redis of its own.

mod cluster;
mod dump;
mod migrate;
mod pool;
mod query;
mod redis;
mod tables;
mod tls;
