//! `/object/…`.

mod create;
mod list;
mod r#move;
mod read;
mod remove;
mod sign;
