//! `POST …/query`, `POST …/query/{id}/cancel`.

use std::time::Duration;

use serde_json::json;

use super::Stage;

/// Cancels until there is something to cancel.
async fn cancel(stage: &Stage, id: &str) {
    let trying = async {
        while stage
            .post(&format!("query/{id}/cancel"), &json!({}))
            .await
            .status
            != 200
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trying)
        .await
        .expect("it begins");
}

#[tokio::test]
async fn a_statement_runs_on_the_stored_connection_and_is_answered_in_each_form() {
    let Some(stage) =
        Stage::with_connection("create table t (n int); insert into t values (1), (2)").await
    else {
        return;
    };
    let body = json!({ "sql": "select n + $1 as n from t order by n", "params": [40] });
    let reply = stage.post("query", &body).await.json();
    assert_eq!(reply["rows"], json!([{"n": 41}, {"n": 42}]));
    for (media, expected) in [
        ("application/x-ndjson", "{\"n\":41}\n{\"n\":42}\n"),
        ("text/csv", "n\r\n41\r\n42\r\n"),
    ] {
        let call = stage
            .call(http::Method::POST, "query")
            .header("accept", media);
        assert_eq!(call.json(&body).send().await.text(), expected);
    }
    let reply = stage
        .post(
            "query",
            &json!({ "sql": "insert into t values (3)", "read_only": true }),
        )
        .await;
    assert_eq!(reply.error(), (409, "READ_ONLY".to_owned()));
    let reply = stage
        .post("query", &json!({ "sql": "select nothing" }))
        .await;
    assert_eq!(reply.error(), (400, "QUERY_INVALID".to_owned()));
    assert_eq!(reply.json()["error"]["details"]["sqlstate"], "42703");
    assert_eq!(reply.json()["error"]["details"]["position"], 8);
    let reply = stage
        .post(
            "query",
            &json!({ "sql": "select pg_sleep(30)", "timeout_ms": 50 }),
        )
        .await;
    assert_eq!(reply.error(), (504, "TIMEOUT".to_owned()));
    let call = stage
        .call(http::Method::POST, "query")
        .header("accept", "application/x-ndjson");
    let body = json!({ "sql": "select 1 / (3 - n) as n from generate_series(1, 4) n" });
    let text = call.json(&body).send().await.text().to_owned();
    assert!(
        text.lines()
            .last()
            .expect("a line")
            .contains("\"code\":\"QUERY_INVALID\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_statement_is_cancelled_by_the_id_that_its_caller_gave() {
    for stage in [Stage::new("").await, Stage::with_connection("").await] {
        let Some(stage) = stage else { return };
        let body = json!({ "id": "slow.1", "sql": "select pg_sleep(60)" });
        let (reply, ()) = tokio::join!(stage.post("query", &body), cancel(&stage, "slow.1"));
        assert_eq!(reply.error(), (409, "QUERY_CANCELLED".to_owned()));
        // By the request's own id, where none was given.
        let body = json!({ "sql": "select pg_sleep(60)" });
        let (reply, ()) = tokio::join!(stage.post("query", &body), cancel(&stage, "test"));
        assert_eq!(reply.error(), (409, "QUERY_CANCELLED".to_owned()));
        let reply = stage.post("query/slow.1/cancel", &json!({})).await;
        assert_eq!(reply.error(), (404, "QUERY_NOT_FOUND".to_owned()));
        let client = stage.platform.superuser().await;
        let sql = "select count(*) from platform.audit_log \
                   where action = 'postgres.query.cancel' and target = 'slow.1'";
        let row = client.query_one(sql, &[]).await.expect("a row");
        assert!(row.get::<_, i64>(0) >= 2);
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
            let reply = stage
                .post("query", &json!({ "id": bad, "sql": "select 1" }))
                .await;
            assert_eq!(
                reply.error(),
                (400, "VALIDATION_FAILED".to_owned()),
                "{bad}"
            );
        }
    }
}
