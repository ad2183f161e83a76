//! `GET /settings`: which ways to sign in there are.

use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};

use crate::{
    error::Result,
    service::{self, AuthService},
};

/// The original's flags, in its order.
const PROVIDERS: [&str; 26] = [
    "anonymous_users",
    "apple",
    "azure",
    "bitbucket",
    "discord",
    "facebook",
    "figma",
    "fly",
    "github",
    "gitlab",
    "google",
    "kakao",
    "keycloak",
    "linkedin",
    "linkedin_oidc",
    "notion",
    "spotify",
    "slack",
    "slack_oidc",
    "snapchat",
    "twitch",
    "twitter",
    "workos",
    "email",
    "phone",
    "zoom",
];

/// Shows the flags; providers of the operator's own come after them.
pub(super) async fn get_settings(State(service): State<AuthService>) -> Result<Response> {
    let config = &service.0.config;
    let mut external: Map<String, Value> = PROVIDERS
        .iter()
        .map(|name| ((*name).to_owned(), false.into()))
        .collect();
    external.insert(
        "anonymous_users".to_owned(),
        config.anonymous_enabled.into(),
    );
    external.insert("email".to_owned(), config.email_enabled.into());
    for provider in &config.providers {
        external.insert(provider.name.clone(), true.into());
    }
    service::json(&json!({
        "external": external,
        "disable_signup": config.disable_signup,
        "mailer_autoconfirm": config.mailer_autoconfirm,
        "phone_autoconfirm": false,
        "sms_provider": "",
        "saml_enabled": false,
    }))
}
