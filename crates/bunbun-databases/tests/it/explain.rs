//! Tests of `postgres::explain`.

use std::time::Duration;

use bunbun_databases::postgres::{
    Error,
    explain::{Explain, explain},
    pool::Pool,
};
use bunbun_test::TestDb;
use serde_json::{Value, json};

use crate::query::{ask, value};

fn of(sql: &str) -> Explain {
    Explain {
        sql: sql.to_owned(),
        params: Vec::new(),
        analyze: false,
        verbose: false,
        settings: false,
        timeout: Duration::from_secs(20),
    }
}

async fn plan(pool: &Pool, request: &Explain) -> Value {
    let plan = explain(pool, request).await.expect("a plan");
    serde_json::from_str(plan.plan.get()).expect("JSON")
}

#[tokio::test]
async fn a_plan_is_json_and_nothing_is_run() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int primary key)").await;
    let mut request = of("select * from t where a = $1 -- a comment");
    request.params = vec![json!(5).into()];
    let found = plan(&pool, &request).await;
    assert!(found[0]["Plan"]["Node Type"].is_string(), "{found}");
    assert!(found[0].get("Execution Time").is_none());
    plan(&pool, &of("insert into t values (1)")).await;
    assert_eq!(value(&pool, "select count(*) from t").await, 0);
}

#[tokio::test]
async fn analyze_runs_and_rolls_back() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table t (a int primary key)").await;
    let mut request = of("insert into t select generate_series(1, 10)");
    request.analyze = true;
    let found = plan(&pool, &request).await;
    assert!(found[0]["Execution Time"].is_number(), "{found}");
    assert_eq!(found[0]["Plan"]["Plans"][0]["Actual Rows"], 10);
    assert_eq!(value(&pool, "select count(*) from t").await, 0);
    // The one connection is as good as new.
    ask(&pool, "insert into t values (1)").await;
    assert_eq!(value(&pool, "select count(*) from t").await, 1);
}

#[tokio::test]
async fn no_second_statement_gets_through() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int)").await;
    for sql in [
        "select 1; drop table t",
        "select 1; commit; drop table t",
        "analyze insert into t values (1)",
        "(analyze) insert into t values (1)",
        "commit",
        "drop table t",
        "do $$ begin drop table t; end $$",
        ") select 1",
        "",
        "-- nothing",
    ] {
        for analyze in [false, true] {
            let request = Explain { analyze, ..of(sql) };
            explain(&pool, &request).await.expect_err(sql);
        }
    }
    assert_eq!(value(&pool, "select count(*) from t").await, 0);
}

#[tokio::test]
async fn a_position_counts_from_the_caller_s_text() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    match explain(&database.pool(), &of("select nothing")).await {
        Err(Error::Sql(error)) => assert_eq!(error.position, Some(8)),
        other => panic!("{other:?}"),
    }
}
