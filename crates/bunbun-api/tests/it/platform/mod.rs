//! `/api/platform`.

mod mongodb;
