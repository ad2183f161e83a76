//! `GET …/stats`.

use super::Stage;

#[tokio::test]
async fn sizes_and_counters_are_told() {
    let Some(stage) =
        Stage::with_connection("create table t (n int primary key); insert into t values (1)")
            .await
    else {
        return;
    };
    let reply = stage.get("stats").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["database"]["name"], stage.other.name());
    assert_eq!(reply.json()["tables"][0]["name"], "t");
}
