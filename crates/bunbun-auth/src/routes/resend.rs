//! `POST /resend`: a mail once more.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::otp;
use crate::{
    email_address,
    error::{AuthError, Code, Result},
    rate_limit::What,
    request::{Json, Origin, text},
    service::{self, AuthService, Inner},
    store::{
        audit::{Action, Actor},
        users::{self, User},
    },
    unconfirmed,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResendRequest {
    r#type: Option<String>,
    email: Option<String>,
    phone: Option<String>,
}

/// Sends a confirmation again where one is awaited; the answer is the same where none is.
pub(super) async fn create_resend(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<ResendRequest>,
) -> Result<Response> {
    let service = service.0;
    service.limits.request(What::Otp, origin.ip())?;
    let kind = text(&body.r#type);
    let email = check(service.config.email_enabled, kind, &body)?;
    service.limits.mail(What::ConfirmationMail, &email)?;
    let room = service.room_for(2)?;
    let database = service.database(origin.project()).await?;
    let found = {
        let client = database.client().await?;
        users::find_by_email(&client, &email, origin.audience()).await?
    };
    let is_signup = kind == "signup";
    let is_due = |user: &User| {
        if is_signup {
            !user.is_confirmed() && !service.sent_recently(user.confirmation_sent_at)
        } else {
            !user.email_change.is_empty() && !service.sent_recently(user.email_change_sent_at)
        }
    };
    if let Some(user) = found.filter(is_due) {
        let work = send(
            Arc::clone(&service),
            origin.clone(),
            user.id,
            is_signup,
            room,
        );
        service.afterwards(&origin, work).await?;
    }
    service::json(&json!({}))
}

async fn send(
    service: Arc<Inner>,
    origin: Origin,
    user_id: Uuid,
    is_signup: bool,
    room: OwnedSemaphorePermit,
) -> Result<()> {
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let Some(user) = users::lock(&transaction, user_id).await? else {
        return Ok(());
    };
    let letters = if !is_signup {
        if user.email_change.is_empty() {
            return Ok(());
        }
        let new_email = user.email_change.clone();
        service
            .email_change(&transaction, &origin, &user, &new_email, false)
            .await?
    } else if user.is_confirmed() {
        return Ok(());
    } else if unconfirmed::is_appointed(&user) {
        // An invitation stays good beside it.
        let letter = otp::magic_link(&service, &transaction, &origin, &user, None).await?;
        letter.into_iter().collect()
    } else {
        let actor = Actor::user(&user);
        let requested = Action::UserConfirmationRequested;
        service
            .audit(&transaction, &origin, &actor, requested, None)
            .await?;
        let letter = service
            .confirmation(&transaction, &origin, &user, false)
            .await?;
        vec![letter]
    };
    transaction.commit().await?;
    drop(client);
    service.post(letters, room).await;
    Ok(())
}

fn check(email_enabled: bool, kind: &str, body: &ResendRequest) -> Result<String> {
    if !matches!(kind, "signup" | "email_change" | "sms" | "phone_change") {
        return Err(AuthError::invalid(
            "Missing one of these types: signup, email_change, sms, phone_change",
        ));
    }
    let (email, phone) = (text(&body.email), text(&body.phone));
    if email.is_empty() && kind == "signup" {
        return Err(AuthError::invalid(
            "Type provided requires an email address",
        ));
    }
    if phone.is_empty() && kind == "sms" {
        return Err(AuthError::invalid("Type provided requires a phone number"));
    }
    if !email.is_empty() && !phone.is_empty() {
        return Err(AuthError::invalid(
            "Only an email address or phone number should be provided.",
        ));
    }
    if !phone.is_empty() || matches!(kind, "sms" | "phone_change") {
        return Err(AuthError::bad_request(
            Code::PhoneProviderDisabled,
            "Phone logins are disabled",
        ));
    }
    if email.is_empty() {
        return Err(AuthError::invalid("Missing email address or phone number"));
    }
    if !email_enabled {
        return Err(AuthError::bad_request(
            Code::EmailProviderDisabled,
            "Email logins are disabled",
        ));
    }
    email_address::validate(email)
}
