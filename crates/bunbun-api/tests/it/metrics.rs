//! `/metrics`

use crate::api::Api;

#[tokio::test]
async fn metrics_are_the_owners_unless_configured_open() {
    let api = Api::without_database();
    assert_eq!(api.get("/metrics").send().await.status, 401);
    let reply = api.get("/metrics").owner().send().await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4");
    assert_eq!(reply.text(), "bunbun_up 1\n");

    let open = Api::new(None, None, |parts| parts.metrics_open = true);
    assert_eq!(open.get("/metrics").send().await.text(), "bunbun_up 1\n");
}
