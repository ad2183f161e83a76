//! Integration tests on a real PostgreSQL; each test has a database of its own.

mod activity;
mod catalog;
mod cluster;
mod database;
mod dump;
mod explain;
mod migrate;
mod mongodb;
mod pool;
mod query;
mod registry;
mod rows;
mod running;
mod stats;
mod tables;
mod tls;
