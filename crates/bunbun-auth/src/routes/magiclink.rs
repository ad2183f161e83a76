//! `POST /magiclink`: the older name of `/otp` by mail.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;

use super::otp::{self, SignIn};
use crate::{
    email_address,
    error::{AuthError, Result},
    rate_limit::What,
    request::{Json, Origin, text},
    service::{self, AuthService},
    store::Object,
    token::pkce::Challenge,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MagicLinkRequest {
    email: Option<String>,
    data: Option<Object>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// Sends a link that signs in.
pub(super) async fn create_magic_link(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<MagicLinkRequest>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Otp, origin.ip())?;
    if text(&body.email).is_empty() {
        return Err(AuthError::invalid("Password recovery requires an email"));
    }
    let wanted = SignIn {
        email: email_address::validate(text(&body.email))?,
        data: body.data.unwrap_or_default(),
        may_create: true,
        challenge: Challenge::read(
            text(&body.code_challenge),
            text(&body.code_challenge_method),
        )?,
    };
    otp::send(service, &origin, &wanted).await?;
    service::json(&json!({}))
}
