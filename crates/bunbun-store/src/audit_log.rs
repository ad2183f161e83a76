//! The table `platform.audit_log`: who did what where and when, never a value.

use bunbun_core::id::{AuditId, ConnectionId, ProjectRef};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::{Error, Executor};

/// An attempt to change something, before it is made.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Its id.
    pub id: AuditId,
    /// `service_role`, `user`, `api_key`.
    pub actor_kind: &'a str,
    /// The user's or key's id.
    pub actor_id: Option<&'a str>,
    /// What.
    pub action: &'a str,
    /// Where.
    pub target: Option<&'a str>,
    /// The request.
    pub request_id: &'a str,
    /// Where it came from.
    pub client_ip: &'a str,
    /// On which stored connection, as far as that is known yet.
    pub connection: Option<ConnectionId>,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id; the order of ids is the order of attempts.
    pub id: AuditId,
    /// `service_role`, `user`, `api_key`.
    pub actor_kind: String,
    /// The user's or key's id.
    pub actor_id: Option<String>,
    /// What.
    pub action: String,
    /// Where.
    pub target: Option<String>,
    /// The request.
    pub request_id: String,
    /// Where it came from.
    pub client_ip: String,
    /// On which stored connection.
    pub connection: Option<ConnectionId>,
    /// The status of the answer; `None` while it is not known, for ever where a node died.
    pub status: Option<u16>,
    /// When it was tried.
    pub created_at: OffsetDateTime,
}

/// Writes an attempt.
///
/// # Errors
/// Those of the connection.
pub async fn insert<C: Executor>(
    client: &C,
    project: &ProjectRef,
    entry: NewEntry<'_>,
) -> Result<(), Error> {
    const SQL: &str = "insert into platform.audit_log \
         (id, project_ref, actor_kind, actor_id, action, target, request_id, client_ip, \
          connection_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let statement = client.prepare_cached(SQL).await?;
    client
        .execute(
            &statement,
            &[
                &entry.id.0,
                &project.as_str(),
                &entry.actor_kind,
                &entry.actor_id,
                &entry.action,
                &entry.target,
                &entry.request_id,
                &entry.client_ip,
                &entry.connection.map(|id| id.0),
            ],
        )
        .await?;
    Ok(())
}

/// How an attempt ended, and what it was, now that it is known.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// What.
    pub action: &'a str,
    /// Where.
    pub target: Option<&'a str>,
    /// On which stored connection.
    pub connection: Option<ConnectionId>,
    /// The status of the answer.
    pub status: u16,
}

/// Says how an attempt ended.
///
/// # Errors
/// Those of the connection.
pub async fn update_finished<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: AuditId,
    finished: Finished<'_>,
) -> Result<(), Error> {
    const SQL: &str = "update platform.audit_log \
         set action = $3, target = $4, status = $5, finished_at = now(), \
             connection_id = coalesce(connection_id, $6) \
         where project_ref = $1 and id = $2";
    let statement = client.prepare_cached(SQL).await?;
    let status = i16::try_from(finished.status).unwrap_or(i16::MAX);
    client
        .execute(
            &statement,
            &[
                &project.as_str(),
                &id.0,
                &finished.action,
                &finished.target,
                &status,
                &finished.connection.map(|id| id.0),
            ],
        )
        .await?;
    Ok(())
}

/// The project's entries, newest first: at most `limit`, those before `before`.
///
/// # Errors
/// Those of the connection.
pub async fn list<C: Executor>(
    client: &C,
    project: &ProjectRef,
    before: Option<AuditId>,
    limit: u32,
) -> Result<Vec<Entry>, Error> {
    const SQL: &str = "select id, actor_kind, actor_id, action, target, request_id, client_ip, status, \
         created_at, connection_id from platform.audit_log \
         where project_ref = $1 and ($2::uuid is null or id < $2) order by id desc limit $3";
    let statement = client.prepare_cached(SQL).await?;
    let before = before.map(|id| id.0);
    let rows = client
        .query(&statement, &[&project.as_str(), &before, &i64::from(limit)])
        .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<Entry, Error> {
    let status: Option<i16> = row.try_get(7)?;
    Ok(Entry {
        id: AuditId(row.try_get(0)?),
        actor_kind: row.try_get(1)?,
        actor_id: row.try_get(2)?,
        action: row.try_get(3)?,
        target: row.try_get(4)?,
        request_id: row.try_get(5)?,
        client_ip: row.try_get(6)?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        created_at: row.try_get(8)?,
        connection: row.try_get::<_, Option<_>>(9)?.map(ConnectionId),
    })
}
