//! The shape of an answer.

use bunbun_databases::postgres::query::{Request, run};
use bunbun_test::TestDb;
use serde_json::json;

use super::{answer, ask, value};

#[tokio::test]
async fn an_answer_has_rows_fields_command_and_duration() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let mut request = Request::new("select $1::int4 as a, $2::text as b, $3 as c");
    request.params = vec![json!(7).into(), json!("x\"y").into(), json!(null).into()];
    let mut answer = answer(&pool, &request).await.expect("it runs");
    let duration = answer
        .as_object_mut()
        .expect("an object")
        .remove("durationMs");
    assert!(duration.is_some_and(|duration| duration.as_f64().is_some_and(|ms| ms >= 0.0)));
    assert_eq!(
        answer,
        json!({
            "rows": [{"a": 7, "b": "x\"y", "c": null}],
            "rowCount": 1,
            "fields": [
                {"name": "a", "type": "int4"},
                {"name": "b", "type": "text"},
                {"name": "c", "type": "text"}
            ],
            "command": "SELECT"
        })
    );
}

#[tokio::test]
async fn every_kind_of_statement_runs() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    for (sql, command, rows) in [
        (
            "create table t (a int primary key, b text)",
            "CREATE TABLE",
            0,
        ),
        ("insert into t values (1, 'x'), (2, 'y')", "INSERT", 2),
        ("insert into t values (3, 'z') returning a", "INSERT", 1),
        ("update t set b = 'q' where a < 3", "UPDATE", 2),
        ("delete from t where a = 1", "DELETE", 1),
        (
            "with x as (update t set b = 'r' returning a) select * from x",
            "SELECT",
            2,
        ),
        ("explain select 1", "EXPLAIN", 0),
        ("vacuum t", "VACUUM", 0),
        ("create index concurrently i on t (b)", "CREATE INDEX", 0),
        ("do $$ begin perform 1; end $$", "DO", 0),
        ("show server_version", "SHOW", 0),
        ("set search_path to public", "SET", 0),
        ("prepare p as select 1", "PREPARE", 0),
        ("select", "SELECT", 1),
        ("values (1), (2)", "SELECT", 2),
        ("truncate t", "TRUNCATE TABLE", 0),
        ("discard all", "DISCARD ALL", 0),
        ("deallocate all", "DEALLOCATE ALL", 0),
        ("listen a", "LISTEN", 0),
    ] {
        let answer = ask(&pool, sql).await;
        assert_eq!(answer["command"], command, "{sql}");
        if rows > 0 {
            assert_eq!(answer["rowCount"], rows, "{sql}");
        }
        assert!(answer.get("truncated").is_none(), "{sql}");
    }
    let name = format!("{}_other", database.name());
    ask(&pool, &format!("create database {name}")).await;
    ask(&pool, &format!("drop database {name}")).await;
}

#[tokio::test]
async fn columns_of_one_name_are_all_there() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let answer = ask(
        &database.pool(),
        "select 1 as a, 2 as a, 3 as \"a\"\"\\\n\"",
    )
    .await;
    assert_eq!(answer["rows"][0], json!({"a": 1, "a_2": 2, "a\"\\\n": 3}));
    assert_eq!(answer["fields"][1], json!({"name": "a_2", "type": "int4"}));
}

#[tokio::test]
async fn several_statements_answer_with_the_last_rows() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "create type mood as enum ('ok'); create table t (a int, m mood); \
               insert into t values (1, 'ok'); select 0 as zero; select a, m, true as b from t; \
               drop table t";
    let answer = ask(&pool, sql).await;
    assert_eq!(answer["rows"], json!([{"a": 1, "m": "ok", "b": true}]));
    assert_eq!(answer["command"], "SELECT");
    assert_eq!(answer["fields"][1], json!({"name": "m", "type": "mood"}));
    let answer = ask(&pool, "select 1 where false; select 2 where false").await;
    assert_eq!(
        (&answer["rows"], &answer["rowCount"]),
        (&json!([]), &json!(0))
    );
}

