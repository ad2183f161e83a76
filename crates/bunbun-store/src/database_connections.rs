//! The table `platform.database_connections`: stored connections to databases
//! (`/api/platform/{kind}/{ref}/connections`). Passwords come and go encrypted; nobody here can
//! read them.

use std::str::FromStr;

use bunbun_core::id::{ConnectionId, ProjectRef};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{Json, ToSql},
};

use crate::{Error, Executor};

/// Most connections of a project.
pub const MAX_CONNECTIONS: i64 = 100;

const IDENTIFIER_INDEX: &str = "database_connections_identifier";

/// How a connection is, as far as somebody tried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The last try went well.
    Active,
    /// Nobody tried it since it was changed.
    Inactive,
    /// The last try failed; `last_error` says why.
    Error,
    /// It is being tried.
    Connecting,
}

impl Status {
    /// The text in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Error => "ERROR",
            Self::Connecting => "CONNECTING",
        }
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Active, Self::Inactive, Self::Error, Self::Connecting]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// One of the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredHost {
    /// Name or address.
    pub name: String,
    /// Port; 0 for the name of a `mongodb+srv` connection.
    pub port: u16,
}

/// What a caller can set.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSettings {
    /// The name in the project.
    pub identifier: String,
    /// At least one.
    pub hosts: Vec<StoredHost>,
    /// The database.
    pub database_name: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The password, sealed.
    pub password: Option<Vec<u8>>,
    /// How TLS is done.
    pub tls: String,
    /// The engine's options.
    pub options: serde_json::Value,
    /// Whether it is meant where none is named.
    pub is_primary: bool,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseConnection {
    /// Its id.
    pub id: ConnectionId,
    /// `postgres`, `redis`, `mongodb`.
    pub database_type: String,
    /// What a caller can set.
    pub settings: StoredSettings,
    /// How it is.
    pub status: Status,
    /// Why it is not well; public.
    pub last_error: Option<String>,
    /// When it was tried.
    pub last_checked_at: Option<OffsetDateTime>,
    /// Counts the changes of its settings.
    pub version: i64,
    /// When it was stored.
    pub created_at: OffsetDateTime,
    /// When its settings were changed.
    pub updated_at: OffsetDateTime,
}

macro_rules! columns {
    () => {
        "id, database_type, identifier, host, port, more_hosts, database_name, username, password, \
         tls, options, is_primary, status, last_error, last_checked_at, version, created_at, \
         updated_at"
    };
}

/// Stores a connection. The first one of its kind is the primary one.
///
/// # Errors
/// [`Error::ConnectionExists`] where the identifier is taken, [`Error::ConnectionLimit`].
pub async fn insert<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: ConnectionId,
    database_type: &str,
    settings: &StoredSettings,
) -> Result<DatabaseConnection, Error> {
    const SQL: &str = concat!(
        "insert into platform.database_connections (id, project_ref, database_type, identifier, \
         host, port, more_hosts, database_name, username, password, tls, options, is_primary) \
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 or not exists ( \
             select from platform.database_connections where project_ref = $2 and database_type = $3) \
         where (select count(*) from platform.database_connections where project_ref = $2) < $14 \
         returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let columns = Columns::of(settings)?;
    let reference = project.as_str();
    let parameters = columns.with(&[&id.0, &reference, &database_type], &[&MAX_CONNECTIONS]);
    let row = client
        .query_opt(&statement, &parameters)
        .await
        .map_err(conflict)?
        .ok_or(Error::ConnectionLimit)?;
    from_row(&row)
}

/// The project's connection of this kind and id.
///
/// # Errors
/// Those of the connection.
pub async fn find<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    id: ConnectionId,
) -> Result<Option<DatabaseConnection>, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.database_connections \
         where project_ref = $1 and database_type = $2 and id = $3"
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(&statement, &[&project.as_str(), &database_type, &id.0])
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The project's connection of this kind and id; nobody else changes it until the transaction ends.
///
/// # Errors
/// [`Error::ConnectionNotFound`].
pub async fn lock<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    id: ConnectionId,
) -> Result<DatabaseConnection, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.database_connections \
         where project_ref = $1 and database_type = $2 and id = $3 for update"
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(&statement, &[&project.as_str(), &database_type, &id.0])
        .await?;
    from_row(&row.ok_or(Error::ConnectionNotFound)?)
}

