//! `POST /factors/{id}/challenge`: asks for a code.

use axum::{
    extract::{Path, State},
    response::Response,
};
use serde_json::json;
use uuid::Uuid;

use super::owned;
use crate::{
    error::{AuthError, Code, Result},
    rate_limit::What,
    request::{Origin, SignedIn},
    service::{self, AuthService},
    store::{
        audit::{Action, Actor},
        challenges,
    },
};

/// How long a challenge may be answered.
pub(super) const EXPIRY: time::Duration = time::Duration::minutes(5);

/// Begins a challenge.
pub(super) async fn create_challenge(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Path(factor_id): Path<String>,
) -> Result<Response> {
    let service = &*service.0;
    service.limits.request(What::Mfa, origin.ip())?;
    signed_in.not_anonymous()?;
    let factor = owned(&signed_in.user, &factor_id)?;
    if factor.factor_type != "totp" || !service.config.totp_verify_enabled {
        return Err(AuthError::unprocessable(
            Code::MfaTotpVerifyNotEnabled,
            "MFA verification is disabled for TOTP",
        ));
    }
    let (id, now) = (Uuid::new_v4(), service.now());
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    challenges::insert(&transaction, id, factor.id, origin.ip(), now).await?;
    let actor = Actor::user(&signed_in.user);
    let traits = Some(json!({ "factor_id": factor.id, "factor_status": factor.status }));
    service
        .audit(
            &transaction,
            &origin,
            &actor,
            Action::ChallengeCreated,
            traits,
        )
        .await?;
    transaction.commit().await?;
    service::json(&json!({
        "id": id,
        "type": factor.factor_type,
        "expires_at": (now + EXPIRY).unix_timestamp(),
    }))
}
