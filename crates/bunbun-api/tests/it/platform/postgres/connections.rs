//! Which database a request is about, and who may ask.

use serde_json::json;

use super::{MASTER_KEY, Stage};
use crate::api;

#[tokio::test]
async fn the_primary_connection_goes_before_the_project_s_own_database() {
    let Some(stage) = Stage::new("create table own ()").await else {
        return;
    };
    let here = "select current_database() as name";
    let own = stage.ask(here).await;
    assert_eq!(
        own[0]["name"],
        stage.api.database.as_ref().expect("one").name()
    );
    let body = json!({ "identifier": "other", "url": stage.other.url(), "is_primary": true });
    assert_eq!(stage.post("connections", &body).await.status, 201);
    assert_eq!(stage.ask(here).await[0]["name"], stage.other.name());
    let named = stage
        .post("query?connection=other", &json!({ "sql": here }))
        .await
        .json();
    assert_eq!(named["rows"][0]["name"], stage.other.name());
    let unknown = stage
        .post("query?connection=nope", &json!({ "sql": here }))
        .await;
    assert_eq!(unknown.error(), (404, "CONNECTION_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn the_password_is_in_no_answer() {
    let Some(stage) = Stage::with_connection("create table t (id int primary key)").await else {
        return;
    };
    let password = stage
        .other
        .url()
        .split(['/', ':', '@'])
        .nth(4)
        .expect("a password")
        .to_owned();
    assert!(stage.other.url().contains(&format!(":{password}@")));
    for path in [
        "connections",
        "tables",
        "roles?system=true",
        "activity",
        "stats",
        "tables/public/t/rows",
    ] {
        let reply = stage.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let text = reply.text().replace("bunbun_test_owner\"", "");
        assert!(!text.contains(&format!(":{password}")), "{path}");
        assert!(
            !text.contains(MASTER_KEY) && !text.contains("postgres://"),
            "{path}"
        );
    }
    let secret = "hunter2-hunter2";
    let url = format!("postgres://nobody:{secret}@127.0.0.1:1/nothing");
    let body = json!({ "identifier": "gone", "url": url });
    assert_eq!(stage.post("connections", &body).await.status, 201);
    let reply = stage.get("tables?connection=gone").await;
    assert_eq!(reply.error(), (503, "CONNECTION_FAILED".to_owned()));
    assert!(!reply.text().contains(secret) && !reply.text().contains("127.0.0.1"));
}

#[tokio::test]
async fn another_project_s_path_is_unknown() {
    let Some(stage) = Stage::with_connection("create table t ()").await else {
        return;
    };
    for path in ["tables", "activity", "stats", "tables/public/t/rows"] {
        let reply = stage
            .api
            .get(&format!("/api/platform/postgres/other/{path}"))
            .owner()
            .send()
            .await;
        assert_eq!(
            reply.error(),
            (404, "PROJECT_NOT_FOUND".to_owned()),
            "{path}"
        );
        let path = format!("/api/platform/postgres/default/{path}");
        let reply = stage.api.get(&path).bearer(&api::anon_key()).send().await;
        assert_eq!(reply.status, 403);
    }
}

#[tokio::test]
async fn changes_are_in_the_audit_log_without_values() {
    let Some(stage) = Stage::with_connection("create table t (id int primary key, v text)").await
    else {
        return;
    };
    let secret = "not-for-the-log";
    stage
        .post(
            "tables/public/t/rows",
            &json!({ "rows": [{ "id": 1, "v": secret }] }),
        )
        .await;
    stage
        .post(
            "query",
            &json!({ "id": "q1", "sql": format!("update t set v = '{secret}'") }),
        )
        .await;
    stage
        .post("query", &json!({ "sql": "select 1", "read_only": true }))
        .await;
    stage.get("tables/public/t/rows").await;
    stage
        .call(http::Method::DELETE, "tables/public/t/rows/1")
        .send()
        .await;
    let log = stage.audit().await;
    let actions: Vec<&str> = log.iter().map(|(action, _)| action.as_str()).collect();
    assert!(
        actions.ends_with(&[
            "postgres.rows.insert",
            "postgres.query",
            "postgres.rows.delete"
        ]),
        "{log:?}"
    );
    assert!(log.contains(&("postgres.rows.insert".to_owned(), "public.t".to_owned())));
    assert!(!format!("{log:?}").contains(secret));
}
