//! `auth.mfa_challenges`.

use std::net::IpAddr;

use bunbun_postgres::{Error, Session};
use time::OffsetDateTime;
use uuid::Uuid;

/// A challenge of a factor.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) created_at: OffsetDateTime,
    pub(crate) verified_at: Option<OffsetDateTime>,
    pub(crate) ip: IpAddr,
}

pub(crate) async fn insert(
    session: &Session,
    id: Uuid,
    factor_id: Uuid,
    ip: IpAddr,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "with c as (
               insert into auth.mfa_challenges (id, factor_id, created_at, ip_address)
               values ($1, $2, $4, $3)
             )
             update auth.mfa_factors set last_challenged_at = $4 where id = $2",
            &[&id, &factor_id, &ip, &now],
        )
        .await
        .map(drop)
}

pub(crate) async fn find(
    session: &Session,
    id: Uuid,
    factor_id: Uuid,
) -> Result<Option<Challenge>, Error> {
    let row = session
        .query_opt_cached(
            "select created_at, verified_at, ip_address from auth.mfa_challenges
             where id = $1 and factor_id = $2",
            &[&id, &factor_id],
        )
        .await?;
    row.map(|row| {
        Ok(Challenge {
            created_at: row.try_get(0)?,
            verified_at: row.try_get(1)?,
            ip: row.try_get(2)?,
        })
    })
    .transpose()
}

/// Uses a challenge up, by the code of a step of time. `false`: somebody else already did, or a
/// code of that step, or of a later one, was shown before.
///
/// The step is kept where the original keeps codes that it sends to phones; it sends none for
/// authenticator apps. Callers take turns by the user's row.
pub(crate) async fn consume(
    session: &Session,
    id: Uuid,
    factor_id: Uuid,
    step: i64,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let used = session
        .execute_cached(
            "update auth.mfa_challenges set verified_at = $2, otp_code = 'step ' || $4::bigint
             where id = $1 and verified_at is null
               and not exists (
                 select from auth.mfa_challenges c
                 where c.factor_id = $3 and c.verified_at is not null
                   and substring(c.otp_code from '^step ([0-9]{1,18})$')::bigint >= $4::bigint
               )",
            &[&id, &now, &factor_id, &step],
        )
        .await?;
    Ok(used == 1)
}

pub(crate) async fn delete(session: &Session, id: Uuid) -> Result<(), Error> {
    session
        .execute_cached("delete from auth.mfa_challenges where id = $1", &[&id])
        .await
        .map(drop)
}
