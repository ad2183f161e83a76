//! `GET /health`.

use axum::{extract::State, response::Response};
use serde_json::json;

use crate::{
    error::Result,
    service::{self, AuthService},
};

/// Says who answers. The name is the original's: dashboards look for it.
pub(super) async fn get_health(State(service): State<AuthService>) -> Result<Response> {
    service::json(&json!({
        "version": service.0.version,
        "name": "GoTrue",
        "description": "BunBun's auth service, compatible with GoTrue",
    }))
}
