//! `/api/db/tables`

use serde_json::json;

use crate::api::Api;

#[tokio::test]
async fn tables_are_listed_with_their_columns_and_keys() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let sql = "create schema other;
        create type colour as enum ('red', 'green');
        create table lists (id int primary key);
        create table todos (
            id bigint generated always as identity primary key,
            list int not null references lists on delete cascade,
            title varchar(80) default 'x', shade colour,
            doubled int generated always as (list * 2) stored,
            unique (title));
        create index on todos (lower(title));
        comment on table todos is 'what to do';
        create view open_todos as select * from todos;
        create materialized view counted as select count(*) from todos;
        create table other.parted (id int) partition by range (id)";
    let reply = api
        .post("/api/db/query")
        .owner()
        .json(&json!({ "sql": sql }))
        .send()
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());

    let reply = api.get("/api/db/tables").owner().send().await.json();
    let tables = reply["tables"].as_array().expect("a list");
    let names: Vec<_> = tables
        .iter()
        .map(|table| table["name"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(names, ["parted", "counted", "lists", "open_todos", "todos"]);
    let todos = &tables[4];
    assert_eq!(todos["comment"], "what to do");
    assert_eq!(todos["primary_key"], json!(["id"]));
    assert_eq!(todos["columns"][2]["type"], "character varying(80)");
    assert_eq!(todos["foreign_keys"][0]["on_delete"], "CASCADE");

    let reply = api
        .get("/api/db/tables?schema=other")
        .owner()
        .send()
        .await
        .json();
    assert_eq!(reply["tables"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_unknown_schema_is_not_found() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    for name in ["nothing", "%00", "public'--", "%22public%22"] {
        let reply = api
            .get(&format!("/api/db/tables?schema={name}"))
            .owner()
            .send()
            .await;
        assert_eq!(
            reply.error(),
            (404, "SCHEMA_NOT_FOUND".to_owned()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_unusable_parameter_is_refused() {
    let api = Api::without_database();
    for query in ["schema=", "schema=a&schema=b", "scheme=public"] {
        let reply = api
            .get(&format!("/api/db/tables?{query}"))
            .owner()
            .send()
            .await;
        assert_eq!(reply.status, 400, "{query}");
    }
}