#[tokio::test]
async fn read_only_refuses_writes_and_every_way_out() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int)").await;
    let run_read_only = async |sql: &str| {
        let mut request = Request::new(sql);
        request.read_only = true;
        run(&pool, &request).await
    };
    run_read_only("select count(*) from t")
        .await
        .expect("reading is allowed");
    for sql in [
        "insert into t values (1)",
        "create table u ()",
        "with x as (insert into t values (1) returning a) select * from x",
        "commit; insert into t values (1)",
        "set transaction read write; insert into t values (1)",
        "do $$ begin insert into t values (1); end $$",
        "do $$ begin set transaction read write; insert into t values (1); end $$",
        "do $$ begin commit; insert into t values (1); end $$",
        "vacuum t",
    ] {
        run_read_only(sql).await.expect_err(sql);
    }
    // They end or open the transaction, and nothing can follow.
    for sql in ["commit", "set transaction read write"] {
        run_read_only(sql).await.expect("harmless");
        run_read_only("insert into t values (1)")
            .await
            .expect_err("read-only again");
    }
    assert_eq!(value(&pool, "select count(*) from t").await, 0);
    // PostgreSQL itself lets these pass in a read-only transaction.
    for sql in [
        "explain analyze create table w as select 1 as a",
        "select lo_create(4711)",
    ] {
        let _ = run_read_only(sql).await;
    }
    let left = "select (to_regclass('w') is not null)::int + (select count(*) from pg_largeobject_metadata where oid = 4711)";
    assert_eq!(value(&pool, left).await, 0);
}

#[tokio::test]
async fn a_kept_statement_survives_a_change_of_its_table() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(2);
    ask(&pool, "create table t (a int)").await;
    ask(&pool, "insert into t values (1)").await;
    assert_eq!(
        ask(&pool, "select * from t").await["rows"],
        json!([{"a": 1}])
    );
    let outside = database.superuser().await;
    outside
        .batch_execute("set role bunbun_test_owner")
        .await
        .expect("it may");
    outside
        .batch_execute("alter table t add b text default 'x'")
        .await
        .expect("altered");
    assert_eq!(
        ask(&pool, "select * from t").await["rows"],
        json!([{"a": 1, "b": "x"}])
    );
    outside
        .batch_execute("alter table t rename a to c")
        .await
        .expect("altered");
    assert_eq!(
        ask(&pool, "select * from t").await["rows"],
        json!([{"c": 1, "b": "x"}])
    );
    outside
        .batch_execute("drop table t; create table t (n numeric)")
        .await
        .expect("altered");
    assert_eq!(ask(&pool, "select * from t").await["rows"], json!([]));
}

#[tokio::test]
async fn more_different_statements_run_than_are_kept() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    for number in 0..300 {
        assert_eq!(value(&pool, &format!("select {number}")).await, number);
    }
    let kept = value(&pool, "select count(*)::int4 from pg_prepared_statements").await;
    assert!(kept.as_i64().is_some_and(|kept| kept <= 129), "{kept}");
}

#[tokio::test]
async fn two_hundred_callers_share_five_connections() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let mut calls = Vec::new();
    for number in 0..200 {
        let pool = pool.clone();
        calls.push(bunbun_core::task::spawn("caller", async move {
            let mut request = Request::new("select $1::int4, pg_sleep(0.001)::text");
            request.params = vec![json!(number).into()];
            let answer = answer(&pool, &request).await.expect("it runs");
            assert_eq!(answer["rows"][0]["int4"], number);
        }));
    }
    for call in calls {
        call.await.expect("no caller panics");
    }
    let status = pool.status();
    assert!(
        status.idle <= 5 && status.in_use == 0 && status.waiting == 0,
        "{status:?}"
    );
}
