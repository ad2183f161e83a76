//! `/pubsub/…` without a socket; the WebSocket is tested with the whole binary.

use http::Method;
use serde_json::json;

use super::Stage;

#[tokio::test]
async fn messages_are_published_and_channels_listed() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let body = json!({ "channel": "news", "data": "hello" });
    let reply = stage
        .send(Method::POST, "/pubsub/publish", Some(&body))
        .await;
    assert_eq!(reply.json(), json!({ "receivers": 0 }));
    let channels = stage.get("/pubsub/channels?pattern=n*").await;
    assert_eq!(channels, json!({ "channels": [], "next_cursor": null }));
    // A stream of events cannot be asked for channels later.
    for query in ["chanel=a", "connection=main", ""] {
        let path = format!("/pubsub/subscribe?{query}");
        let refusal = stage.refusal(Method::GET, &path, None).await;
        assert_eq!(refusal, (400, "VALIDATION_FAILED".to_owned()), "{query}");
    }
}
