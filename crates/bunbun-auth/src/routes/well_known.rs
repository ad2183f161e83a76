//! `GET /.well-known/jwks.json` and `GET /.well-known/openid-configuration`.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::json;

use crate::{
    error::Result,
    service::{self, AuthService},
};

/// The public keys; a shared secret is none.
pub(super) async fn get_jwks(State(service): State<AuthService>) -> Result<Response> {
    let mut response = service::json(service.0.signer.public_keys())?;
    cache(&mut response);
    Ok(response)
}

/// Where a party that relies on our tokens finds what it needs (OpenID Connect Discovery 1.0).
pub(super) async fn get_openid_configuration(
    State(service): State<AuthService>,
) -> Result<Response> {
    let issuer = service.0.issuer();
    let url = service.0.external_url();
    let mut response = service::json(&json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/user"),
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [service.0.signer.algorithm()],
        "code_challenge_methods_supported": ["S256", "plain"],
    }))?;
    cache(&mut response);
    Ok(response)
}

fn cache(response: &mut Response) {
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=600"),
    );
}
