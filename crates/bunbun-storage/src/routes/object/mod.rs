//! `/object/…`.

pub(super) mod copy;
pub(super) mod create;
pub(super) mod list;
pub(super) mod r#move;
pub(super) mod named;
pub(super) mod read;
pub(super) mod remove;
pub(super) mod sign;
pub(super) mod upload_sign;
