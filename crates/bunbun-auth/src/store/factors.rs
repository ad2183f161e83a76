//! `auth.mfa_factors`.

use bunbun_postgres::{Error, Session};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::timestamp::Timestamp;

/// A factor as clients see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Factor {
    pub(crate) id: Uuid,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) status: String,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub(crate) friendly_name: Option<String>,
    pub(crate) factor_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_challenged_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub(crate) phone: Option<String>,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn is_empty(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

impl Factor {
    pub(crate) fn is_verified(&self) -> bool {
        self.status == "verified"
    }
}

pub(crate) async fn insert_totp(
    session: &Session,
    id: Uuid,
    user_id: Uuid,
    friendly_name: &str,
    secret: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "insert into auth.mfa_factors (
               id, user_id, friendly_name, factor_type, status, created_at, updated_at, secret
             ) values ($1, $2, $3, 'totp', 'unverified', $4, $4, $5)",
            &[&id, &user_id, &friendly_name, &now, &secret],
        )
        .await
        .map(drop)
}

/// The secret of a user's authenticator app.
pub(crate) async fn secret(
    session: &Session,
    id: Uuid,
    user_id: Uuid,
) -> Result<Option<String>, Error> {
    let row = session
        .query_opt_cached(
            "select secret from auth.mfa_factors
             where id = $1 and user_id = $2 and factor_type = 'totp'",
            &[&id, &user_id],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.flatten())
}

/// Removes factors that were begun and never finished.
pub(crate) async fn delete_abandoned(
    session: &Session,
    user_id: Uuid,
    before: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.mfa_factors f
             where f.user_id = $1 and f.status = 'unverified' and f.created_at < $2
               and not exists (select from auth.mfa_challenges c where c.factor_id = f.id)",
            &[&user_id, &before],
        )
        .await
        .map(drop)
}

/// A code was right: the factor counts from now on, and others that were begun do not.
pub(crate) async fn verify(
    session: &Session,
    id: Uuid,
    user_id: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "with others as (
               delete from auth.mfa_factors
               where user_id = $2 and id <> $1 and status = 'unverified' and factor_type = 'totp'
             )
             update auth.mfa_factors set status = 'verified', updated_at = $3
             where id = $1 and status = 'unverified'",
            &[&id, &user_id, &now],
        )
        .await
        .map(drop)
}

pub(crate) async fn rename(
    session: &Session,
    id: Uuid,
    friendly_name: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.mfa_factors set friendly_name = $2, updated_at = $3 where id = $1",
            &[&id, &friendly_name, &now],
        )
        .await
        .map(drop)
}

/// Removes a factor; the sessions that it raised fall back.
pub(crate) async fn delete(session: &Session, id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.mfa_amr_claims c using auth.sessions s
             where c.session_id = s.id and s.factor_id = $1 and c.authentication_method = 'totp'",
            &[&id],
        )
        .await?;
    session
        .execute_cached(
            "with lowered as (
               update auth.sessions set aal = 'aal1', factor_id = null where factor_id = $1
             )
             delete from auth.mfa_factors where id = $1",
            &[&id],
        )
        .await
        .map(drop)
}

pub(crate) async fn delete_of_user(session: &Session, user_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.mfa_factors where user_id = $1",
            &[&user_id],
        )
        .await
        .map(drop)
}
