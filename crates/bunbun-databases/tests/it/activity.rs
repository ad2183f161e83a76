//! Tests of `postgres::activity`.

use std::time::Duration;

use bunbun_databases::postgres::{
    Error,
    activity::{End, end, list},
    catalog::Page,
    pool::Pool,
    query::{Request, run},
};
use bunbun_test::TestDb;
use serde_json::Value;

async fn sessions(pool: &Pool) -> Vec<Value> {
    let page = Page {
        limit: 100,
        ..Page::default()
    };
    let items = list(pool, &page).await.expect("a list").items;
    items
        .iter()
        .map(|item| serde_json::from_str(item.get()).expect("JSON"))
        .collect()
}

/// The process that runs a statement with this text, once it does.
async fn process(pool: &Pool, text: &str) -> i32 {
    let looking = async {
        loop {
            let found = sessions(pool).await.into_iter().find(|session| {
                session["state"] == "active"
                    && session["query"]
                        .as_str()
                        .is_some_and(|query| query.contains(text))
            });
            match found {
                Some(session) => break session["pid"].as_i64().expect("a number"),
                None => tokio::task::yield_now().await,
            }
        }
    };
    let pid = tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .expect("it begins");
    i32::try_from(pid).expect("a process")
}

#[tokio::test]
async fn sessions_are_seen_cancelled_and_ended() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    for (how, text) in [
        (End::Statement, "pg_sleep(61)"),
        (End::Session, "pg_sleep(62)"),
    ] {
        let busy = database.pool_of(1);
        let sql = format!("select {text}");
        let sleeping =
            bunbun_core::task::spawn("test", async move { run(&busy, &Request::new(sql)).await });
        let pid = process(&pool, text).await;
        assert!(end(&pool, pid, how).await.expect("it is told"));
        sleeping
            .await
            .expect("no panic")
            .expect_err("it was ended long before its time");
    }
}

#[tokio::test]
async fn processes_of_other_databases_are_out_of_reach() {
    let (Some(database), Some(other)) = (TestDb::create().await, TestDb::create().await) else {
        return;
    };
    let (pool, others) = (database.pool(), other.pool_of(1));
    let sleeping = {
        let others = others.clone();
        bunbun_core::task::spawn("test", async move {
            run(&others, &Request::new("select pg_sleep(0.5)")).await
        })
    };
    let pid = process(&other.pool(), "pg_sleep(0.5)").await;
    for how in [End::Statement, End::Session] {
        let error = end(&pool, pid, how).await.expect_err("not ours");
        assert!(matches!(error, Error::ProcessNotFound(_)));
    }
    assert!(
        sessions(&pool)
            .await
            .iter()
            .all(|session| session["pid"] != pid)
    );
    sleeping
        .await
        .expect("no panic")
        .expect("it was left alone");
    for pid in [0, -1, i32::MAX] {
        assert!(end(&pool, pid, End::Session).await.is_err());
    }
}
