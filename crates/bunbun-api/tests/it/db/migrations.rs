//! `/api/db/migrations`

use serde_json::json;

use crate::api::Api;

#[tokio::test]
async fn the_history_is_newest_first() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    for name in ["first", "second"] {
        let body = json!({ "name": name, "sql": format!("create table {name} (id int)") });
        let reply = api.post("/api/db/migrate").owner().json(&body).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let reply = api.get("/api/db/migrations").owner().send().await.json();
    let names: Vec<_> = reply["migrations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names, ["second", "first"]);
}
