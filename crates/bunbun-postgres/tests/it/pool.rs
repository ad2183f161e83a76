//! Tests of `pool`: limits, what callers share, and runtimes.

use std::{sync::Arc, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_postgres::{Error, Pool, PoolConfig};
use bunbun_test::TestDb;
use tokio::sync::Notify;

use crate::pool;

/// Reached by a fault only.
const LIMIT: Duration = Duration::from_secs(20);

/// The process that serves whoever asks now.
async fn backend(pool: &Pool) -> i32 {
    let client = pool.get().await.expect("a connection");
    let asked = client.query_one("select pg_backend_pid()", &[]);
    // Of a connection whose runtime nobody drives no answer comes.
    let row = tokio::time::timeout(LIMIT, asked)
        .await
        .expect("no endless wait");
    row.expect("an answer").get(0)
}

#[tokio::test]
async fn a_connection_goes_back_and_is_used_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 2);
    let first = backend(&pool).await;
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 1));
    assert_eq!(backend(&pool).await, first);
    let client = pool.get().await.expect("a connection");
    assert_eq!((pool.status().in_use, pool.status().idle), (1, 0));
    let row = client
        .query_one("select current_setting('application_name')", &[])
        .await
        .expect("an answer");
    assert_eq!(row.get::<_, &str>(0), "bunbun-test");
    client.close();
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 0));
    assert_ne!(backend(&pool).await, first);
}

#[tokio::test]
async fn an_exhausted_pool_refuses_after_a_bounded_wait() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut config = PoolConfig::new(database.url().into(), "test");
    config.size = 1;
    config.wait_timeout = Duration::from_millis(50);
    config.max_waiting = 1;
    let pool = Pool::new(&config).expect("the URL is good");
    let held = pool.get().await.expect("a connection");
    let error = pool.get().await.expect_err("none is free in time");
    assert!(matches!(error, Error::Exhausted { in_use: 1, size: 1 }));
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(error.retry_after().is_some());
    assert_eq!(pool.status().waiting, 0);

    config.wait_timeout = LIMIT;
    let pool = Pool::new(&config).expect("the URL is good");
    let held_too = pool.get().await.expect("a connection");
    let mut waiting = Box::pin(pool.get());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    // One more is refused at once.
    let refused = futures_util::FutureExt::now_or_never(pool.get());
    let error = refused.expect("no wait").expect_err("nobody more may wait");
    assert!(matches!(error, Error::Exhausted { .. }));
    drop((held, held_too));
    waiting.await.expect("free again");
    assert_eq!((pool.status().in_use, pool.status().waiting), (0, 0));
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("postgres://u:hunter2@127.0.0.1:{port}/d");
    let pool = Pool::new(&PoolConfig::new(url.into(), "test")).expect("the URL is good");
    let error = pool.get().await.expect_err("nobody listens");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(!format!("{error:?} {pool:?}").contains("hunter2"));
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let url = format!("postgres://u:p@127.0.0.1:{port}/d?sslmode=disable");
    let mut config = PoolConfig::new(url.into(), "test");
    config.connect_timeout = Duration::from_millis(100);
    let pool = Pool::new(&config).expect("the URL is good");
    let error = tokio::time::timeout(LIMIT, pool.get())
        .await
        .expect("no endless wait")
        .expect_err("it says nothing");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
}

#[test]
fn a_caller_gets_a_connection_of_its_own_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (first, second) = (runtime(), runtime());
    let Some(database) = first.block_on(TestDb::create()) else {
        return;
    };
    let pool = pool(&database, 2);
    let of_first = first.block_on(backend(&pool));
    let of_second = second.block_on(backend(&pool));
    assert_ne!(of_first, of_second, "room for one each");
    for _ in 0..2 {
        assert_eq!(first.block_on(backend(&pool)), of_first);
        assert_eq!(second.block_on(backend(&pool)), of_second);
    }
    // A third runtime's share is nothing of two, so it has to do with another's connection: its
    // task must be driven for that.
    let third = runtime();
    let foreign = std::thread::scope(|threads| {
        let stop = Arc::new(Notify::new());
        let driver = threads.spawn({
            let stop = Arc::clone(&stop);
            move || second.block_on(stop.notified())
        });
        let foreign = third.block_on(backend(&pool));
        stop.notify_one();
        driver.join().expect("no panic");
        foreign
    });
    assert_eq!(foreign, of_second);
}

#[test]
fn a_runtime_takes_over_its_share_and_the_dead_ones_places() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (first, second) = (runtime(), runtime());
    let Some(database) = first.block_on(TestDb::create()) else {
        return;
    };
    let pool = pool(&database, 2);
    let both = first.block_on(async {
        let (a, b) = tokio::join!(pool.get(), pool.get());
        (a.expect("one"), b.expect("another"))
    });
    drop(both);
    assert_eq!(pool.status().idle, 2);
    let taken_over = second.block_on(backend(&pool));
    assert_eq!(pool.status().idle, 2);
    assert_eq!(second.block_on(backend(&pool)), taken_over);
    drop(second);
    // Nobody drives that connection any more.
    let third = runtime();
    third.block_on(backend(&pool));
    assert_eq!(pool.status().idle, 2);
}
