//! The table `platform.backups`: backups of projects' databases (`/api/backups`), for each the
//! last restore from it, and the lease of the node that is at work on it.
//!
//! A node that works on a backup renews `heartbeat_at`; all its writes name the node, so that one
//! that was taken for dead finds its lease gone (`false`, no row) and stops. An advisory lock
//! would be quicker to tell a dead node, but it also goes when PostgreSQL restarts or a pooler
//! shuffles sessions, and would then declare living work dead. Time is PostgreSQL's alone.

use std::{str::FromStr, time::Duration};

use bunbun_core::id::{BackupId, ProjectRef};
use time::OffsetDateTime;
use tokio_postgres::{Row, error::SqlState};

use crate::{Error, Executor};

/// The unique index that lets one node at a time work on a database.
const ONE_AT_A_TIME: &str = "backups_one_at_a_time";

/// How far a backup or restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A node is at work.
    Running,
    /// Complete.
    Succeeded,
    /// Given up; `error` says why.
    Failed,
}

impl Status {
    /// The text in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Running, Self::Succeeded, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Its id; the order of ids is the order of creation.
    pub id: BackupId,
    /// The database that was read.
    pub database: String,
    /// How far it is.
    pub status: Status,
    /// Where the dump lies in the object store; `None` once it is gone.
    pub object_key: Option<String>,
    /// Size of the dump so far.
    pub bytes: u64,
    /// SHA-256 of the complete dump.
    pub sha256: Option<[u8; 32]>,
    /// Version of the PostgreSQL server that was read.
    pub database_version: String,
    /// Tables whose rows are written.
    pub tables_done: u32,
    /// Tables that there are, where known.
    pub tables_total: Option<u32>,
    /// Why it failed; public.
    pub error: Option<String>,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it succeeded or failed.
    pub finished_at: Option<OffsetDateTime>,
    /// The last restore from it.
    pub restore: Option<Restore>,
}

/// The last restore from a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    /// How far it is.
    pub status: Status,
    /// The database that it makes or replaces.
    pub database: String,
    /// The database into which it loads; `None` once that has its name or is dropped.
    pub working_database: Option<String>,
    /// The name that the replaced database was kept under.
    pub previous_database: Option<String>,
    /// Why it failed; public.
    pub error: Option<String>,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When it succeeded or failed.
    pub finished_at: Option<OffsetDateTime>,
}

impl Backup {
    /// Whether a node is at work on it, making it or restoring from it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status == Status::Running
            || self
                .restore
                .as_ref()
                .is_some_and(|restore| restore.status == Status::Running)
    }
}

/// A backup that begins.
#[derive(Debug, Clone, Copy)]
pub struct NewBackup<'a> {
    /// Its id.
    pub id: BackupId,
    /// The database that is read.
    pub database: &'a str,
    /// Where the dump will lie.
    pub object_key: &'a str,
    /// Version of the PostgreSQL server.
    pub database_version: &'a str,
    /// Tables that there are, where known.
    pub tables_total: Option<u32>,
    /// The node at work.
    pub node: &'a str,
}

/// A restore that begins.
#[derive(Debug, Clone, Copy)]
pub struct NewRestore<'a> {
    /// The database to make or replace.
    pub database: &'a str,
    /// The database into which it loads first.
    pub working_database: &'a str,
    /// The node at work.
    pub node: &'a str,
}

macro_rules! columns {
    () => {
        "id, database, status, object_key, bytes, sha256, database_version, tables_done, \
         tables_total, error, created_at, finished_at, restore_status, restore_database, \
         restore_working_database, restore_previous_database, restore_error, \
         restore_started_at, restore_finished_at"
    };
}

/// Begins a backup; its row holds the lease on the database.
///
/// # Errors
/// [`Error::BackupInProgress`] while another backup or restore of the database holds it.
pub async fn insert<C: Executor>(
    client: &C,
    project: &ProjectRef,
    new: NewBackup<'_>,
) -> Result<Backup, Error> {
    const SQL: &str = concat!(
        "insert into platform.backups (id, project_ref, database, object_key, database_version, \
         tables_total, busy_with, node, heartbeat_at) \
         values ($1, $2, $3, $4, $5, $6, $3, $7, now()) returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let tables_total = new.tables_total.map(to_integer);
    client
        .query_one(
            &statement,
            &[
                &new.id.0,
                &project.as_str(),
                &new.database,
                &new.object_key,
                &new.database_version,
                &tables_total,
                &new.node,
            ],
        )
        .await
        .map_err(conflict)
        .and_then(|row| from_row(&row))
}

/// The project's backup of this id.
///
/// # Errors
/// Those of the connection.
pub async fn find<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
) -> Result<Option<Backup>, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.backups where project_ref = $1 and id = $2"
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(&statement, &[&project.as_str(), &id.0])
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The project's backup of this id.
///
/// # Errors
/// [`Error::BackupNotFound`].
pub async fn get<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
) -> Result<Backup, Error> {
    find(client, project, id)
        .await?
        .ok_or(Error::BackupNotFound)
}

