//! Nothing that one caller does to a session reaches the next.

use std::time::Duration;

use bunbun_databases::postgres::{
    pool::Pool,
    query::{Request, run},
};
use bunbun_test::TestDb;
use serde_json::json;

use super::{ask, refusal, value};

/// The one connection's process: proof that the session was shared.
async fn process(pool: &Pool) -> serde_json::Value {
    value(pool, "select pg_backend_pid()").await
}

#[tokio::test]
async fn settings_do_not_leak() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let first = process(&pool).await;
    ask(&pool, "set search_path to pg_catalog").await;
    assert_eq!(
        value(&pool, "select current_setting('search_path')").await,
        "\"$user\", public"
    );
    ask(&pool, "select set_config('app.user', 'mallory', false)").await;
    assert_eq!(
        value(
            &pool,
            "select coalesce(current_setting('app.user', true), '')"
        )
        .await,
        ""
    );
    ask(
        &pool,
        "set datestyle to german; set timezone to 'Asia/Tokyo'; set statement_timeout to 1",
    )
    .await;
    assert_eq!(
        value(
            &pool,
            "select timestamptz '2024-01-02 03:04:05Z' from pg_sleep(0.02)"
        )
        .await,
        "2024-01-02T03:04:05Z"
    );
    assert_eq!(process(&pool).await, first);
}

#[tokio::test]
async fn an_open_transaction_does_not_leak() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let first = process(&pool).await;
    ask(&pool, "create table t (a int)").await;
    refusal(&pool, "begin").await;
    ask(&pool, "insert into t values (1)").await;
    ask(&pool, "rollback").await;
    assert_eq!(
        value(&pool, "select count(*) from t").await,
        1,
        "the insert stood alone"
    );
    refusal(&pool, "begin; insert into t values (2)").await;
    assert_eq!(
        value(&pool, "select count(*) from t").await,
        1,
        "it was rolled back"
    );
    refusal(&pool, "begin; select 1/0").await;
    assert_eq!(
        value(&pool, "select 1").await,
        1,
        "the failed transaction is over"
    );
    assert_eq!(process(&pool).await, first);
}

#[tokio::test]
async fn temporary_tables_locks_channels_and_names_do_not_leak() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let first = process(&pool).await;
    ask(&pool, "create temp table secret (a int)").await;
    refusal(&pool, "select * from secret").await;
    ask(&pool, "select 1 as a into temp secret").await;
    refusal(&pool, "select * from secret").await;
    ask(&pool, "select pg_advisory_lock(42)").await;
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(value(&pool, locks).await, 0);
    ask(&pool, "listen gossip").await;
    assert_eq!(
        value(&pool, "select count(*) from pg_listening_channels()").await,
        0
    );
    ask(&pool, "prepare mine as select 1").await;
    refusal(&pool, "execute mine").await;
    ask(
        &pool,
        "begin; declare c cursor with hold for select 1; commit",
    )
    .await;
    refusal(&pool, "fetch c").await;
    assert_eq!(process(&pool).await, first);
}

#[tokio::test]
async fn what_a_trigger_does_to_the_session_does_not_leak() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(
        &pool,
        "create table t (a serial); create function f() returns trigger language plpgsql as $$ \
         begin perform set_config('app.user', 'mallory', false); \
         perform pg_advisory_lock(7); return new; end $$; \
         create trigger g before insert on t for each row execute function f()",
    )
    .await;
    ask(&pool, "insert into t default values").await;
    assert_eq!(
        value(
            &pool,
            "select coalesce(current_setting('app.user', true), '')"
        )
        .await,
        ""
    );
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(value(&pool, locks).await, 0);
    refusal(&pool, "select lastval()").await;
}

#[tokio::test]
async fn plain_reads_keep_their_prepared_statement_and_writes_do_not_lose_it() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table t (a int)").await;
    let prepared = "select count(*) from pg_prepared_statements where statement like '%from t'";
    ask(&pool, "select a from t").await;
    ask(&pool, "insert into t values (1)").await;
    assert_eq!(value(&pool, prepared).await, 1);
    ask(&pool, "deallocate all").await;
    assert_eq!(ask(&pool, "select a from t").await["rowCount"], 1);
}

#[tokio::test]
async fn what_a_text_does_not_show_does_not_leak_either() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let first = process(&pool).await;
    let setting = "set_config('app.user', 'mallory', false)";
    ask(
        &pool,
        &format!(
            "create view seen as select {setting} as a, 1 as b;
             create view \"Seen too\" as select * from seen;
             create domain checked as int check (value < 0 or {setting} is not null);
             create function shout(int, int) returns text language sql as $$ select {setting} $$;
             create operator @@@ (leftarg = int, rightarg = int, function = shout)"
        ),
    )
    .await;
    for sql in [
        "select * from seen",
        "select * from public.SEEN",
        "table \"Seen too\"",
        "select a from \"Seen too\" where b = 1",
        "select 5::checked",
        "select 1 @@@ 2",
    ] {
        for _ in 0..2 {
            ask(&pool, sql).await;
            let setting = "select coalesce(current_setting('app.user', true), '')";
            assert_eq!(value(&pool, setting).await, "", "{sql}");
        }
    }
    assert_eq!(process(&pool).await, first);
}

#[tokio::test]
async fn a_column_of_another_type_takes_its_values_at_once() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (pool, other) = (database.pool_of(1), database.pool_of(1));
    ask(&pool, "create table t (a float8, b timestamp)").await;
    let insert = |a: &str, b: &str| {
        let mut request = Request::new("insert into t values ($1, $2)");
        request.params = vec![json!(a).into(), json!(b).into()];
        request
    };
    let precise = "12345678901234567890.123456789";
    let with_zone = "2020-01-01T00:00:00+05:00";
    for changed_by in [&pool, &other] {
        ask(
            &pool,
            "alter table t alter a type float8, alter b type timestamp; delete from t",
        )
        .await;
        for _ in 0..3 {
            run(&pool, &insert("0.5", "2020-01-01"))
                .await
                .expect("a row");
        }
        ask(
            changed_by,
            "delete from t; alter table t alter a type numeric, alter b type timestamptz",
        )
        .await;
        if std::ptr::eq(changed_by, &other) {
            // Nobody tells of what others change; nothing is believed for longer than a second.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        run(&pool, &insert(precise, with_zone))
            .await
            .expect("a row");
        let row = value(&pool, "select a || ' ' || (b at time zone 'UTC') from t").await;
        assert_eq!(row, format!("{precise} 2019-12-31 19:00:00"));
    }
}