/// The project's connection of this kind and identifier, or its primary one.
///
/// # Errors
/// Those of the connection.
pub async fn find_by_identifier<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    identifier: Option<&str>,
) -> Result<Option<DatabaseConnection>, Error> {
    // PostgreSQL's texts have no NUL, so no identifier has one.
    if identifier.is_some_and(|identifier| identifier.contains('\0')) {
        return Ok(None);
    }
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.database_connections where project_ref = $1 and database_type = $2 \
         and case when $3::text is null then is_primary else identifier = $3 end"
    );
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(
            &statement,
            &[&project.as_str(), &database_type, &identifier],
        )
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The project's connections of this kind, oldest first: at most `limit`, those after `after`.
///
/// # Errors
/// Those of the connection.
pub async fn list<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    after: Option<ConnectionId>,
    limit: u32,
) -> Result<Vec<DatabaseConnection>, Error> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from platform.database_connections where project_ref = $1 and database_type = $2 \
         and ($3::uuid is null or id > $3) order by id limit $4"
    );
    let statement = client.prepare_cached(SQL).await?;
    let after = after.map(|id| id.0);
    let rows = client
        .query(
            &statement,
            &[&project.as_str(), &database_type, &after, &i64::from(limit)],
        )
        .await?;
    rows.iter().map(from_row).collect()
}

/// Lets one transaction at a time change which connections a project has, until it ends: the first
/// one of a kind becomes primary, and two at once must not both.
///
/// # Errors
/// Those of the connection.
pub async fn lock_project<C: Executor>(client: &C, project: &ProjectRef) -> Result<(), Error> {
    const SQL: &str =
        "select pg_advisory_xact_lock(hashtextextended('database_connections ' || $1, 0))";
    let statement = client.prepare_cached(SQL).await?;
    client.execute(&statement, &[&project.as_str()]).await?;
    Ok(())
}

/// Makes room for another primary connection: the project has none of this kind afterwards, unless
/// it is the one of this id.
///
/// # Errors
/// Those of the connection.
pub async fn update_no_primary_but<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    id: ConnectionId,
) -> Result<(), Error> {
    const SQL: &str = "update platform.database_connections \
         set is_primary = false, version = version + 1, updated_at = now() \
         where project_ref = $1 and database_type = $2 and is_primary and id <> $3";
    let statement = client.prepare_cached(SQL).await?;
    client
        .execute(&statement, &[&project.as_str(), &database_type, &id.0])
        .await?;
    Ok(())
}

/// Changes a connection's settings.
///
/// # Errors
/// [`Error::ConnectionNotFound`], [`Error::ConnectionExists`].
pub async fn update<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    id: ConnectionId,
    settings: &StoredSettings,
) -> Result<DatabaseConnection, Error> {
    const SQL: &str = concat!(
        "update platform.database_connections set identifier = $4, host = $5, port = $6, \
         more_hosts = $7, database_name = $8, username = $9, password = $10, tls = $11, \
         options = $12, is_primary = $13, status = 'INACTIVE', last_error = null, \
         last_checked_at = null, version = version + 1, updated_at = now() \
         where id = $1 and project_ref = $2 and database_type = $3 returning ",
        columns!()
    );
    let statement = client.prepare_cached(SQL).await?;
    let columns = Columns::of(settings)?;
    let reference = project.as_str();
    let parameters = columns.with(&[&id.0, &reference, &database_type], &[]);
    let row = client
        .query_opt(&statement, &parameters)
        .await
        .map_err(conflict)?;
    from_row(&row.ok_or(Error::ConnectionNotFound)?)
}

