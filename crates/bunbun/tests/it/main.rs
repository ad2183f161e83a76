//! The real binary, started as a user starts it.

mod binary;
mod config;
mod dev;
mod drain;
mod help;
mod import;
mod keys;
mod openapi;
mod readme;
mod redis;
mod reload;
mod routes;
mod running;
mod secrets;
mod serve;
mod storage;
mod traffic;
