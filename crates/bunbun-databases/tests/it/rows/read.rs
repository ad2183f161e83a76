//! Lists, filters, orders, pages.

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{query::RowFormat, rows};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Count, ListRows, Tables, all, column, filtered, json, ordered, public};
use crate::query::ask;

const SCHEMA: &str = "
    create type mood as enum ('sad', 'ok');
    create table people (
        id int primary key, name text, age int, born date, tags text[], data jsonb,
        mood mood, big bigint, price numeric, raw bytea, at timestamptz, code varchar(5)
    );
    insert into people values
        (1, 'Ann', 30, '1996-01-02', '{a,b}', '{\"x\": 1}', 'sad', 9007199254740993, 1.50, '\\x00ff',
         '2026-01-01T00:00:00Z', 'A1'),
        (2, 'Bob', null, null, '{}', '{\"x\": 2}', 'ok', 2, 2.5, null, null, 'B1'),
        (3, 'ann', 20, '2006-01-02', null, null, null, null, 'NaN', null, '2026-01-03T00:00:00Z', null),
        (4, null, 30, '1996-01-02', '{b}', '[1]', 'ok', -5, null, '\\x', null, '100%');
";

#[tokio::test]
async fn rows_come_with_key_version_and_typed_values() {
    let Some(tables) = Tables::with(SCHEMA).await else {
        return;
    };
    let rows = tables.list(&all("people")).await.expect("rows");
    assert_eq!(column(&rows, "id"), [1, 2, 3, 4]);
    assert_eq!(rows.next_cursor, None);
    let ann = &rows.rows[0];
    assert_eq!(ann.key.as_deref(), Some("1"));
    assert!(
        ann.etag
            .as_ref()
            .is_some_and(|etag| etag.starts_with('"') && etag.len() > 2)
    );
    assert_eq!(
        json(ann),
        json!({
            "id": 1, "name": "Ann", "age": 30, "born": "1996-01-02", "tags": ["a", "b"],
            "data": {"x": 1}, "mood": "sad", "big": "9007199254740993", "price": "1.50",
            "raw": "AP8=", "at": "2026-01-01T00:00:00Z", "code": "A1",
        })
    );
    let one = tables.get("people", "1").await.expect("a row");
    assert_eq!(json(&one), json(ann));
    assert_eq!(one.etag, ann.etag);
    for key in ["9", "-1"] {
        let error = tables.get("people", key).await.expect_err(key);
        assert_eq!(error.code(), Code::RowNotFound);
    }
    let error = tables.get("people", "one").await.expect_err("no number");
    assert_eq!(
        error.details().expect("some")["errors"][0]["pointer"],
        "/key"
    );
    let some = ListRows {
        columns: Some(vec!["name".into(), "id".into(), "name".into()]),
        ..all("people")
    };
    let rows = tables.list(&some).await.expect("rows");
    assert_eq!(rows.rows[0].values.get(), r#"{"name":"Ann","id":1}"#);
}

#[tokio::test]
async fn every_operator_does_what_it_says() {
    let Some(tables) = Tables::with(SCHEMA).await else {
        return;
    };
    let is =
        |column: &str, op: &str, value: Value| json!({"column": column, "op": op, "value": value});
    for (filter, expected) in [
        (is("id", "eq", json!(2)), vec![2]),
        (is("id", "eq", json!("2")), vec![2]),
        (is("name", "eq", json!(null)), vec![4]),
        (is("name", "ne", json!(null)), vec![1, 2, 3]),
        (is("name", "ne", json!("Ann")), vec![2, 3]),
        (is("age", "lt", json!(30)), vec![3]),
        (is("age", "lte", json!(30)), vec![1, 3, 4]),
        (is("born", "gt", json!("2000-01-01")), vec![3]),
        (is("at", "gte", json!("2026-01-02T00:00:00Z")), vec![3]),
        (is("big", "eq", json!("9007199254740993")), vec![1]),
        (is("price", "in", json!(["1.5", "NaN"])), vec![1, 3]),
        (is("id", "in", json!([])), vec![]),
        (is("id", "not_in", json!([1, 2])), vec![3, 4]),
        (is("mood", "eq", json!("ok")), vec![2, 4]),
        (is("raw", "eq", json!("AP8=")), vec![1]),
        (is("name", "like", json!("A%")), vec![1]),
        (is("name", "ilike", json!("a%")), vec![1, 3]),
        (is("code", "like", json!("100\\%")), vec![4]),
        (is("id", "like", json!("1%")), vec![1]),
        (is("name", "starts_with", json!("B")), vec![2]),
        (is("born", "starts_with", json!("1996")), vec![1, 4]),
        (is("tags", "contains", json!(["b"])), vec![1, 4]),
        (is("tags", "contained_by", json!(["b", "c"])), vec![2, 4]),
        (is("tags", "overlaps", json!(["a", "z"])), vec![1]),
        (is("data", "contains", json!({"x": 2})), vec![2]),
        (is("data", "eq", json!([1])), vec![4]),
        (is("age", "is_null", json!(true)), vec![2]),
        (is("age", "is_null", json!(false)), vec![1, 3, 4]),
        (json!({"column": "age", "op": "is_null"}), vec![2]),
        (json!({"not": is("age", "gt", json!(25))}), vec![2, 3]),
        (
            json!({"any": [is("id", "eq", json!(1)), is("id", "eq", json!(4))]}),
            vec![1, 4],
        ),
        (
            json!([is("age", "eq", json!(30)), is("mood", "eq", json!("ok"))]),
            vec![4],
        ),
        (json!({"any": []}), vec![]),
        (json!([]), vec![1, 2, 3, 4]),
    ] {
        let rows = tables.list(&filtered("people", &filter)).await;
        let rows = rows.unwrap_or_else(|error| panic!("{filter}: {error:?}"));
        assert_eq!(column(&rows, "id"), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_told_with_its_place() {
    let Some(tables) = Tables::with(SCHEMA).await else {
        return;
    };
    let filter = json!([{"column": "id", "op": "gt", "value": 0}, {"column": "age", "op": "eq", "value": "old"}]);
    let error = tables
        .list(&filtered("people", &filter))
        .await
        .expect_err("no number");
    assert_eq!(
        error.details().expect("some")["errors"][0]["pointer"],
        "/filter/1/value"
    );
    assert!(!error.public_message().expect("one").contains('$'));
    let filter = json!({"column": "nope", "op": "eq", "value": 1});
    let error = tables
        .list(&filtered("people", &filter))
        .await
        .expect_err("no column");
    assert_eq!(
        error.details().expect("some")["errors"][0]["pointer"],
        "/filter/column"
    );
    // PostgreSQL has no such operator: its own words, without a position in a text of ours.
    let filter = json!({"column": "age", "op": "contains", "value": [1]});
    let error = tables
        .list(&filtered("people", &filter))
        .await
        .expect_err("no operator");
    let details = error.details().expect("some");
    assert_eq!(
        (&details["sqlstate"], details.get("position")),
        (&json!("42883"), None)
    );
}

/// Walks all pages.
async fn walk(tables: &Tables, request: &ListRows, name: &str) -> Vec<Value> {
    let mut request = request.clone();
    let mut walked = Vec::new();
    loop {
        let page = tables.list(&request).await.expect("a page");
        assert!(page.rows.len() <= request.limit as usize);
        walked.extend(column(&page, name));
        assert!(walked.len() < 10_000, "it does not end");
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return walked,
        }
    }
}

#[tokio::test]
async fn pages_by_any_order_miss_and_repeat_nothing() {
    let Some(tables) = Tables::with(
        "create type mood as enum ('sad', 'ok');
         create type pair as (one int, two text);
         create table keyed (a int, b text, n int, t timestamptz, f float8, m mood, x text not null,
                             j jsonb, c pair, primary key (b, a));
         insert into keyed select g, chr(97 + g % 5), nullif(g % 7, 0), nullif(now() + g % 3 * interval '1 microsecond', now()),
             case g % 4 when 0 then 'NaN' when 1 then null when 2 then 0.1 + g else '-Infinity' end,
             case g % 3 when 0 then null when 1 then 'sad'::mood else 'ok' end, 'x' || g % 2,
             case g % 5 when 0 then null when 1 then 'null' when 2 then '{\"a\": 1.00}' else to_jsonb(g % 7) end,
             case when g % 4 > 0 then row(g % 3, 'a,b' || g % 2)::pair end
             from generate_series(1, 83) g;
         create table heap (a int); insert into heap select g % 3 from generate_series(1, 83) g;
         create table part (a int) partition by range (a);
         create table part_1 partition of part for values from (0) to (1);
         create table part_2 partition of part for values from (1) to (9);
         insert into part select g % 3 from generate_series(1, 83) g;
         create view seen as select a, b from keyed;
         create unique index keyed_x on heap (a) where a > 100;",
    )
    .await
    else {
        return;
    };
    for (table, order, ordering) in [
        ("keyed", "", "b, a"),
        ("keyed", "n", "n, b, a"),
        ("keyed", "-n", "n desc, b, a"),
        ("keyed", "n,-t,f", "n, t desc, f, b, a"),
        ("keyed", "-m,x,n", "m desc, x, n, b, a"),
        ("keyed", "-b,-a", "b desc, a desc"),
        ("keyed", "j", "j, b, a"),
        ("keyed", "-j,c", "j desc, c, b, a"),
        ("keyed", "-c", "c desc, b, a"),
        ("keyed", "-x,a", "x desc, a, b"),
        (
            "keyed",
            r#"[{"column":"n","nulls":"first"},{"column":"f","descending":true,"nulls":"last"}]"#,
            "n nulls first, f desc nulls last, b, a",
        ),
        ("heap", "", "ctid"),
        ("heap", "-a", "a desc, ctid"),
        ("part", "", "tableoid, ctid"),
        ("part", "a", "a, tableoid, ctid"),
        ("seen", "b,a", "b, a"),
    ] {
        let sql = format!("select a from {table} order by {ordering}");
        let expected: Vec<Value> = ask(&tables.pool, &sql).await["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["a"].clone())
            .collect();
        for limit in [1, 7, 83, 1_000] {
            let request = ListRows {
                limit,
                ..ordered(table, order)
            };
            let walked = walk(&tables, &request, "a").await;
            assert_eq!(walked, expected, "{table} by {order}, {limit} at a time");
        }
    }
}

#[tokio::test]
async fn rows_that_come_and_go_between_pages_shift_nothing() {
    let Some(tables) = Tables::with(
        "create table t (id int primary key); insert into t select generate_series(10, 40, 10)",
    )
    .await
    else {
        return;
    };
    let mut request = ListRows {
        limit: 2,
        ..all("t")
    };
    let first = tables.list(&request).await.expect("a page");
    assert_eq!(column(&first, "id"), [10, 20]);
    ask(&tables.pool, "insert into t values (5), (15), (25)").await;
    ask(&tables.pool, "delete from t where id = 20").await;
    request.cursor = first.next_cursor;
    let second = tables.list(&request).await.expect("a page");
    assert_eq!(column(&second, "id"), [25, 30]);
}

#[tokio::test]
async fn a_cursor_belongs_to_its_table_and_order() {
    let Some(tables) = Tables::with("create table t (id int primary key); create table u (id int primary key); insert into t values (1), (2); insert into u values (1)").await else {
        return;
    };
    let request = ListRows {
        limit: 1,
        ..all("t")
    };
    let cursor = tables.list(&request).await.expect("a page").next_cursor;
    assert!(cursor.is_some());
    for (table, order, cursor) in [
        ("u", "", cursor.clone()),
        ("t", "-id", cursor),
        ("t", "", Some("nonsense!".to_owned())),
        ("t", "", Some(String::new())),
    ] {
        let request = ListRows {
            cursor,
            ..ordered(table, order)
        };
        let error = tables.list(&request).await.expect_err("another list");
        assert_eq!(
            error.details().expect("some")["errors"][0]["pointer"],
            "/cursor"
        );
    }
}

#[tokio::test]
async fn rows_are_counted_where_it_is_asked_for() {
    let Some(tables) = Tables::with(SCHEMA).await else {
        return;
    };
    ask(&tables.pool, "analyze people").await;
    let filter = json!({"column": "age", "op": "eq", "value": 30});
    let exact = ListRows {
        count: Count::Exact,
        limit: 1,
        ..filtered("people", &filter)
    };
    assert_eq!(tables.list(&exact).await.expect("rows").count, Some(2));
    let estimate = ListRows {
        count: Count::Estimate,
        ..all("people")
    };
    assert_eq!(tables.list(&estimate).await.expect("rows").count, Some(4));
    let estimate = ListRows {
        count: Count::Estimate,
        ..filtered("people", &filter)
    };
    assert!(tables.list(&estimate).await.expect("rows").count.is_some());
    assert_eq!(tables.list(&all("people")).await.expect("rows").count, None);
}

#[tokio::test]
async fn all_rows_are_streamed() {
    let Some(tables) = Tables::with("create table t (id int primary key, n text); insert into t select g, 'n' || g from generate_series(1, 20000) g").await else {
        return;
    };
    let filter = json!({"column": "id", "op": "gt", "value": 5});
    let request = ListRows {
        order: super::Order::read("-id", "/order").expect("good"),
        ..filtered("t", &filter)
    };
    for (format, lines) in [(RowFormat::Ndjson, 19_995), (RowFormat::Csv, 19_996)] {
        let mut stream = rows::stream(&tables.pool, &request, format)
            .await
            .expect("rows");
        let mut text = Vec::new();
        while let Some(chunk) = stream.next().await {
            text.extend_from_slice(&chunk.expect("rows"));
        }
        let text = String::from_utf8(text).expect("UTF-8");
        assert_eq!(text.lines().count(), lines);
        assert!(text.trim_end().ends_with(if format == RowFormat::Csv {
            "6,n6"
        } else {
            "{\"id\":6,\"n\":\"n6\"}"
        }));
    }
}

#[tokio::test]
async fn a_table_that_changed_is_looked_at_again() {
    let Some(tables) =
        Tables::with("create table t (id int primary key, a int); insert into t values (1, 2)")
            .await
    else {
        return;
    };
    tables.list(&all("t")).await.expect("rows");
    ask(&tables.pool, "alter table t drop column a").await;
    ask(&tables.pool, "alter table t add column b int default 3").await;
    let rows = tables.list(&all("t")).await.expect("rows");
    assert_eq!(rows.rows[0].values.get(), r#"{"id":1,"b":3}"#);
    ask(&tables.pool, "alter table t add column c int default 4").await;
    let filter = json!({"column": "c", "op": "eq", "value": 4});
    assert_eq!(
        tables
            .list(&filtered("t", &filter))
            .await
            .expect("rows")
            .rows
            .len(),
        1
    );
    ask(&tables.pool, "drop table t").await;
    let error = tables.list(&all("t")).await.expect_err("gone");
    assert_eq!(error.code(), Code::TableNotFound);
    let error = rows::get(&tables.pool, &public("nope"), "1", super::LIMIT)
        .await
        .expect_err("never there");
    assert_eq!(
        error.public_message().expect("one"),
        "No table 'public.nope'."
    );
}

#[tokio::test]
async fn rows_of_tables_that_inherit_are_not_the_parents() {
    let Some(tables) = Tables::with(
        "create table p (id int primary key, v int); create table c (x int) inherits (p);
         insert into p values (1, 1); insert into c values (1, 2, 3), (5, 5, 5);",
    )
    .await
    else {
        return;
    };
    let page = tables.list(&ordered("p", "")).await.expect("a page");
    assert_eq!(column(&page, "v"), [json!(1)]);
    let name = public("p");
    let limit = std::time::Duration::from_secs(5);
    let values = [("v".to_owned(), json!(9).into())].into();
    rows::update(&tables.pool, &name, "1", &values, None, limit)
        .await
        .expect("a change");
    rows::delete(&tables.pool, &name, "1", None, limit)
        .await
        .expect("a removal");
    let left = ask(&tables.pool, "select id, v from p order by id").await;
    assert_eq!(
        left["rows"],
        json!([{ "id": 1, "v": 2 }, { "id": 5, "v": 5 }])
    );
}
