//! Tests of `postgres::pool`.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    health,
    pool::{Pool, PoolConfig},
    query::{Request, run},
};
use bunbun_test::TestDb;

#[tokio::test]
async fn a_client_runs_statements_and_counts_as_in_use() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    assert_eq!(pool.status().in_use, 0);
    let client = pool.get().await.expect("a connection");
    let one: i32 = client
        .query_one("select 1", &[])
        .await
        .expect("an answer")
        .get(0);
    assert_eq!(one, 1);
    assert_eq!(pool.status().in_use, 1);
    drop(client);
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 1));
    pool.get().await.expect("a connection").close();
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 0));
}

#[tokio::test]
async fn an_exhausted_pool_is_unavailable_after_a_bounded_wait() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut config = PoolConfig::new(database.url().into());
    config.size = 1;
    config.wait_timeout = Duration::from_millis(50);
    config.max_waiting = 1;
    let pool = Pool::new(&config).expect("the URL is good");
    let held = pool.get().await.expect("a connection");
    let (first, second) = tokio::join!(pool.get(), pool.get());
    for refused in [first, second] {
        let error = refused.expect_err("the pool is exhausted");
        assert_eq!(error.code(), Code::DatabaseUnavailable);
        assert!(error.retry_after().is_some());
        assert_eq!(
            error.public_message().expect("one"),
            "No free connection: 1 of 1 are in use."
        );
    }
    assert_eq!(pool.status().waiting, 0);
    // PostgreSQL itself is well, and one connection is enough to tell it, again and again.
    for _ in 0..3 {
        let health = health::check(&pool, Duration::from_secs(10)).await;
        assert_eq!(health.expect("it answers").pool.in_use, 1);
    }
    let sessions = "select count(*) from pg_stat_activity where datname = current_database()";
    let row = held.query_one(sessions, &[]).await.expect("an answer");
    assert_eq!(row.get::<_, i64>(0), 2);
    // A lost one is replaced.
    let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    held.query(end, &[]).await.expect("an answer");
    let health = health::check(&pool, Duration::from_secs(10)).await;
    health.expect("it answers");
    drop(held);
    pool.get().await.expect("free again");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("postgres://u:hunter2@127.0.0.1:{port}/d");
    let pool = Pool::new(&PoolConfig::new(url.into())).expect("the URL is good");
    let error = pool.get().await.expect_err("nobody listens");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(!format!("{error:?} {pool:?}").contains("hunter2"));
}

#[test]
fn runtimes_share_a_pool() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let ask = async |pool: &Pool| {
        let request = Request::new("select pg_backend_pid()");
        run(pool, &request).await.expect("it runs").body
    };
    let process = |body: Vec<u8>| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")["rows"].clone()
    };
    let first = runtime();
    let Some(database) = first.block_on(TestDb::create()) else {
        return;
    };
    let pool = database.pool_of(1);
    let of_first = process(first.block_on(ask(&pool)));
    // Nobody polls the first one's reactor any more.
    drop(first);
    let of_second = process(runtime().block_on(ask(&pool)));
    assert_eq!(of_first, of_second, "the connection moved");
}
