//! MongoDB.

mod corpus;
