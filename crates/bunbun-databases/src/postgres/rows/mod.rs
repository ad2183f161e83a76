//! Rows of one table: `…/tables/{schema}/{table}/rows`.
//!
//! Names come from the catalogue and are quoted, values are bound, and PostgreSQL itself says which
//! type a value has where it stands. A row is told from the others by its *key*: the primary key,
//! or else the first unique index over columns that are never null. Its *version* is `xmin`, the
//! transaction that wrote it, which every change renews: who sends it back with a change is refused
//! when somebody else was faster.

mod cursor;
mod filter;
mod key;
mod order;
mod read;
mod row;
mod shape;
mod statement;
mod write;

pub use filter::Filter;
pub use order::{Nulls, Order};
pub use read::{Count, ListRows, Rows, get, list, stream};
pub use row::Row;
pub(crate) use shape::Shapes;
pub use shape::TableName;
pub use write::{Insert, OnConflict, Values, delete, insert, update};

/// Most rows of one page, and of one insert.
pub const MOST_ROWS: u32 = 1_000;
