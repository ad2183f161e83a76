//! `POST /signup`: a new account by address and password, or an anonymous one.

use axum::{extract::State, response::Response};
use bunbun_postgres::Session;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::otp;
use crate::{
    accounts::{self, provider_metadata},
    email_address,
    error::{AuthError, Code, Result},
    grant::{TokenResponse, provider_trait},
    hooks::room::Calls,
    letters::Letter,
    password::Hash,
    rate_limit::What,
    request::{Json, Origin, text},
    service::{self, AuthService, Database, Inner},
    store::{
        Object,
        audit::{Action, Actor},
        flow_states,
        identities::{self, Identity},
        users::{self, NewUser, User},
    },
    timestamp::Timestamp,
    token::pkce::Challenge,
    unconfirmed,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SignupRequest {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
    data: Option<Object>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// Creates an account. With autoconfirmation the answer is a session, otherwise the user; an
/// address that is taken gets an answer that looks the same.
pub(super) async fn create_signup(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<SignupRequest>,
) -> Result<Response> {
    let service = &*service.0;
    if text(&body.email).is_empty() && text(&body.phone).is_empty() {
        return service::json(&anonymous(service, &origin, body.data.unwrap_or_default()).await?);
    }
    service.limits.request(What::Otp, origin.ip())?;
    if service.config.disable_signup {
        return Err(AuthError::unprocessable(
            Code::SignupDisabled,
            "Signups not allowed for this instance",
        ));
    }
    let wanted = Signup::check(service, &body)?;
    match sign_up(service, &origin, &wanted).await? {
        SignedUp::Session(session) => service::json(&*session),
        SignedUp::User(user) => service::json(&*user),
    }
}

/// A signup whose form is right.
#[derive(Debug)]
struct Signup {
    email: String,
    password: String,
    data: Object,
    challenge: Option<Challenge>,
}

impl Signup {
    fn check(service: &Inner, body: &SignupRequest) -> Result<Self> {
        let password = text(&body.password);
        if password.is_empty() {
            return Err(AuthError::invalid("Signup requires a valid password"));
        }
        service.password_rules.check(password)?;
        if !text(&body.email).is_empty() && !text(&body.phone).is_empty() {
            return Err(AuthError::invalid(
                "Only an email address or phone number should be provided on signup.",
            ));
        }
        let challenge = Challenge::read(
            text(&body.code_challenge),
            text(&body.code_challenge_method),
        )?;
        if !text(&body.phone).is_empty() {
            return Err(AuthError::bad_request(
                Code::PhoneProviderDisabled,
                "Phone signups are disabled",
            ));
        }
        if !service.config.email_enabled {
            return Err(AuthError::bad_request(
                Code::EmailProviderDisabled,
                "Email signups are disabled",
            ));
        }
        let data = body.data.clone().unwrap_or_default();
        accounts::check_metadata(&Object::new(), &data)?;
        Ok(Self {
            email: email_address::validate(text(&body.email))?,
            password: password.to_owned(),
            data,
            challenge,
        })
    }
}

/// What became of a signup.
enum SignedUp {
    /// The account is confirmed and signed in.
    Session(Box<TokenResponse>),
    /// A mail is on its way, or the address is taken.
    User(Box<User>),
}

async fn sign_up(service: &Inner, origin: &Origin, wanted: &Signup) -> Result<SignedUp> {
    let autoconfirm = service.config.mailer_autoconfirm;
    if !autoconfirm {
        service.limits.mail(What::ConfirmationMail, &wanted.email)?;
    }
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut outcome = attempt(service, &database, origin, wanted).await;
    // Someone else took the address between our look and our insertion: look again.
    if matches!(&outcome, Err(Failed::Taken)) {
        outcome = attempt(service, &database, origin, wanted).await;
    }
    match outcome {
        Ok((signed_up, letter)) => {
            if let Some(letter) = letter {
                service.post(vec![letter], room).await;
            }
            Ok(signed_up)
        }
        Err(Failed::Error(error)) => Err(error),
        Err(Failed::Taken) => Err(taken()),
    }
}

/// What the password is to the address.
enum Password {
    /// It is to be this one.
    New(Hash),
    /// Someone signed up before and has not confirmed it yet: whether with the same password, and
    /// what is stored of it.
    Repeated { fits: bool, stored: Option<String> },
}

/// One hash is computed whether or not the address is taken: the work must not tell.
async fn look(
    service: &Inner,
    database: &Database,
    origin: &Origin,
    wanted: &Signup,
) -> Result<Password> {
    let place = service.passwords.reserve()?;
    let known = {
        let client = database.client().await?;
        users::find_by_email(&client, &wanted.email, origin.audience()).await?
    };
    let is_pending = |user: &User| {
        !user.is_confirmed()
            && !unconfirmed::is_appointed(user)
            && service.awaits_confirmation(user)
    };
    match known.filter(is_pending) {
        Some(user) => {
            let stored = user.encrypted_password;
            let hash = stored.as_deref().and_then(Hash::parse);
            let fits = service
                .passwords
                .verify(place, hash.as_ref(), &wanted.password)
                .await?;
            Ok(Password::Repeated { fits, stored })
        }
        None => {
            let hash = service.passwords.hash_at(place, &wanted.password).await?;
            Ok(Password::New(hash))
        }
    }
}

fn taken() -> AuthError {
    AuthError::unprocessable(Code::UserAlreadyExists, "User already registered")
}

enum Failed {
    /// The address was taken at this moment.
    Taken,
    Error(AuthError),
}

impl<E: Into<AuthError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

async fn attempt(
    service: &Inner,
    database: &Database,
    origin: &Origin,
    wanted: &Signup,
) -> Result<(SignedUp, Option<Letter>), Failed> {
    let password = look(service, database, origin, wanted).await?;
    let autoconfirm = service.config.mailer_autoconfirm;
    let now = service.now();
    let mut client = database.hooked_client(&service.hooks, Calls::Both).await?;
    let transaction = client.transaction().await?;
    let aud = origin.audience();
    if let Some(known) = users::find_duplicate(&transaction, &wanted.email, aud, None).await? {
        let (actor, traits) = (Actor::user(&known), provider_trait("email"));
        if !known.is_confirmed() && !autoconfirm && known.email() == wanted.email {
            let letter = repeat(service, &transaction, origin, known.id, wanted, &password).await?;
            transaction.commit().await?;
            let shown = look_alike(known.id, &known.aud, wanted, true, now);
            return Ok((SignedUp::User(Box::new(shown)), letter));
        }
        let repeated = Action::UserRepeatedSignup;
        service
            .audit(&transaction, origin, &actor, repeated, traits)
            .await?;
        transaction.commit().await?;
        if autoconfirm {
            return Err(taken().into());
        }
        // Clients tell by the empty list of identities that the address is taken, as the original
        // documents.
        let shown = look_alike(Uuid::new_v4(), &known.aud, wanted, false, now);
        return Ok((SignedUp::User(Box::new(shown)), None));
    }
    // It was there a moment ago: look again.
    let Password::New(hash) = password else {
        return Err(Failed::Taken);
    };
    let new = new_user(wanted, aud, &hash);
    match service.create_user(&transaction, origin, &new).await {
        Ok(()) => {}
        Err(error) if accounts::is_taken(&error) => return Err(Failed::Taken),
        Err(error) => return Err(error.into()),
    }
    let mut data = identities::own_data(new.id, "email", &wanted.email);
    for (name, value) in &wanted.data {
        data.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let provider_id = new.id.to_string();
    identities::insert(&transaction, new.id, "email", &provider_id, &data, now).await?;
    let user = reload(&transaction, new.id).await?;
    if !autoconfirm {
        let letter = request_confirmation(service, &transaction, origin, &user, wanted).await?;
        let user = reload(&transaction, new.id).await?;
        transaction.commit().await?;
        return Ok((SignedUp::User(Box::new(user)), Some(letter)));
    }
    let (actor, traits) = (Actor::user(&user), provider_trait("email"));
    let signed_up = Action::UserSignedUp;
    service
        .audit(&transaction, origin, &actor, signed_up, traits.clone())
        .await?;
    accounts::confirm_email(&transaction, &user, now).await?;
    service
        .audit(&transaction, origin, &actor, Action::Login, traits)
        .await?;
    let user = reload(&transaction, new.id).await?;
    let session = service
        .begin_session(database, &transaction, origin, user, "password")
        .await?;
    transaction.commit().await?;
    Ok((SignedUp::Session(Box::new(session)), None))
}

/// A signup for an account that nobody has confirmed. Whether the same person asks again is not
/// known, so what tells them apart decides: with the same password it goes on, after its time it
/// begins anew, and otherwise nobody's password counts. What an administrator made stays as it is.
async fn repeat(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    user_id: Uuid,
    wanted: &Signup,
    password: &Password,
) -> Result<Option<Letter>, Failed> {
    let now = service.now();
    let known = users::lock(session, user_id).await?;
    let known = known
        .filter(|user| !user.is_confirmed())
        .ok_or(Failed::Taken)?;
    if unconfirmed::is_appointed(&known) {
        let challenge = wanted.challenge.as_ref();
        return Ok(otp::magic_link(service, session, origin, &known, challenge).await?);
    }
    match password {
        Password::Repeated { fits: true, stored } if *stored == known.encrypted_password => {}
        Password::Repeated { fits: false, .. } => {
            unconfirmed::drop_claims(session, &known, now).await?;
        }
        Password::New(hash) if !service.awaits_confirmation(&known) => {
            let hash = Some(hash.as_str());
            unconfirmed::begin_anew(session, &known, hash, &wanted.data, now).await?;
        }
        // It is not what it was when the password was looked at.
        Password::Repeated { .. } | Password::New(_) => return Err(Failed::Taken),
    }
    if service.sent_recently(known.confirmation_sent_at) {
        return Ok(None);
    }
    let user = reload(session, known.id).await?;
    let letter = request_confirmation(service, session, origin, &user, wanted).await?;
    Ok(Some(letter))
}

fn new_user(wanted: &Signup, aud: &str, hash: &Hash) -> NewUser {
    let id = Uuid::new_v4();
    let mut user_metadata = wanted.data.clone();
    for (name, value) in identities::own_data(id, "email", &wanted.email) {
        user_metadata.insert(name, value);
    }
    NewUser {
        id,
        aud: aud.to_owned(),
        role: "authenticated".to_owned(),
        email: Some(wanted.email.clone()),
        encrypted_password: Some(hash.as_str().to_owned()),
        app_metadata: provider_metadata(&["email"]),
        user_metadata,
        ..NewUser::default()
    }
}

async fn request_confirmation(
    service: &Inner,
    session: &Session,
    origin: &Origin,
    user: &User,
    wanted: &Signup,
) -> Result<Letter> {
    let (actor, traits) = (Actor::user(user), provider_trait("email"));
    let requested = Action::UserConfirmationRequested;
    service
        .audit(session, origin, &actor, requested, traits)
        .await?;
    if let Some(challenge) = &wanted.challenge {
        let (provider, method) = ("email", "email/signup");
        let user_id = Some(user.id);
        flow_states::insert(session, provider, method, challenge, user_id, service.now()).await?;
    }
    let is_pkce = wanted.challenge.is_some();
    Ok(service.confirmation(session, origin, user, is_pkce).await?)
}

async fn reload(session: &Session, id: Uuid) -> Result<User> {
    users::find(session, id)
        .await?
        .ok_or_else(|| AuthError::internal("Database error loading user", "the user is gone"))
}

/// A user who looks as a new one would: nothing of it but the id is the known one's.
fn look_alike(
    id: Uuid,
    aud: &str,
    wanted: &Signup,
    has_identity: bool,
    now: time::OffsetDateTime,
) -> User {
    let own = identities::own_data(id, "email", &wanted.email);
    let mut user_metadata = wanted.data.clone();
    user_metadata.extend(own.clone());
    let mut identity_data = own;
    for (name, value) in &wanted.data {
        identity_data
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    let identity = Identity {
        identity_id: Uuid::new_v4(),
        provider_id: id.to_string(),
        user_id: id,
        identity_data,
        provider: "email".to_owned(),
        last_sign_in_at: Some(Timestamp(now)),
        created_at: Some(Timestamp(now)),
        updated_at: Some(Timestamp(now)),
        email: Some(wanted.email.clone()),
    };
    let new = NewUser {
        id,
        aud: aud.to_owned(),
        role: "authenticated".to_owned(),
        email: Some(wanted.email.clone()),
        app_metadata: provider_metadata(&["email"]),
        user_metadata,
        ..NewUser::default()
    };
    User {
        confirmation_sent_at: Some(now),
        identities: has_identity.then_some(identity).into_iter().collect(),
        ..User::preview(&new, now)
    }
}

async fn anonymous(service: &Inner, origin: &Origin, data: Object) -> Result<TokenResponse> {
    if !service.config.anonymous_enabled {
        return Err(AuthError::unprocessable(
            Code::AnonymousProviderDisabled,
            "Anonymous sign-ins are disabled",
        ));
    }
    service.limits.request(What::Anonymous, origin.ip())?;
    let new = NewUser {
        id: Uuid::new_v4(),
        aud: origin.audience().to_owned(),
        role: "authenticated".to_owned(),
        user_metadata: data,
        is_anonymous: true,
        ..NewUser::default()
    };
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Both).await?;
    let transaction = client.transaction().await?;
    service.create_user(&transaction, origin, &new).await?;
    let user = reload(&transaction, new.id).await?;
    let actor = Actor::user(&user);
    let traits = Some(json!({ "provider": "anonymous" }));
    service
        .audit(&transaction, origin, &actor, Action::UserSignedUp, traits)
        .await?;
    let session = service
        .begin_session(&database, &transaction, origin, user, "anonymous")
        .await?;
    transaction.commit().await?;
    Ok(session)
}
