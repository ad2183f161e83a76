//! Many at once, and connections that are cut.

use std::{collections::HashSet, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    migrate::{Error, apply, list},
    pool::Pool,
};
use bunbun_test::TestDb;
use tokio_postgres::Client;

use super::{applied, exists, outcome, refused, request, untransacted};

/// Pools as of several BunBun nodes, so that the lock in PostgreSQL is what keeps order.
fn nodes(database: &TestDb) -> Vec<Pool> {
    (0..4).map(|_| database.pool_of(2)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_identical_requests_apply_once() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let nodes = nodes(&database);
    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let pool = nodes[index % nodes.len()].clone();
            let request = request("once", "create table once as select 1 as a");
            bunbun_core::task::spawn("post", async move { outcome(&pool, request).await })
        })
        .collect();
    let mut fresh = 0;
    let mut versions = HashSet::new();
    for task in tasks {
        let outcome = task.await.unwrap();
        fresh += usize::from(!outcome.already_applied);
        versions.insert(outcome.migration.unwrap().version);
    }
    assert_eq!((fresh, versions.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_different_requests_all_apply_under_distinct_versions() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let nodes = nodes(&database);
    let tasks: Vec<_> = (0..20)
        .map(|index| {
            let pool = nodes[index % nodes.len()].clone();
            let mut request = request(&format!("m{index}"), &format!("create table m{index} ()"));
            // Both ways at once.
            request.transactional = index % 3 != 0;
            bunbun_core::task::spawn("post", async move { applied(&pool, request).await })
        })
        .collect();
    let mut versions = HashSet::new();
    for task in tasks {
        versions.insert(task.await.unwrap().version);
    }
    assert_eq!(versions.len(), 20);
    let history = list(&nodes[0]).await.unwrap();
    assert_eq!(history.len(), 20);
    assert!(history.is_sorted_by(|newer, older| newer.version > older.version));
    assert!(history.is_sorted_by(|newer, older| newer.applied_at >= older.applied_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_migration_does_not_stop_an_index_that_is_built_concurrently() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let nodes = nodes(&database);
    applied(&nodes[0], request("t", "create table t (a int)")).await;
    // The build waits for this old snapshot while another migration waits for the build.
    let mut old = database.superuser().await;
    let snapshot = old.transaction().await.unwrap();
    snapshot
        .batch_execute("lock table t in row exclusive mode")
        .await
        .unwrap();
    let outside = database.superuser().await;
    let pool = nodes[0].clone();
    let building = bunbun_core::task::spawn("post", async move {
        applied(
            &pool,
            untransacted("index", "create index concurrently on t (a)"),
        )
        .await
    });
    until(&outside, "exists(select from pg_stat_activity where query like 'create index conc%' and wait_event_type = 'Lock')").await;
    let pool = nodes[1].clone();
    let waiting = bunbun_core::task::spawn("post", async move {
        applied(&pool, request("next", "select 1")).await
    });
    until(&outside, "exists(select from pg_stat_activity where query like '%try_advisory_xact%' and state = 'idle in transaction')").await;
    snapshot.rollback().await.unwrap();
    let index = building.await.unwrap();
    let next = waiting.await.unwrap();
    assert!(index.version < next.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_leaves_neither_half_a_migration_nor_a_lock() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let outside = database.superuser().await;
    let running = bunbun_core::task::spawn("post", {
        let pool = pool.clone();
        async move {
            apply(
                &pool,
                request("cut", "create table a (); select pg_sleep(600)"),
            )
            .await
        }
    });
    until(&outside, SLEEPING).await;
    outside
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and query like '%pg_sleep(600)%' \
               and pid <> pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    let error = running.await.unwrap().expect_err("the connection was cut");
    assert!(matches!(error, Error::Postgres(_)), "{error:?}");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(!exists(&outside, "public.a").await);
    assert!(list(&pool).await.unwrap().is_empty());
    applied(&pool, request("cut", "create table a ()")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_neither_half_a_migration_nor_a_lock() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let outside = database.superuser().await;
    // To PostgreSQL a killed process is a socket that is closed without a word; the end of a
    // runtime is the same.
    let process = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = database.pool();
    process.spawn(async move {
        apply(
            &pool,
            request("killed", "create table a (); select pg_sleep(600)"),
        )
        .await
    });
    until(&outside, SLEEPING).await;
    process.shutdown_background();
    applied(&database.pool(), request("killed", "create table a ()")).await;
    assert!(exists(&outside, "public.a").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_migration_is_told_when_the_first_takes_too_long() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let nodes = nodes(&database);
    applied(&nodes[0], request("first", "select 1")).await;
    let holder = database.superuser().await;
    // The lock of the history: "bunbun" in ASCII and a zero.
    let lock: i64 = 0x6275_6e62_756e_0000;
    holder
        .execute("select pg_advisory_lock($1)", &[&lock])
        .await
        .unwrap();
    let mut request = request("second", "select 1");
    request.lock_timeout = Duration::from_millis(50);
    let error = refused(&nodes[1], request).await;
    assert_eq!(error.code(), Code::MigrationInProgress);
    assert!(error.retry_after().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_stop_its_migration() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let outside = database.superuser().await;
    outside
        .batch_execute("select pg_advisory_lock(1)")
        .await
        .unwrap();
    let sql = "create table a (); select pg_advisory_xact_lock(1)";
    let running = bunbun_core::task::spawn("post", {
        let pool = pool.clone();
        async move { apply(&pool, request("gone", sql)).await }
    });
    let watcher = database.superuser().await;
    until(
        &watcher,
        "exists(select from pg_stat_activity where wait_event = 'advisory')",
    )
    .await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    outside
        .batch_execute("select pg_advisory_unlock(1)")
        .await
        .unwrap();
    // The same request waits for the first and finds it applied.
    assert!(outcome(&pool, request("gone", sql)).await.already_applied);
    assert!(exists(&watcher, "public.a").await);
}

const SLEEPING: &str = "exists(select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())";

/// Asks until a condition on the server holds.
async fn until(client: &Client, condition: &str) {
    let sql = format!("select {condition}");
    let asking = async {
        while !client
            .query_one(&sql, &[])
            .await
            .expect("an answer")
            .get::<_, bool>(0)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .expect("it comes to that");
}
