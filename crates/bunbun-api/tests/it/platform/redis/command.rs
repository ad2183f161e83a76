//! `/command`.

use http::Method;
use serde_json::json;

use super::Stage;

#[tokio::test]
async fn commands_run_and_dangerous_ones_ask_back() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    for (command, result) in [
        (json!(["set", "k", "v"]), json!("OK")),
        (json!(["GET", "k"]), json!("v")),
        (json!(["HSET", "h", "f", "1"]), json!(1)),
        (json!(["HGETALL", "h"]), json!({ "f": "1" })),
    ] {
        let body = json!({ "command": command });
        let reply = stage.send(Method::POST, "/command", Some(&body)).await;
        assert_eq!(
            reply.json(),
            json!({ "result": result, "result_encoding": "utf8" })
        );
    }
    for (command, code) in [
        (json!(["FLUSHALL"]), "CONFIRMATION_REQUIRED"),
        (json!(["KEYS", "*"]), "CONFIRMATION_REQUIRED"),
        (json!(["SUBSCRIBE", "c"]), "QUERY_NOT_ALLOWED"),
        (json!(["BLPOP", "k", "0"]), "QUERY_NOT_ALLOWED"),
        (json!(["GET"]), "QUERY_INVALID"),
        (json!([]), "VALIDATION_FAILED"),
    ] {
        let body = json!({ "command": command });
        let refused = stage.refusal(Method::POST, "/command", Some(&body)).await;
        assert_eq!(refused, (400, code.to_owned()), "{command}");
    }
    let body = json!({ "command": ["FLUSHALL"], "confirm": "FLUSHALL" });
    let reply = stage.send(Method::POST, "/command", Some(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(stage.server.command(&["DBSIZE"]), ":0");
}
