//! `GET /user` and `PUT /user`: the account of whoever asks.

use axum::{extract::State, response::Response};
use bunbun_postgres::types::Json as SqlJson;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    accounts::{self, check_metadata, merge},
    email_address,
    error::{AuthError, Code, Result},
    letters::Letter,
    password::Hash,
    rate_limit::What,
    request::{Json, Origin, SignedIn, TokenHolder, text},
    service::{self, AuthService, Inner},
    store::{
        Object,
        audit::{Action, Actor},
        flow_states, one_time_tokens,
        users::{self, Changes, User},
    },
    token::{otp, pkce::Challenge},
};

/// How long a sign-in counts as fresh.
const FRESH: time::Duration = time::Duration::hours(24);

/// Shows the account.
pub(super) async fn get_user(TokenHolder(signed_in): TokenHolder) -> Result<Response> {
    service::json(&signed_in.user)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UpdateUserRequest {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    nonce: Option<String>,
    data: Option<Object>,
    app_metadata: Option<Object>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// What is to change, its form checked.
struct Update {
    email: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    nonce: String,
    challenge: Option<Challenge>,
}

/// Changes the account. A new address counts when it, and the old one, are confirmed.
pub(super) async fn update_user(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Json(body): Json<UpdateUserRequest>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Otp, origin.ip())?;
    let update = check(service, &signed_in, &body)?;
    let room = service.room_for(2)?;
    let hash = match &update.password {
        Some(password) => {
            Some(new_password(service, &origin, &signed_in, &update, password).await?)
        }
        None => None,
    };
    let (user, letters) = apply(service, &origin, &signed_in, &update, hash.as_ref()).await?;
    service.post(letters, room).await;
    service::json(&user)
}

fn check(service: &Inner, signed_in: &SignedIn, body: &UpdateUserRequest) -> Result<Update> {
    let user = &signed_in.user;
    let email = match text(&body.email) {
        "" => None,
        email => Some(email_address::validate(email)?).filter(|email| email != user.email()),
    };
    if !text(&body.phone).is_empty() {
        return Err(AuthError::bad_request(
            Code::PhoneProviderDisabled,
            "Phone numbers cannot be confirmed: no SMS provider",
        ));
    }
    let password = body
        .password
        .as_deref()
        .filter(|password| !password.is_empty());
    if let Some(password) = &body.password {
        service.password_rules.check(password)?;
    }
    if body.app_metadata.is_some() {
        return Err(AuthError::forbidden(
            Code::NotAdmin,
            "Updating app_metadata requires admin privileges",
        ));
    }
    if user.has_verified_factor() && !signed_in.is_aal2() && (password.is_some() || email.is_some())
    {
        return Err(AuthError::new(
            StatusCode::UNAUTHORIZED,
            Code::InsufficientAal,
            "AAL2 session is required to update email or password when MFA is enabled.",
        ));
    }
    if user.is_anonymous && password.is_some() && email.is_none() && user.email.is_none() {
        return Err(AuthError::unprocessable(
            Code::ValidationFailed,
            "Updating password of an anonymous user without an email or phone is not allowed",
        ));
    }
    let nonce = text(&body.nonce).to_owned();
    if user.is_sso_user && (password.is_some() || email.is_some() || !nonce.is_empty()) {
        return Err(AuthError::unprocessable(
            Code::UserSsoManaged,
            "Updating email, phone, password of a SSO account only possible via SSO",
        ));
    }
    Ok(Update {
        email,
        password: password.map(str::to_owned),
        data: body.data.clone(),
        nonce,
        challenge: Challenge::read(
            text(&body.code_challenge),
            text(&body.code_challenge_method),
        )?,
    })
}

/// Checks that the password may change and is another one, and hashes it.
async fn new_password(
    service: &Inner,
    origin: &Origin,
    signed_in: &SignedIn,
    update: &Update,
    password: &str,
) -> Result<Hash> {
    let user = &signed_in.user;
    if service.config.reauthenticate_for_password {
        let is_fresh = signed_in
            .session
            .as_ref()
            .is_some_and(|session| session.created_at + FRESH > service.now());
        if !is_fresh {
            reauthenticate(service, origin, user, &update.nonce).await?;
        }
    }
    let known = user.encrypted_password.as_deref().and_then(Hash::parse);
    if known.is_some() {
        let place = service.passwords.reserve()?;
        let is_same = service.passwords.verify(place, known.as_ref(), password);
        if is_same.await? {
            return Err(AuthError::unprocessable(
                Code::SamePassword,
                "New password should be different from the old password.",
            ));
        }
    }
    service.passwords.hash(password).await
}

async fn reauthenticate(service: &Inner, origin: &Origin, user: &User, nonce: &str) -> Result<()> {
    if nonce.is_empty() {
        return Err(AuthError::bad_request(
            Code::ReauthenticationNeeded,
            "Password update requires reauthentication",
        ));
    }
    service
        .limits
        .guess(&format!("reauthentication {}", user.id))?;
    let given = otp::hash(user.email(), nonce);
    let is_valid = otp::is_valid(
        &given,
        &user.reauthentication_token,
        user.reauthentication_sent_at,
        service.now(),
        service.config.otp_expiry,
    );
    if !is_valid {
        return Err(AuthError::unprocessable(
            Code::ReauthenticationNotValid,
            "Nonce has expired or is invalid",
        ));
    }
    let database = service.database(origin.project()).await?;
    let client = database.client().await?;
    Changes::default()
        .set("reauthentication_token", "")
        .save(&client, user.id, service.now())
        .await?;
    let kind = one_time_tokens::Kind::Reauthentication;
    Ok(one_time_tokens::clear(&client, user.id, kind).await?)
}

async fn apply(
    service: &Inner,
    origin: &Origin,
    signed_in: &SignedIn,
    update: &Update,
    hash: Option<&Hash>,
) -> Result<(User, Vec<Letter>)> {
    let now = service.now();
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let gone = || {
        AuthError::forbidden(
            Code::UserNotFound,
            "User from sub claim in JWT does not exist",
        )
    };
    let user = users::lock(&transaction, signed_in.user.id)
        .await?
        .ok_or_else(gone)?;
    let actor = Actor::user(&user);
    let mut letters = Vec::new();
    if let Some(email) = &update.email {
        let taken = users::find_duplicate(&transaction, email, &user.aud, Some(user.id)).await?;
        if taken.is_some() {
            return Err(AuthError::unprocessable(
                Code::EmailExists,
                "A user with this email address has already been registered",
            ));
        }
    }
    if let Some(hash) = hash {
        let keep = signed_in.session.as_ref().map(|session| session.id);
        accounts::set_password(&transaction, user.id, hash.as_str(), keep, now).await?;
        let updated = Action::UserUpdatedPassword;
        service
            .audit(&transaction, origin, &actor, updated, None)
            .await?;
    }
    if let Some(data) = &update.data {
        let mut metadata = user.user_metadata.clone();
        merge(&mut metadata, data);
        check_metadata(&user.app_metadata, &metadata)?;
        Changes::default()
            .set("raw_user_meta_data", SqlJson(Value::Object(metadata)))
            .save(&transaction, user.id, now)
            .await?;
    }
    if let Some(email) = &update.email {
        let current = users::find(&transaction, user.id).await?.ok_or_else(gone)?;
        if user.is_anonymous && service.config.mailer_autoconfirm {
            // Much like a signup: there is no address yet that could be lost.
            accounts::change_email(&transaction, &current, email, now).await?;
        } else {
            letters =
                request_change(service, &transaction, origin, &current, update, email).await?;
        }
    }
    service
        .audit(&transaction, origin, &actor, Action::UserModified, None)
        .await?;
    let user = users::find(&transaction, user.id).await?.ok_or_else(gone)?;
    transaction.commit().await?;
    Ok((user, letters))
}

async fn request_change(
    service: &Inner,
    session: &bunbun_postgres::Session,
    origin: &Origin,
    user: &User,
    update: &Update,
    email: &str,
) -> Result<Vec<Letter>> {
    if let Some(sent_at) = user.email_change_sent_at
        && service.sent_recently(Some(sent_at))
    {
        let until = sent_at + service.config.smtp_max_frequency;
        let wait = u64::try_from((until - service.now()).whole_seconds() + 1).unwrap_or(1);
        return Err(AuthError::too_many(
            Code::OverEmailSendRateLimit,
            format!("For security purposes, you can only request this after {wait} seconds."),
            wait,
        ));
    }
    service.limits.any_mail()?;
    if let Some(challenge) = &update.challenge {
        let kind = "email_change";
        let user_id = Some(user.id);
        flow_states::insert(session, kind, kind, challenge, user_id, service.now()).await?;
    }
    let is_pkce = update.challenge.is_some();
    Ok(service
        .email_change(session, origin, user, email, is_pkce)
        .await?)
}
