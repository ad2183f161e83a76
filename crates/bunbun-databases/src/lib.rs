//! The client side of users' databases. Today PostgreSQL; Redis and MongoDB follow as siblings.
//!
//! Nothing here knows HTTP: errors are classified by [`bunbun_core::Classify`].

pub mod mongodb;
pub mod postgres;
