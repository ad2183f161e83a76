//! `/readyz` and `/livez`

use crate::api::Api;

#[tokio::test]
async fn ready_means_that_postgresql_answers() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = api.get("/readyz").send().await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "ready"));
}

#[tokio::test]
async fn not_ready_without_postgresql_but_alive() {
    let api = Api::without_database();
    let reply = api.get("/readyz").send().await;
    assert_eq!(reply.error(), (503, "DATABASE_UNAVAILABLE".to_owned()));
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!(api.get("/livez").send().await.text(), "ok");
}

#[tokio::test]
async fn not_ready_while_draining_but_alive() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    api.shutdown.begin();
    assert_eq!(
        api.get("/readyz").send().await.error(),
        (503, "SERVICE_UNAVAILABLE".to_owned())
    );
    assert_eq!(api.get("/livez").send().await.status, 200);
}
