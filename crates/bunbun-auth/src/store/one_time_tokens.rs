//! `auth.one_time_tokens`: which user a link's hash belongs to.

use bunbun_postgres::{Error, Session};
use time::OffsetDateTime;
use uuid::Uuid;

/// What a token is for; the values of `auth.one_time_token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Confirmation,
    Reauthentication,
    Recovery,
    EmailChangeNew,
    EmailChangeCurrent,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmation => "confirmation_token",
            Self::Reauthentication => "reauthentication_token",
            Self::Recovery => "recovery_token",
            Self::EmailChangeNew => "email_change_token_new",
            Self::EmailChangeCurrent => "email_change_token_current",
        }
    }
}

/// Stores a token's hash in place of an earlier one of its kind.
pub(crate) async fn replace(
    session: &Session,
    user_id: Uuid,
    kind: Kind,
    hash: &str,
    relates_to: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    clear(session, user_id, kind).await?;
    session
        .execute_cached(
            "insert into auth.one_time_tokens (
               id, user_id, token_type, token_hash, relates_to, created_at, updated_at
             ) values ($1, $2, $3::text::auth.one_time_token_type, $4, lower($5),
               $6::timestamptz at time zone 'utc', $6::timestamptz at time zone 'utc')",
            &[
                &Uuid::new_v4(),
                &user_id,
                &kind.as_str(),
                &hash,
                &relates_to,
                &now,
            ],
        )
        .await
        .map(drop)
}

/// The user of a hash, and for what it is.
pub(crate) async fn find(
    session: &Session,
    hash: &str,
    kinds: &[Kind],
) -> Result<Option<(Uuid, Kind)>, Error> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let row = session
        .query_opt_cached(
            "select user_id, token_type::text from auth.one_time_tokens
             where token_hash = $1 and token_type::text = any($2) limit 1",
            &[&hash, &names],
        )
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let name: String = row.try_get(1)?;
    let kind = kinds.iter().find(|kind| kind.as_str() == name);
    let user_id: Uuid = row.try_get(0)?;
    Ok(kind.map(|kind| (user_id, *kind)))
}

pub(crate) async fn clear(session: &Session, user_id: Uuid, kind: Kind) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.one_time_tokens
             where user_id = $1 and token_type = $2::text::auth.one_time_token_type",
            &[&user_id, &kind.as_str()],
        )
        .await
        .map(drop)
}

pub(crate) async fn clear_all(session: &Session, user_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.one_time_tokens where user_id = $1",
            &[&user_id],
        )
        .await
        .map(drop)
}
