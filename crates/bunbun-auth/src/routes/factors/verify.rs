//! `POST /factors/{id}/verify`: shows a code and raises the session to level 2.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{challenge::EXPIRY, owned};
use crate::{
    error::{AuthError, Code, Result},
    grant::{Basis, refuse_banned},
    hooks::room::Calls,
    rate_limit::What,
    request::{Json, Origin, SignedIn, text},
    service::{self, AuthService, Inner},
    store::{
        audit::{Action, Actor},
        challenges, factors, sessions, users,
    },
    token::refresh::{self, Chain},
    totp,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VerifyFactorRequest {
    challenge_id: Option<String>,
    code: Option<String>,
}

/// Answers a challenge. The session gets new tokens of level 2; the user's sessions of level 1 end.
pub(super) async fn create_verification(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Path(factor_id): Path<String>,
    Json(body): Json<VerifyFactorRequest>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Mfa, origin.ip())?;
    signed_in.not_anonymous()?;
    let session_id = signed_in.session()?.id;
    let factor = owned(&signed_in.user, &factor_id)?;
    if text(&body.code).is_empty() {
        return Err(AuthError::invalid("Code needs to be non-empty"));
    }
    if factor.factor_type != "totp" || !service.config.totp_verify_enabled {
        return Err(AuthError::unprocessable(
            Code::MfaTotpVerifyNotEnabled,
            "MFA verification is disabled for TOTP",
        ));
    }
    let unknown = || {
        AuthError::unprocessable(
            Code::MfaFactorNotFound,
            "MFA factor with the provided challenge ID not found",
        )
    };
    let challenge_id: Uuid = text(&body.challenge_id).parse().map_err(|_| unknown())?;
    // Six digits are few: a factor has so many guesses.
    service.limits.guess(&format!("factor {}", factor.id))?;
    let (user_id, now) = (signed_in.user.id, service.now());
    let database = service.database(origin.project()).await?;
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let transaction = client.transaction().await?;
    // Of two with the same code one comes first; and a ban may have come in between.
    let user = users::lock(&transaction, user_id)
        .await?
        .ok_or_else(unknown)?;
    refuse_banned(&user, now)?;
    let challenge = challenges::find(&transaction, challenge_id, factor.id).await?;
    let challenge = challenge.ok_or_else(unknown)?;
    if challenge.verified_at.is_some() || challenge.ip != origin.ip() {
        return Err(mismatch());
    }
    if now > challenge.created_at + EXPIRY {
        challenges::delete(&transaction, challenge_id).await?;
        transaction.commit().await?;
        return Err(AuthError::unprocessable(
            Code::MfaChallengeExpired,
            format!(
                "MFA challenge {challenge_id} has expired, verify against another challenge or create a new challenge."
            ),
        ));
    }
    let secret = factors::secret(&transaction, factor.id, user_id).await?;
    let step =
        secret.and_then(|secret| totp::verify(&secret, text(&body.code), now.unix_timestamp()));
    let step = step.ok_or_else(wrong_code)?;
    if !challenges::consume(&transaction, challenge_id, factor.id, step, now).await? {
        return Err(wrong_code());
    }
    factors::verify(&transaction, factor.id, user_id, now).await?;
    let actor = Actor::user(&signed_in.user);
    let traits = json!({
        "factor_id": factor.id, "challenge_id": challenge_id, "factor_type": "totp",
    });
    let attempted = Action::VerificationAttempted;
    service
        .audit(&transaction, &origin, &actor, attempted, Some(traits))
        .await?;
    sessions::raise(&transaction, session_id, user_id, factor.id, "totp", now).await?;
    let token = Chain::first();
    let stored = refresh::stored(&token, database.storage);
    sessions::replace_token(&transaction, session_id, user_id, &stored, now).await?;
    let answer = respond(service, &transaction, &origin, user_id, session_id, token).await?;
    transaction.commit().await?;
    service::json(&answer)
}

async fn respond(
    service: &Inner,
    session: &bunbun_postgres::Session,
    origin: &Origin,
    user_id: Uuid,
    session_id: Uuid,
    token: String,
) -> Result<crate::grant::TokenResponse> {
    let found = sessions::find_user(session, user_id, Some(session_id)).await?;
    let Some((user, Some(user_session))) = found else {
        return Err(AuthError::forbidden(
            Code::SessionNotFound,
            "Session from session_id claim in JWT does not exist",
        ));
    };
    let basis = Basis {
        session_id,
        aal: &user_session.aal,
        methods: &user_session.methods,
        method: "totp",
    };
    service.respond(session, origin, user, token, &basis).await
}

fn wrong_code() -> AuthError {
    AuthError::unprocessable(Code::MfaVerificationFailed, "Invalid TOTP code entered")
}

fn mismatch() -> AuthError {
    AuthError::unprocessable(
        Code::MfaIpAddressMismatch,
        "Challenge and verify IP addresses mismatch.",
    )
}
