//! Tests of `postgres::running`: cancelling a statement by its id.

use std::time::Duration;

use bunbun_databases::postgres::{
    Error,
    pool::Pool,
    query::{Request, RowFormat},
    running::Running,
};
use bunbun_test::TestDb;
use futures_util::StreamExt;

use crate::query::value;

/// Cancels until it was there to be cancelled.
async fn cancel(running: &Running, id: &str) {
    let trying = async {
        while running.cancel(id).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trying)
        .await
        .expect("it begins");
}

/// Waits until no session of the database runs anything.
async fn is_quiet(database: &TestDb) {
    let client = database.superuser().await;
    let waiting = async {
        loop {
            let row = client
                .query_one(
                    "select count(*) from pg_stat_activity where datname = current_database() \
                     and state = 'active' and pid <> pg_backend_pid()",
                    &[],
                )
                .await
                .expect("an answer");
            if row.get::<_, i64>(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("the statement ends in PostgreSQL too");
}

#[tokio::test]
async fn a_statement_is_cancelled_by_its_id() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (pool, running) = (database.pool_of(1), Running::default());
    let request = Request::new("select pg_sleep(60)");
    let (result, ()) = tokio::join!(running.run("one", &pool, &request), cancel(&running, "one"));
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    is_quiet(&database).await;
    assert!(matches!(
        running.cancel("one"),
        Err(Error::QueryNotFound(_))
    ));
    // The one connection serves the next, which the cancel does not reach.
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn an_id_is_taken_for_as_long_as_its_statement_runs() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (pool, running) = (database.pool_of(2), Running::default());
    let (slow, quick) = (
        Request::new("select pg_sleep(60)"),
        Request::new("select 1"),
    );
    let second = async {
        loop {
            match running.run("one", &pool, &quick).await {
                Err(Error::QueryExists(_)) => break,
                _ => tokio::task::yield_now().await,
            }
        }
        running.cancel("one").expect("it runs");
    };
    let first = async {
        // The second may hold the name for a moment.
        loop {
            match running.run("one", &pool, &slow).await {
                Err(Error::QueryExists(_)) => tokio::task::yield_now().await,
                result => break result,
            }
        }
    };
    let (result, ()) = tokio::join!(first, second);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    running.run("one", &pool, &quick).await.expect("free again");
}

async fn rows(pool: &Pool, running: &Running, format: RowFormat) -> Vec<Result<String, Error>> {
    let request = Request::new("select n, repeat('x', 200) from generate_series(1, 100000000) n");
    let mut rows = running
        .stream("s", pool, request, format)
        .await
        .expect("rows");
    let mut chunks = Vec::new();
    while let Some(chunk) = rows.next().await {
        chunks.push(chunk.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
        if chunks.len() == 3 {
            running.cancel("s").expect("it runs");
        }
    }
    chunks
}

#[tokio::test]
async fn a_stream_that_is_cancelled_says_so() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (pool, running) = (database.pool_of(1), Running::default());
    let chunks = rows(&pool, &running, RowFormat::Ndjson).await;
    let last = chunks.last().expect("chunks").as_ref().expect("a line");
    assert!(last.starts_with("{\"error\":{"), "{last}");
    assert!(
        last.contains("\"QUERY_CANCELLED\"") && last.ends_with("\n"),
        "{last}"
    );
    let chunks = rows(&pool, &running, RowFormat::Csv).await;
    assert!(matches!(chunks.last(), Some(Err(Error::Cancelled))));
    is_quiet(&database).await;
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn a_caller_who_goes_away_frees_the_id() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (pool, running) = (database.pool_of(1), Running::default());
    let request = Request::new("select pg_sleep(60)");
    tokio::select! {
        _ = running.run("one", &pool, &request) => panic!("it sleeps"),
        () = async { while running.cancel("two").is_err() && pool.status().in_use == 0 { tokio::task::yield_now().await; } } => {}
    }
    running.cancel("one").expect_err("gone with its caller");
    is_quiet(&database).await;
}
