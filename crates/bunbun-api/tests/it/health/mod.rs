//! `/health` and `/api/health`

mod services;

use insta::assert_json_snapshot;

use crate::api::Api;

#[tokio::test]
async fn health_needs_nothing() {
    let api = Api::without_database();
    let reply = api.get("/health").send().await;
    assert_json_snapshot!(reply.json(), { ".uptime" => 0 }, @r#"
    {
      "status": "ok",
      "uptime": 0,
      "version": "0.1.0"
    }
    "#);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(api.get("/api/health").send().await.json()["status"], "ok");
}
