//! `POST /token?grant_type=refresh_token`: one round trip to the database.

use bunbun_postgres::Session;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    grant::{Basis, TokenResponse},
    hooks::room::Calls,
    request::{Origin, text},
    service::{Database, Inner},
    store::sessions::{self, Outcome, Refresh, Refreshed},
    token::refresh::{self, Chain},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefreshTokenGrant {
    refresh_token: Option<String>,
}

/// Replaces a refresh token and gives an access token beside it. A token that was used already
/// leads to the session's current one within the reuse interval, and when it is that one's parent;
/// otherwise it is taken for stolen, and the session's tokens end.
pub(super) async fn grant(
    service: &Inner,
    origin: &Origin,
    body: RefreshTokenGrant,
) -> Result<TokenResponse> {
    let token = text(&body.refresh_token);
    if token.is_empty() {
        return Err(AuthError::oauth(
            "invalid_request",
            "refresh_token required",
        ));
    }
    if !refresh::is_well_formed(token) {
        return Err(refused(Outcome::NotFound));
    }
    let database = service.database(origin.project()).await?;
    let digest = refresh::digest(token);
    let child = service.chain.next(token);
    let now = service.now();
    let config = &service.config;
    let wanted = Refresh {
        token,
        digest: &digest,
        child: &refresh::stored(&child, database.storage),
        reuse_s: config.refresh_reuse_interval.as_secs_f64(),
        may_revoke: config.refresh_rotation,
        timebox_s: config.session_timebox.map(|limit| limit.as_secs_f64()),
        inactivity_s: config.session_inactivity.map(|limit| limit.as_secs_f64()),
        user_agent: origin.user_agent.as_deref(),
        ip: origin.ip(),
        audit_id: (!config.audit_log_disabled).then(Uuid::now_v7),
    };
    // Requests with the same token wait here, not with a connection each.
    let lane = service.refresh_lane(&digest).await;
    let mut client = database
        .hooked_client(&service.hooks, Calls::Tokens)
        .await?;
    let refreshed = sessions::refresh(&client, &wanted, database.is_adopted, now).await?;
    if !service.hooks.has_access_token() {
        drop(lane);
        return finish(service, &database, &client, origin, token, child, refreshed).await;
    }
    // The hook's own time limit needs a transaction.
    let transaction = client.transaction().await?;
    let answer = finish(
        service,
        &database,
        &transaction,
        origin,
        token,
        child,
        refreshed,
    )
    .await?;
    transaction.commit().await?;
    Ok(answer)
}

async fn finish(
    service: &Inner,
    database: &Database,
    session: &Session,
    origin: &Origin,
    token: &str,
    child: String,
    refreshed: Refreshed,
) -> Result<TokenResponse> {
    let Refreshed {
        outcome,
        stored,
        user,
        session: user_session,
    } = refreshed;
    let (Outcome::Rotated | Outcome::Active, Some(stored), Some(user), Some(user_session)) =
        (outcome, stored, user, user_session)
    else {
        return Err(refused(outcome));
    };
    let current = match outcome {
        Outcome::Rotated => child,
        _ => match service.chain.find(token, &stored) {
            Some(current) => current,
            // The secret has changed since, or the session's current token came otherwise.
            None => {
                let current = Chain::first();
                let stored = refresh::stored(&current, database.storage);
                let now = service.now();
                sessions::replace_token(session, user_session.id, user.id, &stored, now).await?;
                current
            }
        },
    };
    let basis = Basis {
        session_id: user_session.id,
        aal: &user_session.aal,
        methods: &user_session.methods,
        method: "token_refresh",
    };
    service
        .respond(session, origin, user, current, &basis)
        .await
}

fn refused(outcome: Outcome) -> AuthError {
    let (code, message) = match outcome {
        Outcome::Banned => (Code::UserBanned, "Invalid Refresh Token: User Banned"),
        Outcome::NoSession => (
            Code::SessionNotFound,
            "Invalid Refresh Token: No Valid Session Found",
        ),
        Outcome::Expired => (
            Code::SessionExpired,
            "Invalid Refresh Token: Session Expired",
        ),
        Outcome::Inactive => (
            Code::SessionExpired,
            "Invalid Refresh Token: Session Expired (Inactivity)",
        ),
        Outcome::Reused => (
            Code::RefreshTokenAlreadyUsed,
            "Invalid Refresh Token: Already Used",
        ),
        Outcome::NotFound | Outcome::Rotated | Outcome::Active => (
            Code::RefreshTokenNotFound,
            "Invalid Refresh Token: Refresh Token Not Found",
        ),
    };
    AuthError::bad_request(code, message)
}
