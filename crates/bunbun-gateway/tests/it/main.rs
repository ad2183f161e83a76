//! Integration tests: one binary, one module per subject.

mod heads;
mod http2;
mod import_kong;
mod paths;
mod smuggling;
mod support;
mod upstreams;
