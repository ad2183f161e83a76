//! `/api/gateway/explain`

use insta::assert_json_snapshot;

use crate::api::Api;

#[tokio::test]
async fn a_request_is_explained() {
    let api = Api::without_database();
    let reply = api
        .get("/api/gateway/explain?method=POST&path=/rest/v1/todos")
        .owner()
        .send()
        .await;
    assert_json_snapshot!(reply.json(), @r#"
    {
      "method": "POST",
      "path": "/rest/v1/todos",
      "project": "default",
      "route": "rest",
      "reason": "Passed on to slot rest."
    }
    "#);
}

#[tokio::test]
async fn a_refusal_is_explained_by_its_request_id() {
    let api = Api::without_database();
    let known = api
        .get("/api/gateway/explain?request_id=known")
        .owner()
        .send()
        .await;
    assert_eq!(known.json()["refused_with"], 401);
    let unknown = api
        .get("/api/gateway/explain?request_id=other")
        .owner()
        .send()
        .await;
    assert_eq!(unknown.error(), (404, "ROUTE_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn nonsense_is_refused() {
    let api = Api::without_database();
    let long = format!("path=/{}", "x".repeat(9_000));
    for query in [
        "",
        "path=/a&request_id=b",
        "path=/a&method=",
        "path=/a&method=G%20T",
        "path=",
        "path=rest/v1",
        "path=/%2500",
        "path=/a&colour=red",
        "path=%ff",
        &long,
    ] {
        let reply = api
            .get(&format!("/api/gateway/explain?{query}"))
            .owner()
            .send()
            .await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
}
