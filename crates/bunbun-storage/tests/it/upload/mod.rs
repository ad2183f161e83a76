//! `/upload/…`.

mod resumable;
