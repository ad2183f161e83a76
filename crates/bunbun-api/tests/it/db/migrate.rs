//! `/api/db/migrate`

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::api::{Api, Reply};

async fn migrate(api: &Api, body: &Value) -> Reply {
    api.post("/api/db/migrate").owner().json(body).send().await
}

#[tokio::test]
async fn a_migration_is_applied_once() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let todos = json!({ "name": "todos", "sql": "create table todos (id int primary key)" });
    let reply = migrate(&api, &todos).await;
    assert_json_snapshot!(reply.json(), {
        ".migration.version" => "[version]",
        ".migration.applied_at" => "[time]",
        ".migration.duration_ms" => "[ms]",
    }, @r#"
    {
      "success": true,
      "migration": {
        "version": "[version]",
        "name": "todos",
        "checksum": "15d3900e21abcb59fbf6e0e0186743384b1406513617842ee7dea48e2450d502",
        "applied_at": "[time]",
        "duration_ms": "[ms]"
      },
      "already_applied": false
    }
    "#);
    let again = migrate(&api, &todos).await.json();
    assert_eq!(
        (&again["success"], &again["already_applied"]),
        (&json!(true), &json!(true))
    );
    let other = json!({ "name": "todos", "sql": "create table other (id int)" });
    assert_eq!(
        migrate(&api, &other).await.error(),
        (409, "MIGRATION_CONFLICT".to_owned())
    );
}

#[tokio::test]
async fn a_dry_run_reports_and_leaves_nothing() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let sql = "create table a (id int); insert into a values (1), (2)";
    let body = json!({ "name": "a", "sql": sql, "dry_run": true });
    let reply = migrate(&api, &body).await.json();
    assert_eq!(reply["migration"], Value::Null);
    assert_eq!(reply["dry_run"]["statements"][1]["rows"], 2);
    let history = api.get("/api/db/migrations").owner().send().await;
    assert_eq!(history.json(), json!({ "migrations": [] }));
}

#[tokio::test]
async fn the_fault_of_a_statement_is_located() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let sql = "create table a (id int);\nselect * from nothing";
    let reply = migrate(&api, &json!({ "name": "a", "sql": sql })).await;
    assert_eq!(reply.error(), (400, "SQL_ERROR".to_owned()));
    let details = &reply.json()["error"]["details"];
    assert_eq!(
        (
            &details["sqlstate"],
            &details["statement_number"],
            &details["line"],
            &details["position"]
        ),
        (&json!("42P01"), &json!(2), &json!(2), &json!(40)),
    );
}

#[tokio::test]
async fn a_repeated_idempotency_key_gives_the_first_outcome() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let send = |body: Value| {
        api.post("/api/db/migrate")
            .owner()
            .header("idempotency-key", "k-1")
            .json(&body)
            .send()
    };
    let body = json!({ "name": "a", "sql": "create table a (id int)" });
    let first = send(body.clone()).await;
    let second = send(body).await;
    assert_eq!(first.json(), second.json());
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            second.header("idempotency-replayed")
        ),
        ("", "true")
    );
    let other = send(json!({ "name": "b", "sql": "create table b (id int)" })).await;
    assert_eq!(other.error(), (409, "IDEMPOTENCY_CONFLICT".to_owned()));
}

#[tokio::test]
async fn an_unusable_idempotency_key_is_not_passed_over() {
    let api = Api::without_database();
    for key in ["", &"k".repeat(256), "kéy"] {
        let body = json!({ "name": "a", "sql": "select 1" });
        let call = api
            .post("/api/db/migrate")
            .owner()
            .header("idempotency-key", key);
        let reply = call.json(&body).send().await;
        // Without a database 503 would come first if the key were looked at later.
        assert!([400, 503].contains(&reply.status.as_u16()), "{key:?}");
    }
}
