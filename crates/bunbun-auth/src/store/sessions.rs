//! `auth.sessions` with their refresh tokens and authentication methods.

use std::net::IpAddr;

use bunbun_postgres::{
    Error, Session,
    tokio_postgres::{Row, error::SqlState},
    types::Json,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    INSTANCE,
    users::{COLUMN_COUNT, User, user_columns},
};
use crate::{migrations::REFRESH_FUNCTION, timestamp::Timestamp};

/// How someone has proved who they are: an entry of the claim `amr`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) method: String,
    pub(crate) timestamp: i64,
}

/// A user's session.
#[derive(Debug, Clone)]
pub(crate) struct UserSession {
    pub(crate) id: Uuid,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) aal: String,
    /// The latest first.
    pub(crate) methods: Vec<Method>,
}

impl UserSession {
    pub(crate) fn is_aal2(&self) -> bool {
        self.aal == "aal2"
    }
}

macro_rules! session_columns {
    () => {
        "s.id, s.created_at, s.aal::text,
         (select json_agg(json_build_object(
            'method', c.authentication_method,
            'timestamp', extract(epoch from c.updated_at)::bigint) order by c.updated_at desc)
          from auth.mfa_amr_claims c where c.session_id = s.id)"
    };
}

fn read(row: &Row, at: usize) -> Result<Option<UserSession>, Error> {
    let Some(id) = row.try_get::<_, Option<Uuid>>(at)? else {
        return Ok(None);
    };
    let methods: Option<Json<Vec<Method>>> = row.try_get(at + 3)?;
    Ok(Some(UserSession {
        id,
        created_at: row
            .try_get::<_, Option<OffsetDateTime>>(at + 1)?
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        aal: row
            .try_get::<_, Option<String>>(at + 2)?
            .unwrap_or_else(|| "aal1".to_owned()),
        methods: methods.map(|list| list.0).unwrap_or_default(),
    }))
}

/// A session to be begun.
#[derive(Debug)]
pub(crate) struct NewSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) method: &'a str,
    /// The refresh token in the form in which this database keeps it.
    pub(crate) stored_token: &'a str,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) ip: IpAddr,
}

/// Begins a session, in one statement.
pub(crate) async fn insert(
    session: &Session,
    new: &NewSession<'_>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "with s as (
               insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)
               values ($1, $2, $6, $6, 'aal1', $7, $8)
             ), a as (
               insert into auth.mfa_amr_claims (
                 id, session_id, created_at, updated_at, authentication_method
               ) values ($3, $1, $6, $6, $4)
             ), t as (
               insert into auth.refresh_tokens (
                 instance_id, token, user_id, revoked, created_at, updated_at, session_id
               ) values ($9, $5, $2::uuid::text, false, $6, $6, $1)
             )
             update auth.users set last_sign_in_at = $6, updated_at = $6 where id = $2",
            &[
                &new.id,
                &new.user_id,
                &Uuid::new_v4(),
                &new.method,
                &new.stored_token,
                &now,
                &new.user_agent,
                &new.ip,
                &INSTANCE,
            ],
        )
        .await
        .map(drop)
}

/// A user and, where there is one, this session of theirs.
pub(crate) async fn find_user(
    session: &Session,
    user_id: Uuid,
    session_id: Option<Uuid>,
) -> Result<Option<(User, Option<UserSession>)>, Error> {
    let row = session
        .query_opt_cached(
            concat!(
                "select ",
                user_columns!(),
                ", ",
                session_columns!(),
                " from auth.users u
                  left join auth.sessions s on s.id = $2 and s.user_id = u.id
                  where u.id = $1"
            ),
            &[&user_id, &session_id],
        )
        .await?;
    row.map(|row| Ok((User::read(&row, 0)?, read(&row, COLUMN_COUNT)?)))
        .transpose()
}

/// What became of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The token was replaced.
    Rotated,
    /// It was used before, and may be: the session's current token is the answer.
    Active,
    /// It was used before, and may not be.
    Reused,
    NotFound,
    NoSession,
    Banned,
    Expired,
    Inactive,
}

/// A refresh and whose it was.
#[derive(Debug)]
pub(crate) struct Refreshed {
    pub(crate) outcome: Outcome,
    /// The session's current token, as it is stored.
    pub(crate) stored: Option<String>,
    pub(crate) user: Option<User>,
    pub(crate) session: Option<UserSession>,
}

/// What decides about a refresh.
#[derive(Debug)]
pub(crate) struct Refresh<'a> {
    pub(crate) token: &'a str,
    pub(crate) digest: &'a str,
    /// The successor, as it is to be stored.
    pub(crate) child: &'a str,
    pub(crate) reuse_s: f64,
    pub(crate) may_revoke: bool,
    pub(crate) timebox_s: Option<f64>,
    pub(crate) inactivity_s: Option<f64>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) ip: IpAddr,
    /// The id of the entry in the audit log; `None`: no entry.
    pub(crate) audit_id: Option<Uuid>,
}

macro_rules! refresh_sql {
    ($schema:literal) => {
        concat!(
            "select r.outcome, r.stored, u.id, ",
            session_columns!(),
            ", ",
            user_columns!(),
            " from ",
            $schema,
            ".bunbun_refresh_token($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) r
              left join auth.users u on u.id = r.user_id
              left join auth.sessions s on s.id = r.session_id"
        )
    };
}

