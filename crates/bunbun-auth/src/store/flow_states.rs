//! `auth.flow_state`: flows of PKCE between their beginning and the exchange of their code.

use bunbun_postgres::{Error, Session, tokio_postgres::Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::token::pkce::Challenge;

/// A flow.
#[derive(Debug)]
pub(crate) struct FlowState {
    pub(crate) id: Uuid,
    pub(crate) user_id: Option<Uuid>,
    pub(crate) auth_code: String,
    pub(crate) code_challenge: String,
    pub(crate) code_challenge_method: String,
    pub(crate) provider_type: String,
    pub(crate) provider_access_token: Option<String>,
    pub(crate) provider_refresh_token: Option<String>,
    pub(crate) authentication_method: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) auth_code_issued_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "id, user_id, auth_code, code_challenge, code_challenge_method::text,
    provider_type, provider_access_token, provider_refresh_token, authentication_method,
    created_at, auth_code_issued_at";

fn read(row: &Row) -> Result<FlowState, Error> {
    Ok(FlowState {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        auth_code: row.try_get(2)?,
        code_challenge: row.try_get::<_, Option<String>>(3)?.unwrap_or_default(),
        code_challenge_method: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
        provider_type: row.try_get(5)?,
        provider_access_token: row.try_get(6)?,
        provider_refresh_token: row.try_get(7)?,
        authentication_method: row.try_get(8)?,
        created_at: row
            .try_get::<_, Option<OffsetDateTime>>(9)?
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        auth_code_issued_at: row.try_get(10)?,
    })
}

/// Begins a flow and gives its id. Some of those that nobody finished within a day go with it.
pub(crate) async fn insert(
    session: &Session,
    provider_type: &str,
    authentication_method: &str,
    challenge: &Challenge,
    user_id: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<Uuid, Error> {
    let id = Uuid::new_v4();
    session
        .execute_cached(
            "with stale as (
               delete from auth.flow_state where id in (
                 select id from auth.flow_state where created_at < $9
                 order by created_at limit 20 for update skip locked
               )
             )
             insert into auth.flow_state (
               id, user_id, auth_code, code_challenge_method, code_challenge, provider_type,
               authentication_method, created_at, updated_at
             ) values ($1, $2, $3, $4::text::auth.code_challenge_method, $5, $6, $7, $8, $8)",
            &[
                &id,
                &user_id,
                &Uuid::new_v4().to_string(),
                &challenge.method,
                &challenge.challenge,
                &provider_type,
                &authentication_method,
                &now,
                &(now - Duration::days(1)),
            ],
        )
        .await?;
    Ok(id)
}

pub(crate) async fn find(session: &Session, id: Uuid) -> Result<Option<FlowState>, Error> {
    let sql = format!("select {COLUMNS} from auth.flow_state where id = $1");
    let row = session.query_opt_cached(&sql, &[&id]).await?;
    row.map(|row| read(&row)).transpose()
}

pub(crate) async fn find_by_code(
    session: &Session,
    code: &str,
) -> Result<Option<FlowState>, Error> {
    let sql = format!("select {COLUMNS} from auth.flow_state where auth_code = $1 limit 1");
    let row = session.query_opt_cached(&sql, &[&code]).await?;
    row.map(|row| read(&row)).transpose()
}

/// Gives out the code of a user's latest flow of a method. `None`: there is no such flow.
pub(crate) async fn issue_code(
    session: &Session,
    user_id: Uuid,
    authentication_method: &str,
    now: OffsetDateTime,
) -> Result<Option<String>, Error> {
    let row = session
        .query_opt_cached(
            "update auth.flow_state set auth_code_issued_at = $3, updated_at = $3
             where id = (
               select id from auth.flow_state
               where user_id = $1 and authentication_method = $2
               order by created_at desc limit 1
             )
             returning auth_code",
            &[&user_id, &authentication_method, &now],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The provider has answered.
pub(crate) async fn complete(
    session: &Session,
    id: Uuid,
    user_id: Uuid,
    access_token: &str,
    refresh_token: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    session
        .execute_cached(
            "update auth.flow_state
             set user_id = $2, provider_access_token = $3, provider_refresh_token = $4,
                 auth_code_issued_at = $5, updated_at = $5
             where id = $1",
            &[&id, &user_id, &access_token, &refresh_token, &now],
        )
        .await
        .map(drop)
}

/// Ends a user's flows: codes that were given out lead nowhere.
pub(crate) async fn delete_of_user(session: &Session, user_id: Uuid) -> Result<(), Error> {
    session
        .execute_cached(
            "delete from auth.flow_state where user_id = $1",
            &[&user_id],
        )
        .await
        .map(drop)
}

/// Uses a flow up. `false`: somebody else already did.
pub(crate) async fn delete(session: &Session, id: Uuid) -> Result<bool, Error> {
    let deleted = session
        .execute_cached("delete from auth.flow_state where id = $1", &[&id])
        .await?;
    Ok(deleted == 1)
}
