//! Values: read page by page, written whole, changed in parts.

mod change;
mod content;
mod read;
mod write;

pub use change::{Change, Changed, End};
pub use content::{Content, StreamEntry};
pub use read::{ReadValue, ValuePage};
pub use write::{NewValue, Ttl, WriteMode};
