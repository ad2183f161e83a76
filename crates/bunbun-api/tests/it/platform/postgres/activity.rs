//! `GET …/activity`, `POST …/activity/{pid}/cancel`, `…/terminate`.

use std::time::Duration;

use serde_json::json;

use super::Stage;

#[tokio::test]
async fn sessions_are_listed_cancelled_and_closed() {
    let Some(stage) = Stage::with_connection("").await else {
        return;
    };
    for (action, code) in [
        ("cancel", (400, "QUERY_INVALID")),
        ("terminate", (503, "CONNECTION_FAILED")),
    ] {
        let sql = format!("select pg_sleep(60) as {action}");
        let body = json!({ "sql": sql });
        let end = async {
            loop {
                let found = stage
                    .get(&format!("activity?search=as%20{action}"))
                    .await
                    .json();
                let active = found["sessions"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .find(|one| one["running_ms"].as_i64() > Some(1_000))
                    .cloned();
                if let Some(session) = active {
                    let path = format!("activity/{}/{action}", session["pid"]);
                    let reply = stage.post(&path, &json!({})).await;
                    break assert_eq!(reply.json()["signalled"], true);
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_secs(20), end);
        let (reply, ended) = tokio::join!(stage.post("query", &body), end);
        ended.expect("it is seen");
        assert_eq!(reply.error(), (code.0, code.1.to_owned()), "{action}");
    }
    for path in ["activity/2147483647/cancel", "activity/-1/terminate"] {
        let reply = stage.post(path, &json!({})).await;
        assert_eq!(reply.error(), (404, "PROCESS_NOT_FOUND".to_owned()));
    }
    let reply = stage.post("activity/nonsense/cancel", &json!({})).await;
    assert_eq!(reply.status, 400);
}
