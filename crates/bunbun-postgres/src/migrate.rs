//! The migrations of one service: its tables in the project's database.
//!
//! They go forward only and work with the previous release, so that a node of a newer one may run
//! them beside us. Each of them and its row in the history are one transaction; an advisory lock
//! makes nodes take turns.

use std::collections::HashSet;

use serde::Serialize;
use tokio_postgres::error::SqlState;

use crate::{Client, Error, Pool, project};

/// Longest wait for another node's migration, or for a lock on a table in use.
const LOCK_TIMEOUT: &str = "30s";

/// Longest run of one statement of a migration.
const STATEMENT_TIMEOUT: &str = "10min";

/// One migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number; they run in the order of the list.
    pub version: i64,
    /// Its name, words joined by `_`.
    pub name: &'static str,
    /// Statements that change nothing where their work is done already: a database of the original
    /// has most of the objects, and they stay as they are.
    pub sql: &'static str,
}

/// A service with tables of its own.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its schema: `auth`.
    pub schema: &'static str,
    /// The table of the history, within the schema: `auth.bunbun_migrations`.
    pub history: &'static str,
    /// The key of the advisory lock.
    pub lock: i64,
    /// Every migration, oldest first.
    pub migrations: &'static [Migration],
}

/// One migration that is now in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Migrations that this run applied, in order.
    pub applied: Vec<AppliedMigration>,
    /// Migrations that this release has.
    pub total: usize,
    /// The schema is the original's, and our role may not change it: it is used as it is.
    pub adopted: bool,
}

/// Prepares the database ([`project::prepare`]) and runs the migrations that it lacks. Several
/// nodes may do so at the same time.
///
/// # Errors
/// [`Error::Migration`], after which the failed one is rolled back and those before it stay;
/// [`Error::NeedsSuperuser`], [`Error::Unavailable`].
pub async fn run(pool: &Pool, service: &Service) -> Result<Report, Error> {
    project::prepare(pool).await?;
    let mut client = pool.get().await?;
    let mut report = Report {
        applied: Vec::new(),
        total: service.migrations.len(),
        adopted: false,
    };
    let history = History::read(&client, service).await?;
    if !history.exists && !history.may_create {
        if !history.is_originals {
            return Err(needs_create(&client, service).await?);
        }
        report.adopted = true;
        return Ok(report);
    }
    for migration in service.migrations {
        if history.versions.contains(&migration.version) {
            continue;
        }
        match apply(&mut client, service, migration).await {
            Ok(false) => {}
            Ok(true) => report.applied.push(AppliedMigration {
                version: migration.version,
                name: migration.name,
            }),
            Err(error) if history.is_originals && is_forbidden(&error) => {
                let (schema, version, name) = (service.schema, migration.version, migration.name);
                let cause = bunbun_core::error::chain(&error);
                tracing::warn!(
                    schema,
                    version,
                    name,
                    cause,
                    "the original's tables are not ours to change: they are used as they are"
                );
                report.adopted = true;
                break;
            }
            Err(source @ Error::Unavailable(_)) => return Err(source),
            Err(source) => {
                return Err(Error::Migration {
                    schema: service.schema,
                    version: migration.version,
                    name: migration.name,
                    source: Box::new(source),
                });
            }
        }
    }
    if !report.applied.is_empty() {
        let (schema, applied) = (service.schema, report.applied.len());
        tracing::info!(schema, applied, "migrated a project's database");
        client.statement_cache.clear();
        drop(client);
        pool.forget_statements();
    }
    Ok(report)
}

fn is_forbidden(error: &Error) -> bool {
    error.sqlstate() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// What the database tells before anything is done.
struct History {
    exists: bool,
    may_create: bool,
    /// The original service has migrated the schema: its own history is there.
    is_originals: bool,
    versions: HashSet<i64>,
}

impl History {
    async fn read(client: &Client, service: &Service) -> Result<Self, Error> {
        let row = client
            .query_one(
                "select to_regclass($1) is not null,
                        has_schema_privilege($2, 'create'),
                        exists (select from pg_class
                                where relnamespace = to_regnamespace($2)
                                  and relname in ('schema_migrations', 'migrations'))",
                &[&service.history, &service.schema],
            )
            .await?;
        let exists: bool = row.try_get(0)?;
        let versions = if exists {
            versions(client, service).await?
        } else {
            HashSet::new()
        };
        Ok(Self {
            exists,
            may_create: row.try_get(1)?,
            is_originals: row.try_get(2)?,
            versions,
        })
    }
}

async fn versions(client: &Client, service: &Service) -> Result<HashSet<i64>, Error> {
    let sql = format!("select version from {}", service.history);
    let rows = client.query(&sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}

async fn needs_create(client: &Client, service: &Service) -> Result<Error, Error> {
    let row = client
        .query_one("select quote_ident(current_user)", &[])
        .await?;
    let user: String = row.try_get(0)?;
    let schema = service.schema;
    Ok(Error::NeedsSuperuser {
        sql: format!("grant usage, create on schema {schema} to {user};"),
    })
}

/// Runs one migration, unless another node has done so in the meantime.
async fn apply(
    client: &mut Client,
    service: &Service,
    migration: &Migration,
) -> Result<bool, Error> {
    let history = service.history;
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "set local lock_timeout = '{LOCK_TIMEOUT}';
             set local statement_timeout = '{STATEMENT_TIMEOUT}';
             select pg_advisory_xact_lock({lock});
             create table if not exists {history} (
               version bigint primary key,
               name text not null,
               applied_at timestamptz not null default now()
             );",
            lock = service.lock,
        ))
        .await?;
    let noted = transaction
        .execute(
            &format!(
                "insert into {history} (version, name) values ($1, $2) on conflict do nothing"
            ),
            &[&migration.version, &migration.name],
        )
        .await?;
    if noted == 0 {
        return Ok(false);
    }
    transaction.batch_execute(migration.sql).await?;
    transaction.commit().await?;
    Ok(true)
}
