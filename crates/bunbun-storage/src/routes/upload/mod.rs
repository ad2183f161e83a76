//! `/upload/…`.

pub(super) mod resumable;
