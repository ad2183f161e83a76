//! Users' MongoDB.

pub mod ejson;
pub mod raw;
