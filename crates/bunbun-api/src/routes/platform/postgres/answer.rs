//! Answers whose JSON is finished already.

use axum::{body::Body, response::Response};
use http::{HeaderValue, header::CONTENT_TYPE};

/// An answer of finished JSON.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
