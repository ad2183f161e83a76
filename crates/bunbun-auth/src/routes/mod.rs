//! Every URL of the service. What it does not have answers as the original's router does.

mod health;
mod logout;
mod settings;
mod signup;
mod token;
mod user;
mod well_known;

use axum::{
    Router,
    extract::Request,
    routing::{get, post},
};
use http::StatusCode;

use crate::service::AuthService;

/// The service's router.
pub(crate) fn router(service: AuthService) -> Router {
    Router::new()
        .route("/health", get(health::get_health))
        .route("/settings", get(settings::get_settings))
        .route("/.well-known/jwks.json", get(well_known::get_jwks))
        .route(
            "/.well-known/openid-configuration",
            get(well_known::get_openid_configuration),
        )
        .route("/signup", post(signup::create_signup))
        .route("/token", post(token::create_token))
        .route("/logout", post(logout::create_logout))
        .route("/user", get(user::get_user).put(user::update_user))
        .fallback(not_found)
        .with_state(service)
}

async fn not_found(
    _request: Request,
) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    (
        StatusCode::NOT_FOUND,
        [("content-type", "text/plain; charset=utf-8")],
        "404 page not found\n",
    )
}
