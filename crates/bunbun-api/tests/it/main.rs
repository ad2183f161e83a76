//! The endpoints in process, on a real PostgreSQL. The tree mirrors the URLs.

mod api;
mod auth;
mod backups;
mod coverage;
mod dashboard;
mod db;
mod docs;
mod gateway;
mod health;
mod hostile;
mod metrics;
mod openapi;
mod platform;
mod readyz;
mod services;
mod storage;
