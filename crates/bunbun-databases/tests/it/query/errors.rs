//! What a refused statement is told.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    Error,
    query::{Request, run},
};
use bunbun_test::TestDb;
use serde_json::json;

use super::{ask, refusal, value};

#[tokio::test]
async fn a_refusal_has_sqlstate_position_and_hint() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(
        &pool,
        "create table thing (name text primary key, n int not null)",
    )
    .await;
    ask(&pool, "insert into thing values ('é', 1)").await;

    let error = refusal(&pool, "select 'é', nam from thing").await;
    assert_eq!(error.code(), Code::SqlError);
    let details = error.details().expect("details");
    assert_eq!(details["sqlstate"], "42703");
    assert_eq!(details["position"], 13, "counted in characters");
    assert!(
        details["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("thing.name")),
        "{details}"
    );
    assert!(
        error
            .public_message()
            .is_some_and(|text| text.contains("\"nam\""))
    );

    let details = refusal(&pool, "insert into thing values ('é', 1)")
        .await
        .details()
        .expect("some");
    assert_eq!(
        (
            &details["sqlstate"],
            &details["constraint"],
            &details["table"],
            &details["schema"]
        ),
        (
            &json!("23505"),
            &json!("thing_pkey"),
            &json!("thing"),
            &json!("public")
        )
    );
    let details = refusal(&pool, "insert into thing values ('a', null)")
        .await
        .details()
        .expect("some");
    assert_eq!(
        (&details["sqlstate"], &details["column"]),
        (&json!("23502"), &json!("n"))
    );

    let details = refusal(&pool, "select 1; select 2; selec 3")
        .await
        .details()
        .expect("some");
    assert_eq!(
        (&details["sqlstate"], &details["position"]),
        (&json!("42601"), &json!(21))
    );
    let details = refusal(&pool, "select 1; select 1/0; select 3")
        .await
        .details()
        .expect("some");
    assert_eq!(
        (&details["sqlstate"], &details["statement_number"]),
        (&json!("22012"), &json!(2))
    );
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_named_by_pointer() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let with = async |sql: &str, params: serde_json::Value| {
        let mut request = Request::new(sql);
        let params = params.as_array().expect("an array");
        request.params = params.iter().cloned().map(Into::into).collect();
        run(&pool, &request).await.expect_err("it does not fit")
    };
    let error = with("select $1::int4, $2::int2", json!([1, 40_000])).await;
    assert_eq!(error.code(), Code::InvalidRequest);
    assert_eq!(
        error.details().expect("some")["errors"][0]["pointer"],
        "/params/1"
    );
    let error = with("select $1::int4", json!([])).await;
    assert_eq!(
        error.details().expect("some")["errors"][0]["pointer"],
        "/params"
    );
    let error = with("select 1", json!([1])).await;
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let error = with("select $1::date", json!(["no date"])).await;
    assert_eq!(error.details().expect("some")["sqlstate"], "22007");
    let error = with("select 1; select $1", json!([1])).await;
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert_eq!(
        value(&pool, "select 1").await,
        1,
        "the connection is of use"
    );
}

#[tokio::test]
async fn what_cannot_be_run_here_is_said_and_wedges_nothing() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table t (a int)").await;
    for sql in [
        "",
        " -- nothing",
        "copy t from stdin",
        "copy t to stdout",
        "select 1; copy t from stdin; select 2",
        "select '\0'",
        "select 1; select '\0'",
    ] {
        let error = refusal(&pool, sql).await;
        assert_eq!(error.code(), Code::InvalidRequest, "{sql}: {error:?}");
    }
    // What the scanner takes for a quoted text, PostgreSQL may read otherwise.
    for sql in ["co\u{70}y t from 'x' (format 'stdin')", "select U&'\\', 1"] {
        refusal(&pool, sql).await;
    }
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn a_role_that_may_not_is_refused_with_its_sqlstate() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let error = refusal(&database.pool(), "copy (select 1) to program 'cat'").await;
    assert_eq!(error.details().expect("some")["sqlstate"], "42501");
}

#[tokio::test]
async fn the_number_of_a_statement_is_that_of_its_position() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    for (sql, number) in [
        ("select 1; selec 2", 2),
        ("selec 1; select 2", 1),
        ("select ';é', 1; /* ; */ select 2; select (", 3),
        ("select 1; select 1/0", 2),
        ("select no_column; select 2", 1),
    ] {
        let details = refusal(&pool, sql).await.details().expect("some");
        assert_eq!(details["statement_number"], number, "{sql}: {details}");
    }
}

#[tokio::test]
async fn a_transaction_that_is_left_open_is_an_error() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table w (a int)").await;
    for sql in [
        "begin; insert into w values (-7)",
        "begin",
        "insert into w values (1); commit; begin",
    ] {
        let error = refusal(&pool, sql).await;
        assert_eq!(error.code(), Code::InvalidRequest, "{sql}");
        let message = error.public_message().expect("one").into_owned();
        assert!(message.contains("left a transaction open"), "{message}");
    }
    ask(&pool, "begin; insert into w values (2); commit").await;
    assert_eq!(
        value(&pool, "select string_agg(a::text, ',') from w").await,
        "1,2"
    );
}