/// The project's backups, newest first: at most `limit`, those older than `before`.
///
/// # Errors
/// Those of the connection.
pub async fn list<C: Executor>(
    client: &C,
    project: &ProjectRef,
    before: Option<BackupId>,
    limit: u32,
) -> Result<Vec<Backup>, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.backups where project_ref = $1 and ($2::uuid is null or id < $2) \
         order by id desc limit $3"
    );
    let statement = client.prepare_cached(SQL).await?;
    let before = before.map(|id| id.0);
    let rows = client
        .query(&statement, &[&project.as_str(), &before, &i64::from(limit)])
        .await?;
    rows.iter().map(from_row).collect()
}

/// Tells how far a backup is and renews the lease. `false`: the lease is gone, the node must stop.
///
/// # Errors
/// Those of the connection.
pub async fn update_progress<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
    bytes: u64,
    tables_done: u32,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set bytes = $4, tables_done = $5, heartbeat_at = now() \
         where project_ref = $1 and id = $2 and node = $3 and status = 'running'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(
            &statement,
            &[
                &project.as_str(),
                &id.0,
                &node,
                &to_bigint(bytes),
                &to_integer(tables_done),
            ],
        )
        .await?;
    Ok(updated == 1)
}

/// Completes a backup and gives up the lease. `None`: the lease is gone, and with it the backup.
///
/// # Errors
/// Those of the connection.
pub async fn update_succeeded<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
    bytes: u64,
    sha256: [u8; 32],
) -> Result<Option<Backup>, Error> {
    const SQL: &str = concat!(
        "update platform.backups set status = 'succeeded', bytes = $4, sha256 = $5, \
         tables_done = coalesce(tables_total, tables_done), finished_at = now(), \
         busy_with = null, node = null, heartbeat_at = null \
         where project_ref = $1 and id = $2 and node = $3 and status = 'running' returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &project.as_str(),
                &id.0,
                &node,
                &to_bigint(bytes),
                &sha256.as_slice(),
            ],
        )
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Gives up a backup and the lease. `false`: the lease was gone already.
///
/// # Errors
/// Those of the connection.
pub async fn update_failed<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
    error: &str,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set status = 'failed', error = $4, finished_at = now(), \
         busy_with = null, node = null, heartbeat_at = null \
         where project_ref = $1 and id = $2 and node = $3 and status = 'running'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(&statement, &[&project.as_str(), &id.0, &node, &error])
        .await?;
    Ok(updated == 1)
}

/// Begins a restore from a complete backup on which nobody is at work, and takes the lease on the
/// target database. `None`: the backup is missing, incomplete or busy.
///
/// # Errors
/// [`Error::BackupInProgress`] while another backup or restore of the target holds it.
pub async fn update_restore_started<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    new: NewRestore<'_>,
) -> Result<Option<Backup>, Error> {
    const SQL: &str = concat!(
        "update platform.backups set restore_status = 'running', restore_database = $3, \
         restore_working_database = $4, restore_previous_database = null, restore_error = null, \
         restore_started_at = now(), restore_finished_at = null, \
         busy_with = $3, node = $5, heartbeat_at = now() \
         where project_ref = $1 and id = $2 and status = 'succeeded' and busy_with is null \
         and object_key is not null and restore_working_database is null returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &project.as_str(),
                &id.0,
                &new.database,
                &new.working_database,
                &new.node,
            ],
        )
        .await
        .map_err(conflict)?;
    row.map(|row| from_row(&row)).transpose()
}

/// Renews the lease of a restore. `false`: the lease is gone, the node must stop.
///
/// # Errors
/// Those of the connection.
pub async fn update_restore_heartbeat<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set heartbeat_at = now() \
         where project_ref = $1 and id = $2 and node = $3 and restore_status = 'running'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(&statement, &[&project.as_str(), &id.0, &node])
        .await?;
    Ok(updated == 1)
}

/// Completes a restore and gives up the lease. `false`: the lease was gone already.
///
/// # Errors
/// Those of the connection.
pub async fn update_restore_succeeded<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
    previous_database: Option<&str>,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set restore_status = 'succeeded', \
         restore_working_database = null, restore_previous_database = $4, \
         restore_finished_at = now(), busy_with = null, node = null, heartbeat_at = null \
         where project_ref = $1 and id = $2 and node = $3 and restore_status = 'running'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(
            &statement,
            &[&project.as_str(), &id.0, &node, &previous_database],
        )
        .await?;
    Ok(updated == 1)
}

/// Gives up a restore and the lease. `false`: the lease was gone already.
///
/// # Errors
/// Those of the connection.
pub async fn update_restore_failed<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
    node: &str,
    error: &str,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set restore_status = 'failed', restore_error = $4, \
         restore_finished_at = now(), busy_with = null, node = null, heartbeat_at = null \
         where project_ref = $1 and id = $2 and node = $3 and restore_status = 'running'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(&statement, &[&project.as_str(), &id.0, &node, &error])
        .await?;
    Ok(updated == 1)
}

