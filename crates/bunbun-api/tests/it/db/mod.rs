//! `/api/db`

mod health;
mod migrate;
mod migrations;
mod query;
mod tables;
