//! The table `platform.data_keys`: projects' data keys, wrapped by the installation's master key.

use bunbun_core::id::{DataKeyId, ProjectRef};
use tokio_postgres::Row;

use crate::{Error, Executor};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its id.
    pub id: DataKeyId,
    /// The key, wrapped.
    pub wrapped_key: Vec<u8>,
}

/// The project's data key.
///
/// # Errors
/// Those of the connection.
pub async fn find<C: Executor>(
    client: &C,
    project: &ProjectRef,
) -> Result<Option<WrappedKey>, Error> {
    const SQL: &str = "select id, wrapped_key from platform.data_keys where project_ref = $1";
    let statement = client.prepare_cached(SQL).await?;
    let row = client.query_opt(&statement, &[&project.as_str()]).await?;
    row.map(|row| {
        Ok(WrappedKey {
            id: DataKeyId(row.try_get(0)?),
            wrapped_key: row.try_get(1)?,
        })
    })
    .transpose()
}

/// Stores the project's first data key. `false`: it has one already, which stays.
///
/// # Errors
/// Those of the connection.
pub async fn insert<C: Executor>(
    client: &C,
    project: &ProjectRef,
    key: &WrappedKey,
    master_key_id: &str,
) -> Result<bool, Error> {
    const SQL: &str = "insert into platform.data_keys (id, project_ref, wrapped_key, master_key_id) \
         values ($1, $2, $3, $4) on conflict (project_ref) do nothing";
    let statement = client.prepare_cached(SQL).await?;
    let inserted = client
        .execute(
            &statement,
            &[
                &key.id.0,
                &project.as_str(),
                &key.wrapped_key,
                &master_key_id,
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Keeps the project's data key where it is until the transaction ends. `false`: it is not, or no
/// longer, this one.
///
/// # Errors
/// Those of the connection.
pub async fn lock<C: Executor>(
    transaction: &C,
    project: &ProjectRef,
    id: DataKeyId,
) -> Result<bool, Error> {
    const SQL: &str =
        "select from platform.data_keys where project_ref = $1 and id = $2 for key share";
    let statement = transaction.prepare_cached(SQL).await?;
    let row = transaction
        .query_opt(&statement, &[&project.as_str(), &id.0])
        .await?;
    Ok(row.is_some())
}

/// The names of all master keys that wrap something, each with how many data keys it wraps. Of all
/// projects: a master key is the installation's.
///
/// # Errors
/// Those of the connection.
pub async fn list_master_key_ids<C: Executor>(client: &C) -> Result<Vec<(String, i64)>, Error> {
    const SQL: &str = "select master_key_id, count(*) from platform.data_keys \
         group by master_key_id order by master_key_id";
    let statement = client.prepare_cached(SQL).await?;
    let rows = client.query(&statement, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// Data keys of all projects, in the order of their ids.
///
/// # Errors
/// Those of the connection.
pub async fn list_after<C: Executor>(
    client: &C,
    after: Option<DataKeyId>,
    limit: u32,
) -> Result<Vec<(ProjectRef, WrappedKey)>, Error> {
    const SQL: &str = "select project_ref, id, wrapped_key from platform.data_keys \
         where $1::uuid is null or id > $1 order by id limit $2";
    let statement = client.prepare_cached(SQL).await?;
    let rows = client
        .query(&statement, &[&after.map(|id| id.0), &i64::from(limit)])
        .await?;
    owned(&rows)
}

/// The projects with stored passwords that have no data key: nobody can read those any more.
///
/// # Errors
/// Those of the connection.
pub async fn list_missing<C: Executor>(client: &C) -> Result<Vec<ProjectRef>, Error> {
    const SQL: &str = "select distinct project_ref from platform.database_connections c \
         where password is not null and not exists \
             (select from platform.data_keys k where k.project_ref = c.project_ref) \
         order by project_ref";
    let statement = client.prepare_cached(SQL).await?;
    let rows = client.query(&statement, &[]).await?;
    rows.iter().map(project).collect()
}

/// Some data keys, of all projects, that another master key than this one wraps.
///
/// # Errors
/// Those of the connection.
pub async fn list_not_wrapped_by<C: Executor>(
    client: &C,
    master_key_id: &str,
    limit: u32,
) -> Result<Vec<(ProjectRef, WrappedKey)>, Error> {
    const SQL: &str = "select project_ref, id, wrapped_key from platform.data_keys \
         where master_key_id <> $1 order by id limit $2";
    let statement = client.prepare_cached(SQL).await?;
    let rows = client
        .query(&statement, &[&master_key_id, &i64::from(limit)])
        .await?;
    owned(&rows)
}

fn owned(rows: &[Row]) -> Result<Vec<(ProjectRef, WrappedKey)>, Error> {
    rows.iter()
        .map(|row| {
            let project = project(row)?;
            let key = WrappedKey {
                id: DataKeyId(row.try_get(1)?),
                wrapped_key: row.try_get(2)?,
            };
            Ok((project, key))
        })
        .collect()
}

fn project(row: &Row) -> Result<ProjectRef, Error> {
    let reference: String = row.try_get(0)?;
    reference
        .parse()
        .map_err(|_| Error::Corrupt("data_keys.project_ref"))
}

/// Replaces a data key's wrapping, where it still is the one that was read. `false`: someone else
/// replaced it.
///
/// # Errors
/// Those of the connection.
pub async fn update_wrapping<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: DataKeyId,
    before: &[u8],
    after: &[u8],
    master_key_id: &str,
) -> Result<bool, Error> {
    const SQL: &str = "update platform.data_keys \
         set wrapped_key = $4, master_key_id = $5, rewrapped_at = now() \
         where project_ref = $1 and id = $2 and wrapped_key = $3";
    let statement = client.prepare_cached(SQL).await?;
    let updated = client
        .execute(
            &statement,
            &[&project.as_str(), &id.0, &before, &after, &master_key_id],
        )
        .await?;
    Ok(updated == 1)
}
