//! Integration tests on real servers; each test has a database or a Redis of its own.

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
mod redis;
mod registry;
mod rows;
mod running;
mod stats;
mod tables;
mod tls;
