//! `/api/docs`

use crate::api::Api;

#[tokio::test]
async fn the_documentation_is_served_from_this_binary_alone() {
    let api = Api::without_database();
    let reply = api.get("/api/docs").send().await;
    // Relative, so that it also works behind a project's prefix.
    assert_eq!(
        (reply.status.as_u16(), reply.header("location")),
        (308, "docs/")
    );

    let page = api.get("/api/docs/").send().await;
    assert_eq!(page.header("content-type"), "text/html");
    for text in page.text().split(['"', '\'']) {
        assert!(
            !text.starts_with("http") && !text.starts_with("//"),
            "{text} is fetched"
        );
    }
    // Our policy allows no inline script.
    let scripts = page.text().matches("<script").count();
    assert_eq!(scripts, page.text().matches("<script src=").count());
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );

    let script = api.get("/api/docs/swagger-initializer.js").send().await;
    assert!(
        script.text().contains("../openapi.json"),
        "{}",
        script.text()
    );
}

#[tokio::test]
async fn its_files_travel_compressed_to_whoever_understands_that() {
    let api = Api::without_database();
    let plain = api.get("/api/docs/swagger-ui-bundle.js").send().await;
    let packed = api
        .get("/api/docs/swagger-ui-bundle.js")
        .header("accept-encoding", "gzip, br")
        .send()
        .await;
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() * 2 < plain.body.len());
    assert!(plain.text().contains("SwaggerUIBundle"));
}

#[tokio::test]
async fn other_files_do_not_exist() {
    let api = Api::without_database();
    for name in ["nothing.js", "..%2f..%2fetc%2fpasswd", "%00"] {
        let reply = api.get(&format!("/api/docs/{name}")).send().await;
        assert_eq!(reply.error(), (404, "ROUTE_NOT_FOUND".to_owned()), "{name}");
    }
}
