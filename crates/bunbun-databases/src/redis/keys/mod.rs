//! Keys: listed, counted as a tree, deleted, given an expiry, renamed.

mod change;
mod delete;
mod list;
pub(super) mod position;
mod scan;
mod tree;

pub use change::Expiry;
pub use delete::{BulkDelete, BulkProgress};
pub use list::{KeyDetails, KeyPage, KeyRow, ListKeys};
pub use tree::{KeyTree, TreeProgress};

pub(super) use list::{encoding_name, type_name};
