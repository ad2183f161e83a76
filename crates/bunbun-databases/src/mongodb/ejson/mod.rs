//! MongoDB Extended JSON v2 (mongodb/specifications, `extended-json`): from raw BSON to text and back.
//!
//! Neither direction builds a model of the document: [`mod@write`] reads the server's bytes and
//! appends JSON, [`parse`] reads JSON and appends BSON. Reading back what was written in
//! [`Format::Canonical`] gives the same bytes (NaN's payload aside), whatever the types.

mod date;
mod number;
pub mod parse;
mod text;
mod wrapper;
pub mod write;

pub use parse::{ParseError, parse_document, parse_value};
pub use write::{write_array, write_document, write_value};

/// The two forms of the specification, and a plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Every number says its type: nothing is lost on the way.
    Canonical,
    /// Numbers and recent dates as people write them; 32 and 64-bit integers look alike.
    Relaxed,
    /// Not of the specification: what the Atlas Data API answered to those who want plain JSON. As
    /// relaxed, but ids, dates, decimals and binary values are bare strings. For reading only.
    Plain,
}

#[cfg(test)]
mod tests;
