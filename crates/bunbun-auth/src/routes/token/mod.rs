//! `POST /token?grant_type=…`.

mod id_token;
mod password;
mod pkce;
mod refresh_token;

use axum::{
    extract::{FromRequest as _, FromRequestParts as _, Request, State},
    response::Response,
};

use crate::{
    error::{AuthError, Code, Result},
    rate_limit::What,
    request::{Json, Origin, SignedIn},
    service::{self, AuthService},
};

/// Gives tokens for whatever the grant type names.
pub(super) async fn create_token(
    State(state): State<AuthService>,
    origin: Origin,
    request: Request,
) -> Result<Response> {
    let service = &*state.0;
    service.limits.request(What::Token, origin.ip())?;
    let answer = match origin.query("grant_type") {
        "password" => {
            let Json(body) = Json::from_request(request, &()).await?;
            password::grant(service, &origin, body).await?
        }
        "refresh_token" => {
            let Json(body) = Json::from_request(request, &()).await?;
            refresh_token::grant(service, &origin, body).await?
        }
        "pkce" => {
            let Json(body) = Json::from_request(request, &()).await?;
            pkce::grant(service, &origin, body).await?
        }
        "id_token" => {
            let (mut parts, body) = request.into_parts();
            let request = Request::from_parts(parts.clone(), body);
            let Json(body) = Json::<id_token::IdTokenGrant>::from_request(request, &()).await?;
            let linking = if body.link_identity == Some(true) {
                Some(SignedIn::from_request_parts(&mut parts, &state).await?)
            } else {
                None
            };
            id_token::grant(service, &origin, body, linking).await?
        }
        "web3" => {
            return Err(AuthError::unprocessable(
                Code::Web3ProviderDisabled,
                "Web3 provider is disabled",
            ));
        }
        _ => {
            return Err(AuthError::bad_request(
                Code::InvalidCredentials,
                "unsupported_grant_type",
            ));
        }
    };
    service::json(&answer)
}
