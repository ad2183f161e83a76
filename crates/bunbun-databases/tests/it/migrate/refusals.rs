//! What is refused, and how exactly the caller is told.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::migrate::{Error, MAX_SQL_BYTES, MigrationRequest, list};
use bunbun_test::TestDb;
use serde_json::{Value, json};

use super::{applied, exists, refused, request, untransacted};

#[tokio::test]
async fn transaction_control_is_refused_with_its_place() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    for control in [
        "begin",
        "BEGIN TRANSACTION",
        "start transaction",
        "commit",
        "commit and chain",
        "end",
        "end work",
        "rollback",
        "rollback to a",
        "abort",
        "savepoint a",
        "release a",
        "release savepoint a",
        "prepare transaction 'x'",
        "commit prepared 'x'",
        "rollback prepared 'x'",
        "set transaction read only",
        "set local transaction isolation level serializable",
    ] {
        for transactional in [true, false] {
            let sql = format!("create table é ();\n/* x */ {control};");
            let mut request = request("control", &sql);
            request.transactional = transactional;
            let error = refused(&pool, request).await;
            assert_eq!(error.code(), Code::MigrationNotAllowed, "{control}");
            let details = error.details().unwrap();
            assert_eq!(
                details,
                json!({"statement_number": 2, "position": 28, "line": 2}),
                "{control}"
            );
        }
    }
    let outside = database.superuser().await;
    assert!(!exists(&outside, "public.é").await);
}

#[tokio::test]
async fn what_only_looks_like_transaction_control_is_run() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create function f() returns int language plpgsql as $$ begin return 1; end $$; \
               prepare transaction as select 1; deallocate transaction; \
               set session characteristics as transaction read only; \
               create table \"begin\" (\"commit\" int); \
               do $$ begin perform 1; end $$; \
               create procedure p() language sql begin atomic select 1; select 2; end; call p()";
    applied(&pool, request("likes", sql)).await;
}

#[tokio::test]
async fn a_procedure_cannot_end_the_transaction() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create procedure p() language plpgsql as $$ begin commit; end $$; call p()";
    let error = refused(&pool, request("p", sql)).await;
    assert_eq!(error.details().unwrap()["sqlstate"], "2D000");
    assert!(list(&pool).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_error_of_postgresql_is_told_with_statement_position_and_line() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create table é (a int);\n-- ö\nselect 'ü',\n  missing from é;";
    let error = refused(&pool, request("a", sql)).await;
    assert_eq!(error.code(), Code::SqlError);
    let details = error.details().unwrap();
    let at = sql.chars().collect::<Vec<_>>();
    let position = usize::try_from(details["position"].as_u64().unwrap()).unwrap();
    assert_eq!(
        at[position - 1..][..7].iter().collect::<String>(),
        "missing"
    );
    assert_eq!(details["statement_number"], 2);
    assert_eq!(details["line"], 4);
    assert_eq!(details["sqlstate"], "42703");
    assert_eq!(details["partially_applied"], false);
    let message = error.public_message().unwrap().into_owned();
    assert!(
        message.starts_with("Statement 2 (line 4): column \"missing\""),
        "{message}"
    );
}

#[tokio::test]
async fn an_error_without_a_position_points_to_its_statement() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "select 1;\n\n  do $$ begin raise exception 'no' using hint = 'try', detail = 'why'; end $$";
    let details = refused(&pool, request("a", sql)).await.details().unwrap();
    assert_eq!(details["line"], 3);
    assert_eq!(details["position"], 14);
    assert_eq!(details["hint"], "try");
    assert_eq!(details["detail"], "why");
    assert_eq!(details["sqlstate"], "P0001");
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_migration() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create table a (id int primary key); \
               create table b (a int references a deferrable initially deferred); \
               insert into b values (7)";
    for dry_run in [true, false] {
        let error = refused(
            &pool,
            MigrationRequest {
                dry_run,
                ..request("a", sql)
            },
        )
        .await;
        let details = error.details().unwrap();
        assert_eq!(details["sqlstate"], "23503");
        assert!(details.get("statement_number").is_none());
    }
    assert!(list(&pool).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_statement_that_cannot_be_in_a_transaction_is_refused_with_a_hint() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let details = refused(&pool, request("v", "vacuum"))
        .await
        .details()
        .unwrap();
    assert_eq!(details["sqlstate"], "25001");
    assert!(
        details["hint"]
            .as_str()
            .unwrap()
            .contains("transactional: false")
    );
}

