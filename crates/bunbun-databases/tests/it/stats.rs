//! Tests of `postgres::stats`.

use bunbun_databases::postgres::stats::{Stats, read};
use bunbun_test::TestDb;
use serde_json::Value;

use crate::query::ask;

fn json(stats: &Stats) -> Value {
    serde_json::to_value(stats).expect("JSON")
}

#[tokio::test]
async fn sizes_and_counters_are_told() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int primary key, b int)").await;
    ask(&pool, "create index unused on t (b)").await;
    ask(
        &pool,
        "insert into t select n, n from generate_series(1, 1000) n",
    )
    .await;
    let stats = json(&read(&pool).await.expect("they are told"));
    assert_eq!(stats["database"]["name"], database.name());
    assert!(stats["database"]["bytes"].as_i64() > Some(1_000_000));
    assert!(stats["database"]["cache_hit_ratio"].is_number());
    assert_eq!(stats["tables"][0]["name"], "t");
    assert!(stats["tables"][0]["bytes"].as_i64() > Some(40_000));
    assert_eq!(stats["unused_indexes"][0]["name"], "unused");
    assert!(stats["statements"].is_null());
    assert!(
        stats["statements_missing"]
            .as_str()
            .expect("a reason")
            .contains("not installed")
    );
}

#[tokio::test]
async fn an_extension_that_the_server_did_not_load_is_no_failure() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let superuser = database.superuser().await;
    let made = superuser
        .batch_execute("create schema \"odd \"\"one\"; create extension pg_stat_statements schema \"odd \"\"one\"")
        .await;
    if made.is_err() {
        return bunbun_test::skip("no extension pg_stat_statements");
    }
    let stats = json(&read(&database.pool()).await.expect("the rest is told"));
    assert!(stats["statements"].is_null(), "{stats}");
    let reason = stats["statements_missing"].as_str().expect("a reason");
    assert!(reason.contains("shared_preload_libraries"), "{reason}");
}

#[tokio::test]
async fn a_locked_table_keeps_nobody_waiting() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int)").await;
    let other = database.superuser().await;
    other
        .batch_execute("begin; lock table t in access exclusive mode")
        .await
        .expect("locked");
    let stats = json(&read(&pool).await.expect("they are told"));
    assert!(stats["tables"][0]["bytes"].is_null());
}
