//! Tests of `migrate`: once, in order, whole, by whoever comes first.

use bunbun_postgres::{
    Error,
    migrate::{self, Migration, Service},
};
use bunbun_test::TestDb;

use crate::pool;

const FIRST: Migration = Migration {
    version: 1,
    name: "create_thing",
    sql: "create table if not exists auth.thing (n int); insert into auth.thing values (1)",
};

const SECOND: Migration = Migration {
    version: 2,
    name: "add_name",
    sql: "alter table auth.thing add column if not exists name text",
};

const BROKEN: Migration = Migration {
    version: 3,
    name: "break",
    sql: "insert into auth.thing values (3); select 1 / 0",
};

const fn service(migrations: &'static [Migration]) -> Service {
    Service {
        schema: "auth",
        history: "auth.bunbun_migrations",
        lock: 0x6275_6e62_7465_7374,
        migrations,
    }
}

#[tokio::test]
async fn what_is_missing_runs_once_and_in_order() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 2);
    let report = migrate::run(&pool, &service(&[FIRST]))
        .await
        .expect("it runs");
    assert_eq!((report.applied.len(), report.total), (1, 1));
    let report = migrate::run(&pool, &service(&[FIRST, SECOND]))
        .await
        .expect("it runs");
    assert_eq!(report.applied[0].name, "add_name");
    let report = migrate::run(&pool, &service(&[FIRST, SECOND]))
        .await
        .expect("it runs");
    assert_eq!(
        (report.applied.len(), report.total, report.adopted),
        (0, 2, false)
    );
    // A newer release's database serves this one.
    let report = migrate::run(&pool, &service(&[FIRST]))
        .await
        .expect("it runs");
    assert!(report.applied.is_empty());
}

#[tokio::test]
async fn nodes_take_turns() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let nodes = [0; 6].map(|_| pool(&database, 2));
    let service = service(&[FIRST, SECOND]);
    let runs = nodes.iter().map(|pool| migrate::run(pool, &service));
    let reports = futures_util::future::join_all(runs).await;
    let applied: usize = reports
        .into_iter()
        .map(|report| report.expect("it runs").applied.len())
        .sum();
    assert_eq!(applied, 2);
    let client = nodes[0].get().await.expect("a connection");
    let row = client
        .query_one("select count(*) from auth.thing", &[])
        .await;
    assert_eq!(row.expect("an answer").get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_and_stops_the_run() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 2);
    let error = migrate::run(&pool, &service(&[FIRST, BROKEN, SECOND]))
        .await
        .expect_err("it fails");
    assert!(
        matches!(error, Error::Migration { version: 3, .. }),
        "{error:?}"
    );
    assert_eq!(error.sqlstate().expect("one").code(), "22012");
    let client = pool.get().await.expect("a connection");
    let row = client
        .query_one(
            "select array(select version from auth.bunbun_migrations),
                    array(select n from auth.thing)",
            &[],
        )
        .await
        .expect("an answer");
    assert_eq!(row.get::<_, Vec<i64>>(0), [1]);
    assert_eq!(row.get::<_, Vec<i32>>(1), [1]);
}