#[tokio::test]
async fn a_statement_has_a_timeout_and_so_has_a_lock() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    applied(&pool, request("t", "create table t ()")).await;
    let mut slow = request("slow", "select 1;\nselect pg_sleep(60)");
    slow.statement_timeout = Duration::from_millis(50);
    let error = refused(&pool, slow).await;
    assert_eq!(error.code(), Code::StatementTimeout);
    assert_eq!(error.details().unwrap()["line"], 2);

    let mut other = database.superuser().await;
    let holding = other.transaction().await.unwrap();
    holding
        .batch_execute("lock table t in access share mode")
        .await
        .unwrap();
    let mut waiting = request("alter", "alter table t add a int");
    waiting.lock_timeout = Duration::from_millis(50);
    let details = refused(&pool, waiting).await.details().unwrap();
    assert_eq!(details["sqlstate"], "55P03");
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_is_invalid_before_anything_runs() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let large = format!("select '{}'", "x".repeat(MAX_SQL_BYTES));
    let many = "n".repeat(201);
    let cases = [
        (request("", "select 1"), "/name"),
        (request("a\nb", "select 1"), "/name"),
        (request(" a", "select 1"), "/name"),
        (request(&many, "select 1"), "/name"),
        (request("a", ""), "/sql"),
        (request("a", "-- nothing"), "/sql"),
        (request("a", &large), "/sql"),
        (
            MigrationRequest {
                dry_run: true,
                ..untransacted("a", "select 1")
            },
            "/dry_run",
        ),
        (super::keyed("a", "select 1", ""), ""),
        (super::keyed("a", "select 1", "ü"), ""),
        (super::keyed("a", "select 1", &"k".repeat(256)), ""),
        (
            MigrationRequest {
                lock_timeout: Duration::MAX,
                ..request("a", "select 1")
            },
            "/lock_timeout_ms",
        ),
        (
            MigrationRequest {
                statement_timeout: Duration::ZERO,
                ..request("a", "select 1")
            },
            "/statement_timeout_ms",
        ),
    ];
    for (request, pointer) in cases {
        let error = refused(&pool, request).await;
        assert_eq!(error.code(), Code::ValidationFailed);
        assert_eq!(
            error.details().unwrap()["errors"][0]["pointer"],
            Value::from(pointer)
        );
    }
    let error = refused(&pool, request("a", "select 1;\nselect 'é")).await;
    assert_eq!(error.code(), Code::InvalidRequest);
    let place = json!({"statement_number": 2, "position": 18, "line": 2});
    assert_eq!(error.details(), Some(place));
    for psql in ["copy t from stdin;\n1\n\\.", "\\i x"] {
        let error = refused(&pool, request("a", psql)).await;
        assert_eq!(error.code(), Code::MigrationNotAllowed);
        assert!(matches!(error, Error::Split(_)));
    }
    assert!(list(&pool).await.unwrap().is_empty());
    assert_eq!(pool.status().idle, 1, "only the list used a connection");
}

#[tokio::test]
async fn a_lack_of_privilege_on_the_history_is_told() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let admin = database.superuser().await;
    admin
        .batch_execute(
            "create schema supabase_migrations; \
             create table supabase_migrations.schema_migrations (version text primary key)",
        )
        .await
        .unwrap();
    let error = refused(&database.pool(), request("a", "select 1")).await;
    assert!(matches!(error, Error::History(_)), "{error:?}");
    assert_eq!(error.details().unwrap()["sqlstate"], "42501");
}
