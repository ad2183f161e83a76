//! `GET /verify`, which links of mails lead to, and `POST /verify`, which takes their codes.

mod confirm;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use self::confirm::{Confirmed, Proof, Purpose};
use crate::{
    email_address,
    error::{AuthError, Code, Result},
    hooks::room::Calls,
    rate_limit::What,
    redirect,
    request::{Json, Origin, text},
    service::{self, AuthService, Inner},
    store::flow_states,
    token::otp::{self, PKCE_PREFIX},
};

/// The longest hash or code.
const MAX_TOKEN: usize = 128;

/// What is said when one of two addresses has confirmed a change.
const HALF_CONFIRMED: &str =
    "Confirmation link accepted. Please proceed to confirm link sent to the other email";

/// Uses a link and sends the browser on: with a session in the fragment, with a code in the query
/// (PKCE), or with what went wrong.
pub(super) async fn get_verify(
    State(service): State<AuthService>,
    origin: Origin,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Verify, origin.ip())?;
    let (kind, token) = (origin.query("type"), origin.query("token"));
    let token = if token.is_empty() {
        origin.query("token_hash")
    } else {
        token
    };
    if kind.is_empty() {
        return Err(AuthError::invalid("Verify requires a verification type"));
    }
    if token.is_empty() {
        return Err(AuthError::invalid(
            "Verify requires a token or a token hash",
        ));
    }
    let is_pkce = token.starts_with(PKCE_PREFIX);
    let target = service.redirects.choose(origin.redirect_candidates());
    let location = match follow(service, &origin, kind, token, is_pkce, target).await {
        Ok(location) => location,
        Err(error) => {
            error.log(&origin.context.request_id);
            redirect::with_error(target, &error, is_pkce)
        }
    };
    see_other(&location)
}

async fn follow(
    service: &Inner,
    origin: &Origin,
    kind: &str,
    token: &str,
    is_pkce: bool,
    target: &str,
) -> Result<String> {
    let purpose = Purpose::read(kind)?;
    if token.len() > MAX_TOKEN {
        return Err(confirm::invalid_link());
    }
    let database = service.database(origin.project()).await?;
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let transaction = client.transaction().await?;
    let proof = Proof::Link {
        hash: token.to_owned(),
    };
    let confirmed = confirm::confirm(service, &transaction, origin, purpose, &proof).await?;
    let Confirmed::Done(user, purpose) = confirmed else {
        transaction.commit().await?;
        let pairs = [("message", HALF_CONFIRMED)];
        let target = if is_pkce {
            redirect::with_query(target, &pairs)
        } else {
            target.to_owned()
        };
        return Ok(redirect::with_fragment(&target, &redirect::encode(&pairs)));
    };
    if is_pkce {
        let method = purpose.method();
        let code = flow_states::issue_code(&transaction, user.id, method, service.now()).await?;
        let code = code.ok_or_else(|| {
            AuthError::unprocessable(
                Code::FlowStateNotFound,
                "No valid flow state found for user.",
            )
        })?;
        transaction.commit().await?;
        return Ok(redirect::with_query(target, &[("code", &code)]));
    }
    let session = service
        .begin_session(&database, &transaction, origin, *user, "otp")
        .await?;
    transaction.commit().await?;
    let fragment = session.fragment(&[("type", kind)]);
    Ok(redirect::with_fragment(target, &fragment))
}

/// Sends the browser on. The target was checked to be visible ASCII.
pub(super) fn see_other(location: &str) -> Result<Response> {
    let location = HeaderValue::from_str(location)
        .map_err(|error| AuthError::internal("The redirect cannot be written", error))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VerifyRequest {
    r#type: Option<String>,
    token: Option<String>,
    token_hash: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    redirect_to: Option<String>,
}

/// Takes a code or a link's hash; the answer is a session.
pub(super) async fn create_verify(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<VerifyRequest>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Verify, origin.ip())?;
    if text(&body.r#type).is_empty() {
        return Err(AuthError::invalid("Verify requires a verification type"));
    }
    let proof = proof(service, &body)?;
    if matches!(text(&body.r#type), "sms" | "phone_change") {
        return Err(AuthError::forbidden(
            Code::OtpExpired,
            "Token has expired or is invalid",
        ));
    }
    let purpose = Purpose::read(text(&body.r#type))?;
    let database = service.database(origin.project()).await?;
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let transaction = client.transaction().await?;
    let confirmed = confirm::confirm(service, &transaction, &origin, purpose, &proof).await?;
    let Confirmed::Done(user, _) = confirmed else {
        transaction.commit().await?;
        return service::json(&json!({ "msg": HALF_CONFIRMED, "code": "200" }));
    };
    let session = service
        .begin_session(&database, &transaction, &origin, *user, "otp")
        .await?;
    transaction.commit().await?;
    service::json(&session)
}

fn proof(service: &Inner, body: &VerifyRequest) -> Result<Proof> {
    let (token, hash) = (text(&body.token), text(&body.token_hash));
    if token.is_empty() == hash.is_empty() {
        return Err(AuthError::invalid(
            "Verify requires either a token or a token hash",
        ));
    }
    if token.len() > MAX_TOKEN || hash.len() > MAX_TOKEN {
        return Err(confirm::invalid_code());
    }
    let (email, phone) = (text(&body.email), text(&body.phone));
    if !hash.is_empty() {
        if !email.is_empty() || !phone.is_empty() || !text(&body.redirect_to).is_empty() {
            return Err(AuthError::invalid(
                "Only the token_hash and type should be provided",
            ));
        }
        return Ok(Proof::Link {
            hash: hash.to_owned(),
        });
    }
    if email.is_empty() == phone.is_empty() {
        return Err(AuthError::invalid(
            "Only an email address or phone number should be provided on verify",
        ));
    }
    let address = if email.is_empty() {
        email_address::validate_phone(phone)?
    } else {
        email_address::validate(email)
            .map_err(|_| AuthError::unprocessable(Code::ValidationFailed, "Invalid email format"))?
    };
    // Six digits are few: an address has so many guesses and no more, from wherever they come.
    service.limits.guess(&format!("code {address}"))?;
    Ok(Proof::Code {
        hash: otp::hash(&address, token),
        email: address,
    })
}
