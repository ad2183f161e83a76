//! `POST …/explain`.

use serde_json::json;

use super::Stage;

#[tokio::test]
async fn a_plan_is_answered_and_analyze_leaves_nothing() {
    let Some(stage) = Stage::with_connection("create table t (n int primary key)").await else {
        return;
    };
    let reply = stage
        .post(
            "explain",
            &json!({ "sql": "select * from t where n = $1", "params": [1] }),
        )
        .await;
    assert!(
        reply.json()["plan"][0]["Plan"]["Node Type"].is_string(),
        "{}",
        reply.text()
    );
    let body = json!({ "sql": "insert into t values (1)", "analyze": true, "verbose": true, "settings": true });
    let reply = stage.post("explain", &body).await;
    assert!(
        reply.json()["plan"][0]["Execution Time"].is_number(),
        "{}",
        reply.text()
    );
    assert_eq!(
        stage.ask("select count(*)::int as n from t").await[0]["n"],
        0
    );
    for sql in [
        "select 1; drop table t",
        "drop table t",
        "select nothing",
        "commit",
    ] {
        let reply = stage
            .post("explain", &json!({ "sql": sql, "analyze": true }))
            .await;
        assert_eq!(reply.status, 400, "{sql}");
    }
    assert_eq!(
        stage.ask("select count(*)::int as n from t").await[0]["n"],
        0
    );
}
