//! `/s3`: the S3 protocol.

use axum::response::Response;

use crate::error::{Code, Result, StorageError};

pub(super) async fn handle() -> Result<Response> {
    Err(StorageError::new(Code::NotSupported, 501, "Not yet"))
}
