//! `GET /status`, `/version`, `/health`.

use axum::{extract::State, response::Response};
use http::StatusCode;

use crate::{error::Result, request::Call, service::StorageService};

/// The version of the original whose behaviour this is.
const VERSION: &str = "1.60.2";

/// 200 while the process runs.
pub(super) async fn status() -> StatusCode {
    StatusCode::OK
}

/// The version of the original whose behaviour this is.
pub(super) async fn version() -> &'static str {
    VERSION
}

/// 200 when the project's database answers.
pub(super) async fn health(State(_): State<StorageService>, call: Call) -> Result<Response> {
    let session = call.without_credential("storage.health").await?;
    let mut client = session.database.client().await?;
    session
        .database
        .begin_service(&mut client)
        .await?
        .rollback()
        .await?;
    let healthy = serde_json::json!({ "healthy": true });
    Ok(axum::response::IntoResponse::into_response(axum::Json(
        healthy,
    )))
}
