//! PostgreSQL goes away and comes back.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    cluster::{Binaries, Cluster, ClusterConfig},
    health,
    pool::{Pool, PoolConfig},
    query::Request,
};

use bunbun_test::TestDb;

use super::{ask, refusal, value};

#[tokio::test]
async fn a_restart_of_postgresql_heals_by_itself() {
    if Binaries::find().is_err() {
        return bunbun_test::skip("no PostgreSQL server programs");
    }
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let mut config = ClusterConfig::new(directory.path());
    config.durable = false;
    let cluster = Cluster::start(config.clone()).await.expect("it starts");
    let pool = Pool::new(&PoolConfig::new(cluster.superuser_url())).expect("the URL is good");
    ask(&pool, "create table t (a int)").await;
    ask(&pool, "insert into t values (1)").await;
    ask(&pool, "select a from t").await;
    drop(pool.get().await.expect("a client"));
    let healthy = health::check(&pool, Duration::from_secs(2))
        .await
        .expect("it answers");
    assert!(healthy.version.starts_with("PostgreSQL "));

    cluster
        .stop(Duration::from_secs(20))
        .await
        .expect("it stops");
    for sql in ["select a from t", "insert into t values (2)"] {
        let error = refusal(&pool, sql).await;
        assert_eq!(error.code(), Code::DatabaseUnavailable, "{sql}");
    }
    health::check(&pool, Duration::from_secs(2))
        .await
        .expect_err("it does not answer");

    let cluster = Cluster::start(config).await.expect("it starts again");
    assert_eq!(
        value(&pool, "select a from t").await,
        1,
        "the first statement succeeds"
    );
    pool.get()
        .await
        .expect("a client")
        .query_one("select 1", &[])
        .await
        .expect("it answers");
    cluster
        .stop(Duration::from_secs(20))
        .await
        .expect("it stops");
}

#[tokio::test]
async fn connections_that_an_administrator_ends_are_replaced() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let outside = database.superuser().await;
    for sql in ["select 1", "insert into t values (1)", "select 1; select 1"] {
        ask(&pool, "create table if not exists t (a int)").await;
        ask(&pool, "select 1").await;
        let process = value(&pool, "select pg_backend_pid()")
            .await
            .as_i64()
            .expect("a number");
        // Waits until the process is gone.
        outside
            .execute(
                "select pg_terminate_backend($1::int8::int4, 10000)",
                &[&process],
            )
            .await
            .expect("it is ended");
        assert!(
            super::answer(&pool, &Request::new(sql)).await.is_ok(),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn connections_that_died_at_rest_are_replaced_unseen() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(3);
    ask(&pool, "create table t (a int)").await;
    let superuser = database.superuser().await;
    for sql in [
        "select count(*) from t, pg_sleep(0.05)",
        "insert into t select 1 from pg_sleep(0.05)",
        "with w as (insert into t select 1 from pg_sleep(0.05) returning a) select a from w",
    ] {
        // Three at once, so that three rest that know the statement; then all of them are ended.
        let run = || ask(&pool, sql);
        tokio::join!(run(), run(), run());
        settled(&pool, 3).await;
        superuser
            .query(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()",
                &[],
            )
            .await
            .expect("an answer");
        run().await;
    }
    assert_eq!(value(&pool, "select count(*) from t").await, 8, "once each");
}

/// Waits until that many connections rest: some are cleaned first.
async fn settled(pool: &Pool, idle: usize) {
    let rest = async {
        while pool.status().idle != idle {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rest)
        .await
        .expect("they come to rest");
}

#[tokio::test]
async fn a_statement_whose_session_is_ended_is_not_run_again() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let superuser = database.superuser().await;
    ask(&pool, "select 1").await;
    let end = async {
        // Not before it has run for a while: what dies at once may have died at rest.
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and query like '%pg_sleep(40)%' \
                   and pid <> pg_backend_pid() and clock_timestamp() - query_start > interval '1 s'";
        while superuser
            .query(sql, &[])
            .await
            .expect("an answer")
            .is_empty()
        {}
    };
    let (error, ()) = tokio::join!(refusal(&pool, "select pg_sleep(40)"), end);
    assert_eq!(error.code(), Code::DatabaseUnavailable);
}
