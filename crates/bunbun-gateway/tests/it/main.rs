//! Integration tests: one binary, one module per subject.

mod heads;
mod import_kong;
mod smuggling;
mod support;
