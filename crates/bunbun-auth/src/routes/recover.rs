//! `POST /recover`: a mail to choose a new password.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::{
    email_address,
    error::{AuthError, Code, Result},
    mail::Content,
    rate_limit::What,
    request::{Json, Origin, text},
    service::{self, AuthService, Inner},
    store::{
        audit::{Action, Actor},
        flow_states, users,
    },
    token::pkce::Challenge,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RecoverRequest {
    email: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

/// Sends the mail where there is such an account; the answer is the same where there is none.
pub(super) async fn create_recovery(
    State(service): State<AuthService>,
    origin: Origin,
    Json(body): Json<RecoverRequest>,
) -> Result<Response> {
    let service = service.0;
    service.limits.request(What::Otp, origin.ip())?;
    if !service.config.email_enabled {
        return Err(AuthError::bad_request(
            Code::EmailProviderDisabled,
            "Email logins are disabled",
        ));
    }
    if text(&body.email).is_empty() {
        return Err(AuthError::invalid("Password recovery requires an email"));
    }
    let email = email_address::validate(text(&body.email))?;
    let challenge = Challenge::read(
        text(&body.code_challenge),
        text(&body.code_challenge_method),
    )?;
    service.limits.mail(What::RecoveryMail, &email)?;
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let found = {
        let client = database.client().await?;
        users::find_by_email(&client, &email, origin.audience()).await?
    };
    if let Some(user) = found.filter(|user| !service.sent_recently(user.recovery_sent_at)) {
        let work = send(
            Arc::clone(&service),
            origin.clone(),
            user.id,
            email,
            challenge,
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
    email: String,
    challenge: Option<Challenge>,
    room: OwnedSemaphorePermit,
) -> Result<()> {
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let user = users::lock(&transaction, user_id).await?;
    let Some(user) = user.filter(|user| user.email().eq_ignore_ascii_case(&email)) else {
        return Ok(());
    };
    let actor = Actor::user(&user);
    let requested = Action::UserRecoveryRequested;
    service
        .audit(&transaction, &origin, &actor, requested, None)
        .await?;
    if let Some(challenge) = &challenge {
        let (kind, now) = ("recovery", service.now());
        flow_states::insert(&transaction, kind, kind, challenge, Some(user.id), now).await?;
    }
    let (content, is_pkce) = (Content::Recovery, challenge.is_some());
    let letter = service
        .recovery(&transaction, &origin, &user, content, is_pkce)
        .await?;
    transaction.commit().await?;
    drop(client);
    service.post(vec![letter], room).await;
    Ok(())
}
