//! `/`, the built-in page

use bunbun_api::{ApiState, dashboard};
use bunbun_http::{Body, body, embed};
use http::Request;
use http_body_util::BodyExt as _;

use crate::api::Api;

#[tokio::test(start_paused = true)]
async fn the_page_shows_every_service_under_a_policy_without_scripts() {
    let state = ApiState::new(Api::parts(None));
    let service = embed::router(dashboard::router(state));
    let request: Request<Body> = Request::new(body::empty());
    let (parts, body) = service.call(request).await.into_parts();
    let page = body.collect().await.expect("a body").to_bytes();
    let page = std::str::from_utf8(&page).expect("UTF-8");
    let policy = parts.headers["content-security-policy"]
        .to_str()
        .expect("ASCII");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !page.contains("<script") && !page.contains("http"),
        "{page}"
    );
    for text in [
        ">auth<",
        ">rest<",
        ">storage<",
        "2 services do not answer.",
        "not configured",
    ] {
        assert!(page.contains(text), "{text} is missing in\n{page}");
    }
}
