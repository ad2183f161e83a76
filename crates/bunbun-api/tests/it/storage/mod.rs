//! `/api/storage`

mod delete;
mod download;
mod list;
mod policies;
mod sign;
mod upload;
