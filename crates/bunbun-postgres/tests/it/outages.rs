//! PostgreSQL goes away and comes back.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::cluster::Cluster;
use bunbun_postgres::{
    project,
    scope::{self, Scope},
};

use crate::{STOP, pool_of, server};

#[tokio::test]
async fn a_restart_goes_unnoticed_by_those_who_begin_a_transaction() {
    let Some((_directory, config, cluster)) = server().await else {
        return;
    };
    let pool = pool_of(cluster.superuser_url(), 1);
    project::prepare(&pool).await.expect("it is prepared");
    let scope = Scope {
        role: "anon",
        claims: "{}",
        subject: None,
        settings: &[],
        statement_timeout: Duration::from_secs(10),
    };
    // In hand during the restart, so that only the first statement can tell.
    let mut client = pool.get().await.expect("a connection");
    cluster.stop(STOP).await.expect("it stops");
    let error = scope::begin(&mut client, &scope)
        .await
        .expect_err("it is gone");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(error.retry_after().is_some());
    let cluster = Cluster::start(config).await.expect("it starts again");
    let transaction = scope::begin(&mut client, &scope).await.expect("it is back");
    let row = transaction
        .query_one("select current_user::text", &[])
        .await;
    assert_eq!(row.expect("an answer").get::<_, &str>(0), "anon");
    transaction.commit().await.expect("it commits");
    drop(client);
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 1));
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_connection_that_died_at_rest_is_replaced() {
    let Some(database) = bunbun_test::TestDb::create().await else {
        return;
    };
    let pool = crate::pool(&database, 1);
    drop(pool.get().await.expect("a connection"));
    database
        .superuser()
        .await
        .query(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
            &[],
        )
        .await
        .expect("an answer");
    let mut client = pool.get().await.expect("a connection");
    let transaction = client.transaction().await.expect("it begins");
    transaction
        .query_one("select 1", &[])
        .await
        .expect("an answer");
    transaction.commit().await.expect("it commits");
}
