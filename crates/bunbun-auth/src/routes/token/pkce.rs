//! `POST /token?grant_type=pkce`: exchanges the code of a redirect for a session.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::{
    error::{AuthError, Code, Result},
    grant::{TokenResponse, refuse_banned},
    hooks::room::Calls,
    request::{Origin, text},
    service::Inner,
    store::{
        audit::{Action, Actor},
        flow_states, users,
    },
    token::pkce,
};

/// How long a code is valid after it was given out.
pub(crate) const FLOW_EXPIRY: Duration = Duration::from_secs(300);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PkceGrant {
    auth_code: Option<String>,
    code_verifier: Option<String>,
}

/// Exchanges a code, once.
pub(super) async fn grant(
    service: &Inner,
    origin: &Origin,
    body: PkceGrant,
) -> Result<TokenResponse> {
    let (code, verifier) = (text(&body.auth_code), text(&body.code_verifier));
    if code.is_empty() || verifier.is_empty() {
        return Err(AuthError::invalid(
            "invalid request: both auth code and code verifier should be non-empty",
        ));
    }
    let unknown = || {
        AuthError::not_found(
            Code::FlowStateNotFound,
            "invalid flow state, no valid flow state found",
        )
    };
    let database = service.database(origin.project()).await?;
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let transaction = client.transaction().await?;
    let flow = flow_states::find_by_code(&transaction, code).await?;
    let flow = flow.ok_or_else(unknown)?;
    let user_id = flow.user_id.ok_or_else(unknown)?;
    let issued_at = flow.auth_code_issued_at.unwrap_or(flow.created_at);
    if service.now() > issued_at + FLOW_EXPIRY {
        return Err(AuthError::unprocessable(
            Code::FlowStateExpired,
            "invalid flow state, flow state has expired",
        ));
    }
    pkce::verify(&flow.code_challenge, &flow.code_challenge_method, verifier)?;
    // Whoever deletes it has it: of two exchanges at the same moment one finds nothing.
    if !flow_states::delete(&transaction, flow.id).await? {
        return Err(unknown());
    }
    let user = users::find(&transaction, user_id)
        .await?
        .ok_or_else(unknown)?;
    refuse_banned(&user, service.now())?;
    let actor = Actor::user(&user);
    let traits = Some(json!({ "provider_type": flow.provider_type }));
    service
        .audit(&transaction, origin, &actor, Action::Login, traits)
        .await?;
    let method = &flow.authentication_method;
    let mut session = service
        .begin_session(&database, &transaction, origin, user, method)
        .await?;
    transaction.commit().await?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    session.provider_token = filled(flow.provider_access_token);
    session.provider_refresh_token = filled(flow.provider_refresh_token);
    Ok(session)
}
