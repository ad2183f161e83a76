//! `POST /token?grant_type=password`.

use serde::Deserialize;
use serde_json::json;

use crate::{
    error::{AuthError, Code, Result},
    grant::{TokenResponse, banned, provider_trait},
    hooks::room::Calls,
    password::Hash,
    request::{Origin, text},
    service::Inner,
    store::{
        audit::{Action, Actor},
        users,
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PasswordGrant {
    email: Option<String>,
    phone: Option<String>,
    password: Option<String>,
}

/// Signs in. An unknown address, an account without password and a wrong password are one answer
/// and the same work; what is wrong with an account is told to whoever knows its password.
pub(super) async fn grant(
    service: &Inner,
    origin: &Origin,
    body: PasswordGrant,
) -> Result<TokenResponse> {
    let (email, phone, password) = (text(&body.email), text(&body.phone), text(&body.password));
    if !email.is_empty() && !phone.is_empty() {
        return Err(AuthError::invalid(
            "Only an email address or phone number should be provided on login.",
        ));
    }
    if email.is_empty() && phone.is_empty() {
        return Err(AuthError::invalid("missing email or phone"));
    }
    if !phone.is_empty() {
        return Err(AuthError::unprocessable(
            Code::PhoneProviderDisabled,
            "Phone logins are disabled",
        ));
    }
    if !service.config.email_enabled {
        return Err(AuthError::unprocessable(
            Code::EmailProviderDisabled,
            "Email logins are disabled",
        ));
    }
    if email.len() > 255 {
        return Err(AuthError::invalid_credentials());
    }
    let place = service.passwords.reserve()?;
    let database = service.database(origin.project()).await?;
    let found = {
        let client = database.client().await?;
        users::find_by_email(&client, &email.to_lowercase(), origin.audience()).await?
    };
    // No connection is held while the password is compared.
    let hash = found
        .as_ref()
        .and_then(|user| user.encrypted_password.as_deref())
        .and_then(Hash::parse);
    let fits = service
        .passwords
        .verify(place, hash.as_ref(), password)
        .await?;
    let Some(user) = found.filter(|_| fits) else {
        return Err(AuthError::invalid_credentials());
    };
    if user.is_banned(service.now()) {
        return Err(banned(true));
    }
    if !user.is_confirmed() {
        return Err(AuthError::bad_request(
            Code::EmailNotConfirmed,
            "Email not confirmed",
        ));
    }
    let weak = service.password_rules.check(password).err();
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let transaction = client.transaction().await?;
    let actor = Actor::user(&user);
    let traits = provider_trait("email");
    service
        .audit(&transaction, origin, &actor, Action::Login, traits)
        .await?;
    let mut session = service
        .begin_session(&database, &transaction, origin, user, "password")
        .await?;
    transaction.commit().await?;
    session.weak_password =
        weak.map(|error| json!({ "message": error.message(), "reasons": error.reasons() }));
    Ok(session)
}
