//! Timeouts, cancellation, truncation.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    pool::{Pool, PoolConfig},
    query::{Request, run},
};
use bunbun_test::TestDb;
use serde_json::json;

use super::{answer, ask, value};

/// Waits until a condition on the server holds.
async fn until(client: &tokio_postgres::Client, condition: &str) {
    let sql = format!("select {condition}");
    let wait = async {
        while !client
            .query_one(&sql, &[])
            .await
            .expect("it can be asked")
            .get::<_, bool>(0)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .expect(condition);
}

fn running(marker: &str) -> String {
    format!(
        "exists (select from pg_stat_activity where query like '%{marker}%' \
         and state = 'active' and pid <> pg_backend_pid())"
    )
}

#[tokio::test]
async fn a_statement_is_stopped_at_its_timeout_and_the_session_has_its_own_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    for sql in [
        "select pg_sleep(30)",
        "do $$ begin perform pg_sleep(30); end $$",
        "select 1; select pg_sleep(30)",
    ] {
        let mut request = Request::new(sql);
        request.timeout = Duration::from_millis(50);
        let error = run(&pool, &request).await.expect_err("too long");
        assert_eq!(error.code(), Code::StatementTimeout, "{sql}");
        assert_eq!(
            value(&pool, "select current_setting('statement_timeout')").await,
            "30s"
        );
    }
    let mut request = Request::new("select current_setting('statement_timeout') as t");
    request.timeout = Duration::from_millis(1_500);
    request.read_only = true;
    assert_eq!(
        answer(&pool, &request).await.expect("it runs")["rows"][0]["t"],
        "1500ms"
    );
    assert_eq!(
        value(&pool, "select current_setting('statement_timeout')").await,
        "30s"
    );
}

#[tokio::test]
async fn a_statement_whose_caller_goes_away_is_cancelled() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let outside = database.superuser().await;
    let process = value(&pool, "select pg_backend_pid()").await;
    for (marker, sql) in [
        ("one_alone", "select pg_sleep(60), 'one_alone'"),
        ("in_a_script", "select 'in_a_script'; select pg_sleep(60)"),
        (
            "with_effects",
            "do $$ begin perform pg_sleep(60); /* with_effects */ end $$",
        ),
    ] {
        let request = Request::new(sql);
        {
            let call = run(&pool, &request);
            tokio::pin!(call);
            let condition = running(marker);
            tokio::select! {
                result = &mut call => panic!("it ended: {result:?}"),
                () = until(&outside, &condition) => {}
            }
        }
        until(&outside, &format!("not {}", running(marker))).await;
        // The same connection serves on, and no late cancel hits the next statement.
        assert_eq!(
            value(&pool, "select pg_backend_pid() from pg_sleep(0.05)").await,
            process
        );
    }
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn rows_beyond_the_cap_are_left_out_and_told() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table t (a int)").await;
    let mut request = Request::new("select generate_series(1, 1000000000000) as g");
    request.max_rows = 3;
    let cut = answer(&pool, &request).await.expect("it runs");
    assert_eq!(cut["rows"], json!([{"g": 1}, {"g": 2}, {"g": 3}]));
    assert_eq!(
        (&cut["truncated"], &cut["rowCount"], &cut["command"]),
        (&json!(true), &json!(3), &json!("SELECT"))
    );

    request.sql = "insert into t select generate_series(1, 10) returning a".to_owned();
    let cut = answer(&pool, &request).await.expect("it runs");
    assert_eq!(
        (&cut["truncated"], &cut["rowCount"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(
        value(&pool, "select count(*) from t").await,
        10,
        "a cut-off write is whole"
    );

    request.sql = "select 1; select a from t; select 2 where false; select a from t".to_owned();
    let cut = answer(&pool, &request).await.expect("it runs");
    assert_eq!(
        (&cut["truncated"], &cut["rowCount"]),
        (&json!(true), &json!(3))
    );

    request.sql = "select a from t limit 3".to_owned();
    let whole = answer(&pool, &request).await.expect("it runs");
    assert!(
        whole.get("truncated").is_none(),
        "exactly as many as the cap are whole"
    );

    request.max_rows = 1_000_000;
    request.max_bytes = 10_000;
    request.sql = "select repeat('x', 1000) from generate_series(1, 100)".to_owned();
    let cut = answer(&pool, &request).await.expect("it runs");
    assert_eq!(cut["truncated"], true);
    assert!(cut["rowCount"].as_u64().is_some_and(|rows| rows < 15));
}

#[tokio::test]
async fn a_value_that_would_fill_our_memory_is_refused() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let error = run(&pool, &Request::new("select repeat('x', 300000000)"))
        .await
        .expect_err("large");
    assert_eq!(error.code(), Code::InvalidRequest);
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn callers_beyond_the_pool_are_refused_after_a_bounded_wait() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut config = PoolConfig::new(database.url().into());
    config.size = 1;
    config.wait_timeout = Duration::from_millis(50);
    let pool = Pool::new(&config).expect("the URL is good");
    let outside = database.superuser().await;
    let request = Request::new("select pg_sleep(60), 'holds_the_pool'");
    let call = run(&pool, &request);
    tokio::pin!(call);
    let condition = running("holds_the_pool");
    tokio::select! {
        result = &mut call => panic!("it ended: {result:?}"),
        () = until(&outside, &condition) => {}
    }
    let error = run(&pool, &Request::new("select 1"))
        .await
        .expect_err("no connection is free");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
}