/// Replaces a refresh token: one round trip.
///
/// In a database whose schema `auth` is not ours to change, the function belongs to the connection.
pub(crate) async fn refresh(
    session: &Session,
    refresh: &Refresh<'_>,
    is_adopted: bool,
    now: OffsetDateTime,
) -> Result<Refreshed, Error> {
    let sql = if is_adopted {
        refresh_sql!("pg_temp")
    } else {
        refresh_sql!("auth")
    };
    match call(session, sql, refresh, now).await {
        Err(error) if is_adopted && error.sqlstate() == Some(&SqlState::UNDEFINED_FUNCTION) => {
            let function = REFRESH_FUNCTION
                .replace("auth.bunbun_refresh_token", "pg_temp.bunbun_refresh_token");
            session.batch_execute(&function).await?;
            call(session, sql, refresh, now).await
        }
        outcome => outcome,
    }
}

async fn call(
    session: &Session,
    sql: &str,
    refresh: &Refresh<'_>,
    now: OffsetDateTime,
) -> Result<Refreshed, Error> {
    let row = session
        .query_one_cached(
            sql,
            &[
                &refresh.token,
                &refresh.digest,
                &refresh.child,
                &now,
                &refresh.reuse_s,
                &refresh.may_revoke,
                &refresh.timebox_s,
                &refresh.inactivity_s,
                &refresh.user_agent,
                &refresh.ip,
                &refresh.audit_id,
            ],
        )
        .await?;
    let outcome = match row.try_get::<_, &str>(0)? {
        "rotated" => Outcome::Rotated,
        "active" => Outcome::Active,
        "reused" => Outcome::Reused,
        "no_session" => Outcome::NoSession,
        "banned" => Outcome::Banned,
        "expired" => Outcome::Expired,
        "inactive" => Outcome::Inactive,
        _ => Outcome::NotFound,
    };
    let has_user = row.try_get::<_, Option<Uuid>>(2)?.is_some();
    Ok(Refreshed {
        outcome,
        stored: row.try_get(1)?,
        session: read(&row, 3)?,
        user: has_user.then(|| User::read(&row, 7)).transpose()?,
    })
}

/// Ends a token's validity and begins another in its session: where the chain from one to the
/// other is broken, and after a second factor.
pub(crate) async fn replace_token(
    session: &Session,
    session_id: Uuid,
    user_id: Uuid,
    stored_token: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "with current as (
               update auth.refresh_tokens set revoked = true, updated_at = $4
               where session_id = $1 and revoked is false
               returning id, token
             )
             insert into auth.refresh_tokens (
               instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id
             ) values (
               $5, $3, $2::uuid::text, false, $4, $4,
               (select token from current order by id desc limit 1), $1
             )",
            &[&session_id, &user_id, &stored_token, &now, &INSTANCE],
        )
        .await
        .map(drop)
}

/// A second factor was shown: the session is of level 2, and others of the user end.
pub(crate) async fn raise(
    session: &Session,
    session_id: Uuid,
    user_id: Uuid,
    factor_id: Uuid,
    method: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "insert into auth.mfa_amr_claims (
               id, session_id, created_at, updated_at, authentication_method
             ) values ($1, $2, $4, $4, $3)
             on conflict (session_id, authentication_method) do update
               set updated_at = excluded.updated_at",
            &[&Uuid::new_v4(), &session_id, &method, &now],
        )
        .await?;
    session
        .execute_cached(
            "update auth.sessions set aal = 'aal2', factor_id = $2, updated_at = $3 where id = $1",
            &[&session_id, &factor_id, &now],
        )
        .await?;
    session
        .execute_cached(
            "delete from auth.sessions where user_id = $1 and aal < 'aal2'",
            &[&user_id],
        )
        .await
        .map(drop)
}

/// Which sessions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every session of the user.
    All,
    /// This one.
    One(Uuid),
    /// Every one but this.
    Others(Uuid),
}

/// Ends sessions; their refresh tokens end with them. `false`: there was none.
pub(crate) async fn end(session: &Session, user_id: Uuid, which: End) -> Result<bool, Error> {
    let (only, besides) = match which {
        End::All => (None, None),
        End::One(id) => (Some(id), None),
        End::Others(id) => (None, Some(id)),
    };
    session
        .execute_cached(
            "delete from auth.sessions
             where user_id = $1 and ($2::uuid is null or id = $2)
               and ($3::uuid is null or id <> $3)",
            &[&user_id, &only, &besides],
        )
        .await
        .map(|ended| ended > 0)
}

/// A session as its user sees it.
#[derive(Debug, Serialize)]
pub(crate) struct ListedSession {
    id: Uuid,
    created_at: Option<Timestamp>,
    refreshed_at: Option<Timestamp>,
    not_after: Option<Timestamp>,
    aal: String,
    ip: Option<IpAddr>,
    user_agent: Option<String>,
}

/// The most sessions of a list.
const MAX_LISTED: i64 = 1_000;

/// A user's sessions, the latest first.
pub(crate) async fn list(session: &Session, user_id: Uuid) -> Result<Vec<ListedSession>, Error> {
    let rows = session
        .query_cached(
            "select id, created_at, refreshed_at at time zone 'utc', not_after,
               coalesce(aal::text, 'aal1'), ip, user_agent
             from auth.sessions where user_id = $1
             order by created_at desc, id limit $2",
            &[&user_id, &MAX_LISTED],
        )
        .await?;
    let read = |row: &Row| {
        let at = |index| Ok::<_, Error>(row.try_get::<_, Option<_>>(index)?.map(Timestamp));
        Ok(ListedSession {
            id: row.try_get(0)?,
            created_at: at(1)?,
            refreshed_at: at(2)?,
            not_after: at(3)?,
            aal: row.try_get(4)?,
            ip: row.try_get(5)?,
            user_agent: row.try_get(6)?,
        })
    };
    rows.iter().map(read).collect()
}
