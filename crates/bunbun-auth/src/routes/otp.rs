//! `POST /otp`: a mail with a code and a link that sign in.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    accounts::{self, check_metadata, provider_metadata},
    email_address,
    error::{AuthError, Code, Result},
    grant::provider_trait,
    hooks::room::Calls,
    letters::Letter,
    mail::Content,
    rate_limit::What,
    request::{Json, Origin, text},
    service::{self, AuthService, Database, Inner},
    store::{
        Object,
        audit::{Action, Actor},
        flow_states, identities,
        users::{self, NewUser, User},
    },
    token::pkce::Challenge,
    unconfirmed,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OtpRequest {
    email: Option<String>,
    phone: Option<String>,
    create_user: Option<bool>,
    data: Option<Object>,
    channel: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// Sends a code. An address without an account gets one; where the request wants none made, that is
/// an error, as with the original: whoever asks so asks whether there is an account.
pub(super) async fn create_otp(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<OtpRequest>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Otp, origin.ip())?;
    if !text(&body.email).is_empty() && !text(&body.phone).is_empty() {
        return Err(AuthError::invalid(
            "Only an email address or phone number should be provided",
        ));
    }
    if !text(&body.email).is_empty() && !text(&body.channel).is_empty() {
        return Err(AuthError::invalid(
            "Channel should only be specified with Phone OTP",
        ));
    }
    let challenge = Challenge::read(
        text(&body.code_challenge),
        text(&body.code_challenge_method),
    )?;
    if !text(&body.phone).is_empty() {
        return Err(AuthError::bad_request(
            Code::PhoneProviderDisabled,
            "Unsupported phone provider",
        ));
    }
    if text(&body.email).is_empty() {
        return Err(AuthError::invalid("One of email or phone must be set"));
    }
    let wanted = SignIn {
        email: email_address::validate(text(&body.email))?,
        data: body.data.unwrap_or_default(),
        may_create: body.create_user.unwrap_or(true),
        challenge,
    };
    send(service, &origin, &wanted).await?;
    service::json(&json!({}))
}

/// Whom to send a code.
pub(super) struct SignIn {
    pub(super) email: String,
    pub(super) data: Object,
    pub(super) may_create: bool,
    pub(super) challenge: Option<Challenge>,
}

/// Sends a code that signs in, or one that confirms a new account and signs in.
pub(super) async fn send(service: &Inner, origin: &Origin, wanted: &SignIn) -> Result<()> {
    if !service.config.email_enabled {
        return Err(AuthError::unprocessable(
            Code::EmailProviderDisabled,
            "Email logins are disabled",
        ));
    }
    check_metadata(&Object::new(), &wanted.data)?;
    service.limits.mail(What::RecoveryMail, &wanted.email)?;
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut letter = prepare(service, &database, origin, wanted).await;
    // Someone else took the address between our look and our insertion: look again.
    if letter.as_ref().is_err_and(accounts::is_taken) {
        letter = prepare(service, &database, origin, wanted).await;
    }
    if let Some(letter) = letter? {
        service.post(vec![letter], room).await;
    }
    Ok(())
}

