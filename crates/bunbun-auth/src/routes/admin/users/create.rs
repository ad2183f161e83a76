//! `POST /admin/users`.

use axum::{extract::State, response::Response};
use bunbun_postgres::Session;
use uuid::Uuid;

use super::{UserRequest, ban_seconds, traits};
use crate::{
    accounts::{self, merge, provider_metadata},
    email_address,
    error::{AuthError, Code, Result},
    hooks::room::Calls,
    password::Hash,
    request::{Admin, Json, Origin, text},
    service::{self, AuthService, Inner},
    store::{
        audit::Action,
        identities,
        users::{self, Changes, NewUser, User},
    },
};

/// Creates a user. Without a password they sign in by mail.
pub(super) async fn create_user(
    State(service): State<AuthService>,
    origin: Origin,
    admin: Admin,
    Json(body): Json<UserRequest>,
) -> Result<Response> {
    let service = &*service.0;
    let new = new_user(service, &origin, &body).await?;
    let ban = ban_seconds(text(&body.ban_duration))?;
    let now = service.now();
    let database = service.database(origin.project()).await?;
    let mut client = database.hooked_client(&service.hooks, Calls::Users).await?;
    let transaction = client.transaction().await?;
    refuse_duplicates(&transaction, &new).await?;
    service
        .insert_user(&transaction, &origin, &new)
        .await
        .map_err(conflict)?;
    if let Some(email) = &new.email {
        identities::upsert_email(&transaction, new.id, email, false, now).await?;
    }
    if let Some(phone) = &new.phone {
        identities::upsert_phone(&transaction, new.id, phone, false, now).await?;
    }
    let mut user = reload(&transaction, new.id).await?;
    if body.email_confirm == Some(true) && user.email.is_some() {
        accounts::confirm_email(&transaction, &user, now).await?;
        user = reload(&transaction, new.id).await?;
    }
    let mut changes = Changes::default();
    if body.phone_confirm == Some(true) && user.phone.is_some() {
        changes = changes.set("phone_confirmed_at", now);
    }
    if let Some(seconds) = ban.filter(|seconds| *seconds > 0.0) {
        changes = changes.set("banned_until", now + time::Duration::seconds_f64(seconds));
    }
    changes.save(&transaction, user.id, now).await?;
    let (actor, traits) = (admin.actor(), traits(&user));
    service
        .audit(&transaction, &origin, &actor, Action::UserSignedUp, traits)
        .await?;
    let user = reload(&transaction, new.id).await?;
    transaction.commit().await?;
    service::json(&user)
}

async fn new_user(service: &Inner, origin: &Origin, body: &UserRequest) -> Result<NewUser> {
    let (email, phone) = (text(&body.email), text(&body.phone));
    if email.is_empty() && phone.is_empty() {
        return Err(AuthError::invalid(
            "Cannot create a user without either an email or phone",
        ));
    }
    let mut providers = Vec::new();
    let email = match email {
        "" => None,
        email => Some(email_address::validate(email)?),
    };
    let phone = match phone {
        "" => None,
        phone => Some(email_address::validate_phone(phone)?),
    };
    if email.is_some() {
        providers.push("email");
    }
    if phone.is_some() {
        providers.push("phone");
    }
    let mut app_metadata = provider_metadata(&providers);
    if let Some(data) = &body.app_metadata {
        merge(&mut app_metadata, data);
    }
    Ok(NewUser {
        id: id(text(&body.id))?,
        aud: bounded(text(&body.aud), origin.audience())?,
        role: bounded(text(&body.role), "authenticated")?,
        email,
        phone,
        encrypted_password: password(service, body).await?,
        app_metadata,
        user_metadata: body.user_metadata.clone().unwrap_or_default(),
        is_anonymous: false,
    })
}

fn id(given: &str) -> Result<Uuid> {
    if given.is_empty() {
        return Ok(Uuid::new_v4());
    }
    let id: Uuid = given
        .parse()
        .map_err(|_| AuthError::invalid("ID must conform to the uuid v4 format"))?;
    if id.is_nil() {
        return Err(AuthError::invalid("ID cannot be a nil uuid"));
    }
    Ok(id)
}

pub(super) fn bounded(given: &str, default: &str) -> Result<String> {
    if given.len() > 63 {
        return Err(AuthError::invalid(
            "aud and role must not be longer than 63 bytes",
        ));
    }
    Ok(if given.is_empty() { default } else { given }.to_owned())
}

async fn password(service: &Inner, body: &UserRequest) -> Result<Option<String>> {
    let (password, hash) = (text(&body.password), text(&body.password_hash));
    if !password.is_empty() && !hash.is_empty() {
        return Err(AuthError::invalid(
            "Only a password or a password hash should be provided",
        ));
    }
    if !hash.is_empty() {
        let hash = Hash::parse(hash).ok_or_else(|| {
            AuthError::invalid(
                "password_hash is neither bcrypt, Argon2i, Argon2id nor Firebase scrypt",
            )
        })?;
        return Ok(Some(hash.as_str().to_owned()));
    }
    if password.is_empty() {
        return Ok(None);
    }
    if password.len() > crate::password::MAX_BYTES {
        return Err(AuthError::invalid(
            "Password cannot be longer than 72 characters",
        ));
    }
    let hash = service.passwords.hash(password).await?;
    Ok(Some(hash.as_str().to_owned()))
}

async fn refuse_duplicates(session: &Session, new: &NewUser) -> Result<()> {
    if let Some(email) = &new.email
        && users::find_duplicate(session, email, &new.aud, None)
            .await?
            .is_some()
    {
        return Err(email_exists());
    }
    if let Some(phone) = &new.phone
        && users::find_by_phone(session, phone, &new.aud)
            .await?
            .is_some()
    {
        return Err(phone_exists());
    }
    Ok(())
}

pub(super) fn email_exists() -> AuthError {
    AuthError::unprocessable(
        Code::EmailExists,
        "A user with this email address has already been registered",
    )
}

fn phone_exists() -> AuthError {
    AuthError::unprocessable(
        Code::PhoneExists,
        "Phone number already registered by another user",
    )
}

/// What a constraint of `auth.users` means.
pub(super) fn conflict(error: AuthError) -> AuthError {
    let constraint = error
        .database_cause()
        .and_then(bunbun_postgres::Error::constraint)
        .map(str::to_owned);
    match constraint.as_deref() {
        Some("users_email_partial_key") => email_exists(),
        Some("users_phone_key") => phone_exists(),
        Some("users_pkey") => AuthError::unprocessable(
            Code::UserAlreadyExists,
            "A user with this id already exists",
        ),
        _ => error,
    }
}

async fn reload(session: &Session, id: Uuid) -> Result<User> {
    users::find(session, id)
        .await?
        .ok_or_else(|| AuthError::internal("Database error loading user", "the user is gone"))
}
