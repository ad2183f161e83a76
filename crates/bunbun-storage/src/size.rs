//! A bucket's limit as clients write it: `52428800` or `"50MB"`.

use bunbun_core::config::ByteSize;
use serde::Deserialize;

use crate::error::{Code, Result, StorageError};

/// A bucket's limit as a client gives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Size {
    /// Bytes.
    Bytes(u64),
    /// A number with a unit.
    Text(String),
}

impl Size {
    /// The size in bytes.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub(crate) fn bytes(&self) -> Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => text.parse::<ByteSize>().map(|size| size.0).map_err(|()| {
                let message = "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B";
                StorageError::new(Code::InvalidRequest, 400, message)
            }),
        }
    }
}