/// Says how a connection is; not if it was changed in the meantime.
///
/// # Errors
/// Those of the connection.
pub async fn update_status<C: Executor>(
    client: &C,
    project: &ProjectRef,
    id: ConnectionId,
    version: i64,
    status: Status,
    last_error: Option<&str>,
) -> Result<(), Error> {
    const SQL: &str = "update platform.database_connections \
         set status = $4, last_error = $5, last_checked_at = now() \
         where project_ref = $1 and id = $2 and version = $3";
    let statement = client.prepare_cached(SQL).await?;
    client
        .execute(
            &statement,
            &[
                &project.as_str(),
                &id.0,
                &version,
                &status.as_str(),
                &last_error,
            ],
        )
        .await?;
    Ok(())
}

/// Removes a connection. `false`: it was not there.
///
/// # Errors
/// Those of the connection.
pub async fn delete<C: Executor>(
    client: &C,
    project: &ProjectRef,
    database_type: &str,
    id: ConnectionId,
) -> Result<bool, Error> {
    const SQL: &str = "delete from platform.database_connections \
         where project_ref = $1 and database_type = $2 and id = $3";
    let statement = client.prepare_cached(SQL).await?;
    let deleted = client
        .execute(&statement, &[&project.as_str(), &database_type, &id.0])
        .await?;
    Ok(deleted == 1)
}

/// What a caller can set, as columns.
struct Columns<'s> {
    settings: &'s StoredSettings,
    host: &'s str,
    port: i32,
    more_hosts: Json<&'s [StoredHost]>,
}

impl<'s> Columns<'s> {
    fn of(settings: &'s StoredSettings) -> Result<Self, Error> {
        let (first, more) = settings
            .hosts
            .split_first()
            .ok_or(Error::Corrupt("database_connections.host"))?;
        Ok(Self {
            settings,
            host: &first.name,
            port: first.port.into(),
            more_hosts: Json(more),
        })
    }

    fn with<'p>(
        &'p self,
        before: &[&'p (dyn ToSql + Sync)],
        after: &[&'p (dyn ToSql + Sync)],
    ) -> Vec<&'p (dyn ToSql + Sync)> {
        let settings = self.settings;
        let own: [&(dyn ToSql + Sync); 10] = [
            &settings.identifier,
            &self.host,
            &self.port,
            &self.more_hosts,
            &settings.database_name,
            &settings.username,
            &settings.password,
            &settings.tls,
            &settings.options,
            &settings.is_primary,
        ];
        [before, &own, after].concat()
    }
}

fn conflict(error: tokio_postgres::Error) -> Error {
    let constraint = error
        .as_db_error()
        .filter(|error| *error.code() == SqlState::UNIQUE_VIOLATION)
        .and_then(|error| error.constraint());
    match constraint {
        Some(IDENTIFIER_INDEX) => Error::ConnectionExists,
        _ => error.into(),
    }
}

fn from_row(row: &Row) -> Result<DatabaseConnection, Error> {
    let status: &str = row.try_get(12)?;
    let port =
        |port: i32| u16::try_from(port).map_err(|_| Error::Corrupt("database_connections.port"));
    let Json(more): Json<Vec<StoredHost>> = row.try_get(5)?;
    let mut hosts = vec![StoredHost {
        name: row.try_get(3)?,
        port: port(row.try_get(4)?)?,
    }];
    hosts.extend(more);
    Ok(DatabaseConnection {
        id: ConnectionId(row.try_get(0)?),
        database_type: row.try_get(1)?,
        settings: StoredSettings {
            identifier: row.try_get(2)?,
            hosts,
            database_name: row.try_get(6)?,
            username: row.try_get(7)?,
            password: row.try_get(8)?,
            tls: row.try_get(9)?,
            options: row.try_get(10)?,
            is_primary: row.try_get(11)?,
        },
        status: status
            .parse()
            .map_err(|()| Error::Corrupt("database_connections.status"))?,
        last_error: row.try_get(13)?,
        last_checked_at: row.try_get(14)?,
        version: row.try_get(15)?,
        created_at: row.try_get(16)?,
        updated_at: row.try_get(17)?,
    })
}
