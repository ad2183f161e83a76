//! `/upload/resumable`: TUS.

use axum::Router;

use crate::service::StorageService;

pub(crate) fn router() -> Router<StorageService> {
    Router::new()
}
