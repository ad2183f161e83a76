//! `GET /callback`, and `POST /callback` for providers that answer with a form.

use axum::{
    extract::{Request, State as AxumState},
    response::Response,
};
use http_body_util::{BodyExt as _, Limited};
use secrecy::ExposeSecret as _;

use super::authorize::found;
use crate::{
    error::{AuthError, Code, Result},
    external::External,
    hooks::room::Calls,
    oauth::{Flow, Profile, Tokens, state::State},
    redirect,
    request::Origin,
    service::{AuthService, Inner},
    store::{flow_states, users::User},
};

/// The largest form.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// What the provider says.
#[derive(Debug, Default)]
struct Answer {
    state: String,
    code: String,
    error: String,
    error_description: String,
}

impl Answer {
    fn read(pairs: impl Iterator<Item = (String, String)>) -> Self {
        let mut answer = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "state" => answer.state = value,
                "code" => answer.code = value,
                "error" => answer.error = value,
                "error_description" => answer.error_description = value,
                _ => {}
            }
        }
        answer
    }
}

/// The browser is back from a provider.
pub(super) async fn get_callback(
    AxumState(service): AxumState<AuthService>,
    origin: Origin,
) -> Result<Response> {
    let answer = Answer::read(origin.query_pairs().iter().cloned());
    finish(&service.0, &origin, &answer).await
}

/// The same, in a form.
pub(super) async fn create_callback(
    AxumState(service): AxumState<AuthService>,
    origin: Origin,
    request: Request,
) -> Result<Response> {
    let body = Limited::new(request.into_body(), MAX_FORM_BYTES)
        .collect()
        .await;
    let bytes = body
        .map_err(|error| {
            AuthError::bad_request(Code::BadOAuthCallback, "The form cannot be read")
                .with_cause(error)
        })?
        .to_bytes();
    let form = url::form_urlencoded::parse(&bytes).into_owned();
    finish(&service.0, &origin, &Answer::read(form)).await
}

/// Sends the browser to the application, with a session, a code or an error.
async fn finish(service: &Inner, origin: &Origin, answer: &Answer) -> Result<Response> {
    let secret = service.jwt_secret.expose_secret();
    let now = service.clock.unix_seconds();
    let state = State::open(&answer.state, secret, now);
    // The list may have changed since the browser left.
    let referrer = state.as_ref().map_or("", |state| state.referrer.as_str());
    let target = service.redirects.choose([referrer]);
    let outcome = match &state {
        Some(state) => come_back(service, origin, state, answer, target).await,
        None if answer.state.is_empty() => Err(AuthError::bad_request(
            Code::BadOAuthCallback,
            "OAuth state parameter missing",
        )),
        None => Err(AuthError::bad_request(
            Code::BadOAuthState,
            "OAuth callback with invalid state",
        )),
    };
    let location = outcome.unwrap_or_else(|error| {
        error.log(&origin.context.request_id);
        redirect::with_error(target, &error, true)
    });
    found(&location)
}

async fn come_back(
    service: &Inner,
    origin: &Origin,
    state: &State,
    answer: &Answer,
    target: &str,
) -> Result<String> {
    if !answer.error.is_empty() {
        return Err(provider_error(answer));
    }
    if answer.code.is_empty() {
        return Err(AuthError::bad_request(
            Code::BadOAuthCallback,
            "OAuth callback with missing authorization code missing",
        ));
    }
    let provider = service.providers.find(&state.provider)?;
    let secret = service.jwt_secret.expose_secret();
    let (nonce, verifier) = (state.nonce(secret), state.verifier(secret));
    let callback = format!("{}/callback", service.external_url());
    let flow = Flow {
        callback: &callback,
        nonce: &nonce,
        verifier: &verifier,
    };
    let (profile, tokens) = provider.sign_in(&flow, &answer.code).await?;
    if profile.addresses.is_empty() && state.linking_target_id.is_none() {
        return Err(AuthError::internal(
            "Error getting user email from external provider",
            "the profile has no address",
        ));
    }
    admit(
        service,
        origin,
        state,
        provider.name(),
        &profile,
        tokens,
        target,
    )
    .await
}

/// What a provider says went wrong. Only the errors of the standard are passed on as such.
fn provider_error(answer: &Answer) -> AuthError {
    let known = [
        "access_denied",
        "invalid_request",
        "unauthorized_client",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "login_required",
        "consent_required",
        "interaction_required",
    ];
    let error = known
        .into_iter()
        .find(|known| *known == answer.error)
        .unwrap_or("server_error");
    let description: String = answer.error_description.chars().take(300).collect();
    AuthError::oauth(error, description)
}

async fn admit(
    service: &Inner,
    origin: &Origin,
    state: &State,
    provider: &str,
    profile: &Profile,
    tokens: Tokens,
    target: &str,
) -> Result<String> {
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Both).await?;
    let transaction = client.transaction().await?;
    let user: User = if let Some(user_id) = state.linking_target_id {
        service
            .link_identity(&transaction, user_id, provider, profile)
            .await?
    } else if state.invite_token.is_empty() {
        match service
            .account_of(&transaction, origin, provider, profile)
            .await?
        {
            External::User(user) => *user,
            External::Unverified(letter, error) => {
                transaction.commit().await?;
                service
                    .post(letter.into_iter().map(|letter| *letter).collect(), room)
                    .await;
                return Err(error);
            }
        }
    } else {
        let token = &state.invite_token;
        service
            .accept_invitation(&transaction, origin, provider, profile, token)
            .await?
    };
    if let Some(flow_id) = state.flow_state_id {
        let flow = flow_states::find(&transaction, flow_id).await?;
        let flow = flow
            .filter(|flow| flow.auth_code_issued_at.is_none())
            .ok_or_else(|| {
                AuthError::unprocessable(Code::FlowStateNotFound, "Flow state not found")
            })?;
        let (access, refresh) = (&tokens.access_token, &tokens.refresh_token);
        let now = service.now();
        flow_states::complete(&transaction, flow_id, user.id, access, refresh, now).await?;
        transaction.commit().await?;
        return Ok(redirect::with_query(target, &[("code", &flow.auth_code)]));
    }
    let session = service
        .begin_session(&database, &transaction, origin, user, "oauth")
        .await?;
    transaction.commit().await?;
    let mut extra = vec![("provider_token", tokens.access_token.as_str())];
    if !tokens.refresh_token.is_empty() {
        extra.push(("provider_refresh_token", &tokens.refresh_token));
    }
    Ok(redirect::with_fragment(target, &session.fragment(&extra)))
}
