//! Users' MongoDB.

pub mod ejson;
pub mod guard;
pub mod raw;
