//! Names and values that mean harm.

use serde_json::{Value, json};

use super::{ListRows, OnConflict, Order, Tables, all, column, filtered, json, public};
use crate::query::value;

/// Texts that end a string, a name, a statement, or a life.
const TEXTS: &[&str] = &[
    "'; drop table victim; --",
    "\"; drop table victim; --",
    "\\'; drop table victim; --",
    "$1",
    "$$; drop table victim; $$",
    "/* ",
    "E'\\x27'",
    "\u{27}\u{22}\u{5c}",
    "\u{202e}\u{feff}",
    "%_\\%",
    "null",
    "{}",
    "[\"a\"]",
    "\r\n\t\u{1}",
    "😀",
];

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[tokio::test]
async fn names_of_every_kind_are_only_names() {
    let Some(tables) = Tables::with("create table victim ()").await else {
        return;
    };
    for (number, text) in TEXTS.iter().enumerate() {
        let schema = format!("s{number}{text}");
        let (s, t, k, v) = (
            quoted(&schema),
            quoted(text),
            quoted(text),
            quoted(&format!("{text} #0")),
        );
        let client = tables.pool.get().await.expect("a connection");
        client
            .batch_execute(&format!(
                "create schema {s}; create table {s}.{t} ({k} text primary key, {v} int, \"#0\" int, \"#1\" int)"
            ))
            .await
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        drop(client);
        let table = super::TableName {
            schema,
            name: (*text).to_owned(),
        };
        let insert = super::Insert {
            table: table.clone(),
            rows: TEXTS
                .iter()
                .map(|value| super::values(json!({*text: value, "#0": 3})))
                .collect(),
            on_conflict: OnConflict::Update,
            timeout: super::LIMIT,
        };
        let rows = bunbun_databases::postgres::rows::insert(&tables.pool, &insert).await;
        assert_eq!(
            rows.unwrap_or_else(|error| panic!("{text}: {error:?}"))
                .len(),
            TEXTS.len()
        );
        let term = json!([{"column": text, "descending": true}]).to_string();
        let request = ListRows {
            table: table.clone(),
            columns: Some(vec![(*text).to_owned(), "#0".to_owned()]),
            order: Order::read(&term, "/order").expect("good"),
            limit: 4,
            ..all("victim")
        };
        let mut page = tables.list(&request).await.expect("a page");
        let mut seen = column(&page, text);
        while let Some(cursor) = page.next_cursor {
            page = tables
                .list(&ListRows {
                    cursor: Some(cursor),
                    ..request.clone()
                })
                .await
                .expect("a page");
            seen.extend(column(&page, text));
            assert!(page.rows.iter().all(|row| json(row)["#0"] == 3));
        }
        assert_eq!(seen.len(), TEXTS.len());
    }
    assert_eq!(value(&tables.pool, "select count(*) from victim").await, 0);
}

#[tokio::test]
async fn values_in_every_place_are_only_values() {
    let Some(tables) = Tables::with(
        "create table victim (); create table t (k text primary key, v text, a text[], j jsonb)",
    )
    .await
    else {
        return;
    };
    for text in TEXTS {
        let row = json!([{"k": text, "v": text, "a": [text], "j": {*text: text}}]);
        let row = tables
            .insert("t", row, OnConflict::Refuse)
            .await
            .expect("inserted")
            .remove(0);
        assert_eq!(
            json(&row),
            json!({"k": text, "v": text, "a": [text], "j": {*text: text}})
        );
        for (column, op, value) in [
            ("k", "eq", json!(text)),
            ("v", "in", json!([text])),
            ("a", "contains", json!([text])),
            ("j", "contains", json!({*text: text})),
            ("v", "starts_with", json!(text)),
        ] {
            let filter = json!({"column": column, "op": op, "value": value});
            let found = tables.list(&filtered("t", &filter)).await.expect("rows");
            assert!(
                found.rows.iter().any(|found| found.key == row.key),
                "{filter}"
            );
        }
        let key = row.key.expect("a key");
        assert_eq!(
            json(&tables.get("t", &key).await.expect("it is there"))["k"],
            *text
        );
        tables
            .update("t", &key, json!({"v": "w"}), row.etag.as_deref())
            .await
            .expect("changed");
        let error = tables
            .update("t", &key, json!({"v": "x"}), Some(text))
            .await;
        assert!(error.is_err(), "{text} is no version");
        tables.delete("t", &key, None).await.expect("deleted");
    }
    assert_eq!(value(&tables.pool, "select count(*) from victim").await, 0);
}

#[tokio::test]
async fn what_postgresql_cannot_hold_is_refused_not_cut() {
    let Some(tables) = Tables::with("create table t (k text primary key, v jsonb)").await else {
        return;
    };
    tables
        .insert("t", json!([{"k": "a\0b"}]), OnConflict::Refuse)
        .await
        .expect_err("no NUL");
    tables.get("t", "a\0b").await.expect_err("no NUL");
    let filter = json!({"column": "k", "op": "eq", "value": "\0"});
    tables
        .list(&filtered("t", &filter))
        .await
        .expect_err("no NUL");
    for name in ["\0", "a\0", ""] {
        let request = ListRows {
            table: public(name),
            ..all("t")
        };
        tables.list(&request).await.expect_err("no table");
        let request = ListRows {
            columns: Some(vec![name.to_owned()]),
            ..all("t")
        };
        tables.list(&request).await.expect_err("no column");
        let order = json!([{"column": name}]).to_string();
        let request = ListRows {
            order: Order::read(&order, "/order").expect("good"),
            ..all("t")
        };
        tables.list(&request).await.expect_err("no column");
    }
    // System columns are no columns.
    for name in ["ctid", "xmin", "tableoid"] {
        let filter = json!({"column": name, "op": "eq", "value": "1"});
        tables
            .list(&filtered("t", &filter))
            .await
            .expect_err("no column");
    }
    assert_eq!(
        value(&tables.pool, "select count(*) from t").await,
        Value::from(0)
    );
}