/// The account and its letter, if there is to be one.
async fn prepare(
    service: &Inner,
    database: &Database,
    origin: &Origin,
    wanted: &SignIn,
) -> Result<Option<Letter>> {
    let mut client = database.hooked_client(&service.hooks, Calls::Users).await?;
    let transaction = client.transaction().await?;
    let known = users::find_by_email(&transaction, &wanted.email, origin.audience()).await?;
    let letter = match known {
        Some(user) if user.is_confirmed() || service.config.mailer_autoconfirm => {
            magic_link(
                service,
                &transaction,
                origin,
                &user,
                wanted.challenge.as_ref(),
            )
            .await?
        }
        // A code that signs in confirms as well, and not what others left on the account.
        Some(user) if unconfirmed::has_claims(&user) => {
            if service.sent_recently(user.confirmation_sent_at) {
                None
            } else {
                let challenge = wanted.challenge.as_ref();
                magic_link(service, &transaction, origin, &user, challenge).await?
            }
        }
        Some(user) => confirmation(service, &transaction, origin, &user, wanted).await?,
        None if wanted.may_create && !service.config.disable_signup => {
            let user = create(service, &transaction, origin, wanted).await?;
            if service.config.mailer_autoconfirm {
                let challenge = wanted.challenge.as_ref();
                magic_link(service, &transaction, origin, &user, challenge).await?
            } else {
                confirmation(service, &transaction, origin, &user, wanted).await?
            }
        }
        None if !wanted.may_create => {
            return Err(AuthError::unprocessable(
                Code::OtpDisabled,
                "Signups not allowed for otp",
            ));
        }
        // Nobody asked for an account, and the answer tells of none.
        None => None,
    };
    transaction.commit().await?;
    Ok(letter)
}

/// An account without a password.
async fn create(
    service: &Inner,
    session: &bunbun_postgres::Session,
    origin: &Origin,
    wanted: &SignIn,
) -> Result<User> {
    let now = service.now();
    let id = Uuid::new_v4();
    let data = identities::own_data(id, "email", &wanted.email);
    let mut user_metadata = wanted.data.clone();
    user_metadata.extend(data.clone());
    let new = NewUser {
        id,
        aud: origin.audience().to_owned(),
        role: "authenticated".to_owned(),
        email: Some(wanted.email.clone()),
        app_metadata: provider_metadata(&["email"]),
        user_metadata,
        ..NewUser::default()
    };
    service.create_user(session, origin, &new).await?;
    identities::insert(session, id, "email", &id.to_string(), &data, now).await?;
    let gone = || AuthError::internal("Database error loading user", "the user is gone");
    let user = users::find(session, id).await?.ok_or_else(gone)?;
    if service.config.mailer_autoconfirm {
        let actor = Actor::user(&user);
        let traits = provider_trait("email");
        service
            .audit(session, origin, &actor, Action::UserSignedUp, traits)
            .await?;
        accounts::confirm_email(session, &user, now).await?;
        return users::find(session, id).await?.ok_or_else(gone);
    }
    Ok(user)
}

/// A code that signs in, unless one was sent a moment ago.
pub(super) async fn magic_link(
    service: &Inner,
    session: &bunbun_postgres::Session,
    origin: &Origin,
    user: &User,
    challenge: Option<&Challenge>,
) -> Result<Option<Letter>> {
    if service.sent_recently(user.recovery_sent_at) {
        return Ok(None);
    }
    let actor = Actor::user(user);
    let requested = Action::UserRecoveryRequested;
    service
        .audit(session, origin, &actor, requested, None)
        .await?;
    if let Some(challenge) = challenge {
        let (kind, now) = ("magiclink", service.now());
        flow_states::insert(session, kind, kind, challenge, Some(user.id), now).await?;
    }
    let (content, is_pkce) = (Content::MagicLink, challenge.is_some());
    let letter = service
        .recovery(session, origin, user, content, is_pkce)
        .await?;
    Ok(Some(letter))
}

async fn confirmation(
    service: &Inner,
    session: &bunbun_postgres::Session,
    origin: &Origin,
    user: &User,
    wanted: &SignIn,
) -> Result<Option<Letter>> {
    if service.sent_recently(user.confirmation_sent_at) {
        return Ok(None);
    }
    let actor = Actor::user(user);
    let requested = Action::UserConfirmationRequested;
    service
        .audit(session, origin, &actor, requested, provider_trait("email"))
        .await?;
    if let Some(challenge) = &wanted.challenge {
        let (method, now) = ("email/signup", service.now());
        flow_states::insert(session, "email", method, challenge, Some(user.id), now).await?;
    }
    let is_pkce = wanted.challenge.is_some();
    Ok(Some(
        service.confirmation(session, origin, user, is_pkce).await?,
    ))
}
