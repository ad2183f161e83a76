//! `transactional: false`: what cannot run in a transaction, and what is left when it fails.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::migrate::{Error, MigrationRequest, list, unfinished};
use bunbun_test::TestDb;

use super::{applied, exists, outcome, refused, request, untransacted};

#[tokio::test]
async fn statements_that_need_no_transaction_are_run_one_by_one() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create type mood as enum ('sad');\n\
               alter type mood add value 'happy';\n\
               create table t (m mood default 'happy');\n\
               create index concurrently t_m on t (m);\n\
               vacuum t; set role none; set search_path = ''";
    let migration = applied(&pool, untransacted("moods", sql)).await;
    assert_eq!(list(&pool).await.unwrap(), [migration]);
    assert!(
        outcome(&pool, untransacted("moods", sql))
            .await
            .already_applied
    );
    // The name and the SQL count, not the way.
    assert!(outcome(&pool, request("moods", sql)).await.already_applied);
    let outside = database.superuser().await;
    let left: i64 = outside
        .query_one(
            "select count(*) from supabase_migrations.bunbun_unfinished",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

#[tokio::test]
async fn one_that_stops_half_way_blocks_others_until_it_is_sent_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    applied(&pool, request("before", "select 1")).await;
    let broken = "create table a (); create table b ();\ncreate table a (); vacuum";
    let error = refused(&pool, untransacted("half", broken)).await;
    let details = error.details().unwrap();
    assert_eq!(details["sqlstate"], "42P07");
    assert_eq!(details["statement_number"], 3);
    assert_eq!(details["line"], 2);
    assert_eq!(details["partially_applied"], true);
    let outside = database.superuser().await;
    assert!(exists(&outside, "public.b").await);
    assert_eq!(
        list(&pool).await.unwrap().len(),
        1,
        "the CLI must not see it as applied"
    );

    for other in [
        request("other", "select 1"),
        untransacted("other", "select 1"),
        request("half", broken),
        MigrationRequest {
            dry_run: true,
            ..request("other", "select 1")
        },
    ] {
        let error = refused(&pool, other).await;
        assert_eq!(error.code(), Code::MigrationDirty);
        let message = error.public_message().unwrap().into_owned();
        assert!(
            message.contains("'half' stopped at statement 3"),
            "{message}"
        );
        let details = error.details().unwrap();
        assert_eq!(details["reason"], "relation \"a\" already exists");
    }
    assert!(
        outcome(&pool, request("before", "select 1"))
            .await
            .already_applied
    );

    let stopped = unfinished(&pool).await.unwrap().expect("it is told");
    assert_eq!(
        (stopped.name.as_str(), stopped.statement_number),
        ("half", 3)
    );
    let again = "create table a (); select 1";
    refused(&pool, untransacted("half", again)).await;
    let still = unfinished(&pool).await.unwrap().expect("it is told");
    assert_eq!(still.statement_number, 1);
    assert_ne!(still.checksum, stopped.checksum);
    assert!(still.started_at >= stopped.started_at);
    let mended = "create table if not exists a (); create table if not exists c (); vacuum";
    applied(&pool, untransacted("half", mended)).await;
    applied(&pool, request("other", "select 1")).await;
    assert_eq!(list(&pool).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_stays_with_the_request_that_stopped() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let keyed = |sql: &str, key: &str| MigrationRequest {
        idempotency_key: Some(key.to_owned()),
        ..untransacted("half", sql)
    };
    refused(&pool, keyed("create table a (); select 1/0", "k1")).await;
    let error = refused(&pool, keyed("select 2", "k1")).await;
    assert_eq!(error.code(), Code::IdempotencyConflict);
    refused(&pool, keyed("create table a (); select 1/0", "k1")).await;
    let first = outcome(&pool, keyed("select 2", "k2")).await;
    let again = outcome(&pool, keyed("select 2", "k2")).await;
    assert!(again.replayed);
    assert_eq!(again.migration, first.migration);
}

#[tokio::test]
async fn a_cut_connection_leaves_the_marker_and_no_lock() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let error = refused(
        &pool,
        untransacted(
            "cut",
            "create table a (); select pg_terminate_backend(pg_backend_pid())",
        ),
    )
    .await;
    assert!(matches!(error, Error::Postgres(_)), "{error:?}");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    let error = refused(&pool, request("other", "select 1")).await;
    let Error::Dirty {
        name,
        statement_number,
        reason,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((name.as_str(), statement_number, reason), ("cut", 2, None));
    applied(&pool, untransacted("cut", "drop table a")).await;
}

#[tokio::test]
async fn discard_would_let_go_of_the_lock_and_is_refused() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let error = refused(&database.pool(), untransacted("d", "discard all")).await;
    assert_eq!(error.code(), Code::MigrationNotAllowed);
}
