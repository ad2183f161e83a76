//! `POST /factors`: begins to add an authenticator app.

use axum::{extract::State, response::Response};
use bunbun_postgres::tokio_postgres::error::SqlState;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    request::{Json, Origin, SignedIn, text},
    service::{self, AuthService, Inner},
    store::{
        audit::{Action, Actor},
        factors, users,
    },
    totp,
};

/// How long a factor that nobody finished stays.
const ABANDONED: time::Duration = time::Duration::minutes(5);
/// The longest names.
const MAX_NAME: usize = 255;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EnrollFactorRequest {
    friendly_name: Option<String>,
    factor_type: Option<String>,
    issuer: Option<String>,
}

/// Gives a new secret, which counts once a code of it was shown.
pub(super) async fn create_factor(
    State(service): State<AuthService>,
    origin: Origin,
    signed_in: SignedIn,
    Json(body): Json<EnrollFactorRequest>,
) -> Result<Response> {
    let service = &*service.0;
    signed_in.not_anonymous()?;
    signed_in.session()?;
    check(service, &body)?;
    let name = text(&body.friendly_name);
    let now = service.now();
    let database = service.database(origin.project()).await?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    factors::delete_abandoned(&transaction, signed_in.user.id, now - ABANDONED).await?;
    let gone = || {
        AuthError::forbidden(
            Code::UserNotFound,
            "User from sub claim in JWT does not exist",
        )
    };
    let user = users::lock(&transaction, signed_in.user.id)
        .await?
        .ok_or_else(gone)?;
    check_user(service, &user, name, signed_in.is_aal2())?;
    let site = service.config.site_url.host_str().unwrap_or_default();
    let issuer = match text(&body.issuer) {
        "" => site,
        issuer => issuer,
    };
    let secret = totp::new_secret();
    let uri = totp::uri(issuer, user.email(), &secret);
    let qr_code = totp::qr_code(&uri).ok_or_else(|| {
        AuthError::invalid("The issuer and the address do not fit into a QR code")
    })?;
    let id = Uuid::new_v4();
    factors::insert_totp(&transaction, id, user.id, name, &secret, now)
        .await
        .map_err(|error| {
            if error.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION) {
                name_conflict(name)
            } else {
                error.into()
            }
        })?;
    let actor = Actor::user(&user);
    let traits = Some(json!({ "factor_id": id, "factor_type": "totp" }));
    service
        .audit(
            &transaction,
            &origin,
            &actor,
            Action::FactorInProgress,
            traits,
        )
        .await?;
    transaction.commit().await?;
    service::json(&json!({
        "id": id,
        "type": "totp",
        "friendly_name": name,
        "totp": { "qr_code": qr_code, "secret": secret, "uri": uri },
    }))
}

fn check(service: &Inner, body: &EnrollFactorRequest) -> Result<()> {
    match text(&body.factor_type) {
        "totp" if service.config.totp_enroll_enabled => {}
        "totp" => {
            return Err(AuthError::unprocessable(
                Code::MfaTotpEnrollNotEnabled,
                "MFA enroll is disabled for TOTP",
            ));
        }
        "phone" => {
            return Err(AuthError::unprocessable(
                Code::MfaPhoneEnrollNotEnabled,
                "MFA enroll is disabled for Phone",
            ));
        }
        "webauthn" => {
            return Err(AuthError::unprocessable(
                Code::MfaWebAuthnEnrollNotEnabled,
                "MFA enroll is disabled for WebAuthn",
            ));
        }
        _ => {
            return Err(AuthError::invalid(
                "factor_type needs to be totp, phone, or webauthn",
            ));
        }
    }
    if text(&body.friendly_name).len() > MAX_NAME || text(&body.issuer).len() > MAX_NAME {
        return Err(AuthError::invalid(
            "friendly_name and issuer must not be longer than 255 bytes",
        ));
    }
    Ok(())
}

fn check_user(service: &Inner, user: &users::User, name: &str, is_aal2: bool) -> Result<()> {
    let same_name = |factor: &factors::Factor| text(&factor.friendly_name) == name;
    if user.factors.iter().any(same_name) {
        return Err(name_conflict(name));
    }
    if user.factors.len() >= service.config.mfa_max_enrolled {
        return Err(AuthError::unprocessable(
            Code::TooManyEnrolledMfaFactors,
            "Maximum number of verified factors reached, unenroll to continue",
        ));
    }
    if user.has_verified_factor() && !is_aal2 {
        return Err(AuthError::forbidden(
            Code::InsufficientAal,
            "AAL2 required to enroll a new factor",
        ));
    }
    Ok(())
}

fn name_conflict(name: &str) -> AuthError {
    AuthError::unprocessable(
        Code::MfaFactorNameConflict,
        format!("A factor with the friendly name {name:?} for this user already exists"),
    )
}
