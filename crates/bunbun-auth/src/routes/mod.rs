//! Every URL of the service. What it does not have answers as the original's router does.

mod admin;
mod authorize;
mod callback;
mod factors;
mod health;
mod identities;
mod invite;
mod later;
mod logout;
mod magiclink;
mod otp;
mod reauthenticate;
mod recover;
mod resend;
mod sessions;
mod settings;
mod signup;
mod token;
mod user;
mod verify;
mod well_known;

use axum::{
    Router,
    routing::{delete, get, post},
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
        .route("/recover", post(recover::create_recovery))
        .route("/magiclink", post(magiclink::create_magic_link))
        .route("/otp", post(otp::create_otp))
        .route("/resend", post(resend::create_resend))
        .route(
            "/verify",
            get(verify::get_verify)
                .post(verify::create_verify)
                .head(not_allowed),
        )
        .route(
            "/reauthenticate",
            get(reauthenticate::get_reauthentication).head(not_allowed),
        )
        .route("/user", get(user::get_user).put(user::update_user))
        .route(
            "/user/identities/authorize",
            get(identities::authorize_identity).head(not_allowed),
        )
        .route(
            "/user/identities/{identity_id}",
            delete(identities::delete_identity),
        )
        .route(
            "/authorize",
            get(authorize::get_authorization).head(not_allowed),
        )
        .route(
            "/callback",
            get(callback::get_callback)
                .post(callback::create_callback)
                .head(not_allowed),
        )
        .route("/invite", post(invite::create_invitation))
        .merge(sessions::router())
        .merge(factors::router())
        .merge(admin::router())
        .merge(later::router())
        .fallback(not_found)
        .with_state(service)
}

/// `HEAD` where `GET` does something: whoever only looks at a link must not use it up. The original
/// has no `HEAD` at all.
async fn not_allowed() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

async fn not_found() -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    (
        StatusCode::NOT_FOUND,
        [("content-type", "text/plain; charset=utf-8")],
        "404 page not found\n",
    )
}
