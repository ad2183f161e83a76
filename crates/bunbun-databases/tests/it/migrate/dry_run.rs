//! `dry_run`: everything happens, is reported, and is gone.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::migrate::{Lock, MigrationRequest, list};
use bunbun_test::TestDb;

use super::{applied, exists, outcome, refused, request};

fn dry(name: &str, sql: &str) -> MigrationRequest {
    MigrationRequest {
        dry_run: true,
        ..request(name, sql)
    }
}

#[tokio::test]
async fn a_dry_run_reports_and_leaves_nothing_not_even_a_history() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    pool.get()
        .await
        .unwrap()
        .batch_execute("create table kept (id int primary key); create table dropped ()")
        .await
        .unwrap();
    let sql = "alter table kept add name text;\n\
               insert into kept select g, 'x' from generate_series(1, 3) g;\n\
               do $$ begin raise warning 'careful %', 1 using hint = 'h'; end $$;\n\
               drop table dropped; drop table if exists absent;\n\
               create table made ()";
    let outcome = outcome(&pool, dry("d", sql)).await;
    assert!(!outcome.already_applied && outcome.migration.is_none());
    let report = outcome.dry_run.expect("a report");
    assert_eq!(report.statement_count, 6);
    let rows: Vec<(usize, usize, u64)> = report
        .statements
        .iter()
        .map(|statement| (statement.statement_number, statement.line, statement.rows))
        .collect();
    assert_eq!(
        rows,
        [
            (1, 1, 0),
            (2, 2, 3),
            (3, 3, 0),
            (4, 4, 0),
            (5, 4, 0),
            (6, 5, 0)
        ]
    );
    let notices: Vec<(usize, &str, &str)> = report
        .notices
        .iter()
        .map(|notice| {
            (
                notice.statement_number,
                notice.severity.as_str(),
                notice.message.as_str(),
            )
        })
        .collect();
    assert_eq!(
        notices,
        [
            (3, "WARNING", "careful 1"),
            (5, "NOTICE", "table \"absent\" does not exist, skipping"),
        ]
    );
    assert_eq!(report.notices[0].hint.as_deref(), Some("h"));
    let lock = |relation: &str, mode: &str| Lock {
        schema: "public".to_owned(),
        relation: relation.to_owned(),
        mode: mode.to_owned(),
    };
    assert_eq!(
        report.locks,
        [
            lock("dropped", "AccessExclusiveLock"),
            lock("kept", "AccessExclusiveLock"),
        ]
    );
    let outside = database.superuser().await;
    assert!(exists(&outside, "public.dropped").await);
    assert!(!exists(&outside, "public.made").await);
    assert!(!exists(&outside, "supabase_migrations.schema_migrations").await);

    // The checksum is that of the real run.
    let real = applied(&pool, request("d", sql)).await;
    assert_eq!(real.checksum, report.checksum);
}

#[tokio::test]
async fn a_dry_run_says_what_the_history_says() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    applied(&pool, request("a", "create table a ()")).await;
    let same = outcome(&pool, dry("a", "create table a ()")).await;
    assert!(same.already_applied && same.dry_run.is_none());
    let error = refused(&pool, dry("a", "create table b ()")).await;
    assert_eq!(error.code(), Code::MigrationConflict);
    let error = refused(&pool, dry("b", "create table a ()")).await;
    assert_eq!(error.details().unwrap()["sqlstate"], "42P07");
    assert_eq!(list(&pool).await.unwrap().len(), 1);
}
