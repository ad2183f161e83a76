//! The service on a real PostgreSQL and a real directory, by its URLs; each test has both of its
//! own.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a value that is not there is the failure"
)]

mod broken;
mod bucket;
mod content;
mod hostile;
mod names;
mod object;
mod original;
mod parallel;
mod race;
mod render;
mod rls;
mod s3;
mod support;
mod sweep;
mod upload;
