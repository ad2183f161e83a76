//! `GET /livez`: whether the process runs, for orchestrators.

use crate::openapi::AnyoneRefusals;

/// Whether the process runs
///
/// Touches nothing: a failing answer means the process should be restarted.
#[utoipa::path(
    get, path = "/livez", tag = "health",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain", example = json!("ok")), AnyoneRefusals),
)]
pub(crate) async fn get_livez() -> &'static str {
    "ok"
}
