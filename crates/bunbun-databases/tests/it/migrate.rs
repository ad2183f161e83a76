//! Tests of `postgres::migrate` on a real PostgreSQL.

mod apply;
mod concurrency;
mod dry_run;
mod one_by_one;
mod refusals;
mod split;

use bunbun_databases::postgres::{
    migrate::{Error, Migration, MigrationOutcome, MigrationRequest, apply},
    pool::Pool,
};
use tokio_postgres::Client;

/// A migration of its own connection, on the rule's terms.
fn request(name: &str, sql: &str) -> MigrationRequest {
    MigrationRequest::new(name, sql)
}

fn keyed(name: &str, sql: &str, key: &str) -> MigrationRequest {
    MigrationRequest {
        idempotency_key: Some(key.to_owned()),
        ..request(name, sql)
    }
}

fn untransacted(name: &str, sql: &str) -> MigrationRequest {
    MigrationRequest {
        transactional: false,
        ..request(name, sql)
    }
}

async fn applied(pool: &Pool, request: MigrationRequest) -> Migration {
    let outcome = outcome(pool, request).await;
    assert!(!outcome.already_applied, "{outcome:?}");
    outcome.migration.expect("an applied migration is told")
}

async fn outcome(pool: &Pool, request: MigrationRequest) -> MigrationOutcome {
    apply(pool, request)
        .await
        .unwrap_or_else(|error| panic!("{error:?}"))
}

async fn refused(pool: &Pool, request: MigrationRequest) -> Error {
    match apply(pool, request).await {
        Err(error) => error,
        Ok(outcome) => panic!("not refused: {outcome:?}"),
    }
}

/// Whether a relation exists, seen from outside.
async fn exists(client: &Client, relation: &str) -> bool {
    let sql = "select pg_catalog.to_regclass($1) is not null";
    client
        .query_one(sql, &[&relation])
        .await
        .expect("an answer")
        .get(0)
}
