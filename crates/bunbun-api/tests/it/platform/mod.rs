//! `/api/platform/…`.

mod redis;
