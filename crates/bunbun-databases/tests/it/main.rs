//! Integration tests on a real PostgreSQL; each test has a database of its own.

mod cluster;
mod dump;
mod migrate;
mod mongodb;
mod pool;
mod query;
mod tables;
mod tls;