/// Marks as failed what dead nodes were at: all whose last heartbeat is older than `silence`,
/// and, where `node` is given, all of that node, which has just started and so is at nothing.
/// Answers with the rows it changed.
///
/// # Errors
/// Those of the connection.
pub async fn mark_interrupted<C: Executor>(
    client: &C,
    project: &ProjectRef,
    node: Option<&str>,
    silence: Duration,
) -> Result<Vec<Backup>, Error> {
    const SQL: &str = concat!(
        "update platform.backups set \
         status = case when status = 'running' then 'failed' else status end, \
         error = case when status = 'running' then $4 else error end, \
         finished_at = case when status = 'running' then now() else finished_at end, \
         restore_status = case when restore_status = 'running' then 'failed' else restore_status end, \
         restore_error = case when restore_status = 'running' then $4 else restore_error end, \
         restore_finished_at = \
         case when restore_status = 'running' then now() else restore_finished_at end, \
         busy_with = null, node = null, heartbeat_at = null \
         where project_ref = $1 and busy_with is not null \
         and (node = $2 or heartbeat_at < now() - make_interval(secs => $3)) returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let rows = client
        .query(
            &statement,
            &[
                &project.as_str(),
                &node,
                &silence.as_secs_f64(),
                &"Interrupted: the node that was at work stopped.",
            ],
        )
        .await?;
    rows.iter().map(from_row).collect()
}

/// What failed work has left behind: backups whose object may exist, and restores whose working
/// database may.
///
/// # Errors
/// Those of the connection.
pub async fn list_remains<C: Executor>(
    client: &C,
    project: &ProjectRef,
) -> Result<Vec<Backup>, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.backups where project_ref = $1 and busy_with is null \
         and ((status = 'failed' and object_key is not null) \
         or (restore_status = 'failed' and restore_working_database is not null)) order by id"
    );
    let statement = client.prepare_cached(SQL).await?;
    let rows = client.query(&statement, &[&project.as_str()]).await?;
    rows.iter().map(from_row).collect()
}

/// Notes that the object of a failed backup is gone.
///
/// # Errors
/// Those of the connection.
pub async fn update_object_gone<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set object_key = null \
         where project_ref = $1 and id = $2 and status = 'failed'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(&statement, &[&project.as_str(), &id.0])
        .await?;
    Ok(updated == 1)
}

/// Notes that the working database of a failed restore is gone.
///
/// # Errors
/// Those of the connection.
pub async fn update_working_database_gone<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.backups set restore_working_database = null \
         where project_ref = $1 and id = $2 and restore_status = 'failed'";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(&statement, &[&project.as_str(), &id.0])
        .await?;
    Ok(updated == 1)
}

/// Deletes a backup on which nobody is at work and of whose restores nothing is left to clear
/// away. `None`: it is missing, or not in that state.
///
/// # Errors
/// Those of the connection.
pub async fn delete<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: BackupId,
) -> Result<Option<Backup>, Error> {
    const SQL: &str = concat!(
        "delete from platform.backups where project_ref = $1 and id = $2 and busy_with is null \
         and restore_working_database is null returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(&statement, &[&project.as_str(), &id.0])
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

fn conflict(error: tokio_postgres::Error) -> Error {
    let constraint = error.as_db_error().and_then(|error| error.constraint());
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) && constraint == Some(ONE_AT_A_TIME) {
        Error::BackupInProgress
    } else {
        error.into()
    }
}

/// A count for a column of type `integer`, which holds fewer than `u32`.
fn to_integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A size for a column of type `bigint`, which holds fewer than `u64`.
fn to_bigint(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn from_row(row: &Row) -> Result<Backup, Error> {
    let status = |text: &str| text.parse().unwrap_or(Status::Failed); // the table's check admits no other
    let restore = match row.try_get::<_, Option<&str>>("restore_status")? {
        None => None,
        Some(text) => Some(Restore {
            status: status(text),
            database: row.try_get("restore_database")?,
            working_database: row.try_get("restore_working_database")?,
            previous_database: row.try_get("restore_previous_database")?,
            error: row.try_get("restore_error")?,
            started_at: row.try_get("restore_started_at")?,
            finished_at: row.try_get("restore_finished_at")?,
        }),
    };
    let count = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(Backup {
        id: BackupId(row.try_get("id")?),
        database: row.try_get("database")?,
        status: status(row.try_get("status")?),
        object_key: row.try_get("object_key")?,
        bytes: u64::try_from(row.try_get::<_, i64>("bytes")?).unwrap_or(0),
        sha256: row
            .try_get::<_, Option<&[u8]>>("sha256")?
            .and_then(|bytes| bytes.try_into().ok()),
        database_version: row.try_get("database_version")?,
        tables_done: count(row.try_get("tables_done")?),
        tables_total: row.try_get::<_, Option<i32>>("tables_total")?.map(count),
        error: row.try_get("error")?,
        created_at: row.try_get("created_at")?,
        finished_at: row.try_get("finished_at")?,
        restore,
    })
}
