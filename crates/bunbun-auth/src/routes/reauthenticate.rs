//! `GET /reauthenticate`: a code with which a user proves to be there.

use axum::{extract::State, response::Response};
use serde_json::json;

use crate::{
    error::{AuthError, Code, Result},
    rate_limit::What,
    request::{Origin, SignedIn},
    service::{self, AuthService},
    store::audit::{Action, Actor},
};

/// Sends the code to the user's own address.
pub(super) async fn get_reauthentication(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Otp, origin.ip())?;
    let user = &signed_in.user;
    if user.email.is_none() {
        return Err(AuthError::invalid(
            "Reauthentication requires the user to have an email or a phone number",
        ));
    }
    if !user.is_confirmed() {
        return Err(AuthError::unprocessable(
            Code::EmailNotConfirmed,
            "Please verify your email first.",
        ));
    }
    service
        .limits
        .mail(What::ReauthenticationMail, user.email())?;
    if service.sent_recently(user.reauthentication_sent_at) {
        return Err(AuthError::too_many(
            Code::OverEmailSendRateLimit,
            "For security purposes, you can only request this after a while.",
            service.config.smtp_max_frequency.as_secs(),
        ));
    }
    let room = service.room_for(1)?;
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let actor = Actor::user(user);
    let requested = Action::UserReauthenticateRequested;
    service
        .audit(&transaction, &origin, &actor, requested, None)
        .await?;
    let letter = service
        .reauthentication(&transaction, &origin, user)
        .await?;
    transaction.commit().await?;
    service.post(vec![letter], room).await;
    service::json(&json!({}))
}
