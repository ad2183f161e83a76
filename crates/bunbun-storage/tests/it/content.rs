//! Types of content that say more than one thing, and what a browser would make of them.

use serde_json::json;

use crate::support::Storage;

#[tokio::test]
async fn what_a_browser_could_run_is_sandboxed() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.public_bucket("b").await;
    for (number, (given, shown, sandboxed)) in [
        (
            "text/plain;, application/xhtml+xml",
            "application/octet-stream",
            true,
        ),
        ("image/png, image/svg+xml", "application/octet-stream", true),
        (
            "text/plain; a=\"b\", application/xhtml+xml",
            "application/octet-stream",
            true,
        ),
        (
            "text/plain; a=\"\\\", text/html; b=\"",
            "application/octet-stream",
            true,
        ),
        ("text/xsl", "text/xsl", true),
        ("text/rdf", "text/rdf", true),
        ("multipart/x-mixed-replace;boundary=x", "text/plain", true),
        ("text/html; charset=utf-8", "text/plain", true),
        ("application/x-unheard-of", "application/x-unheard-of", true),
        ("", "application/octet-stream", true),
        (
            "text/plain; charset=utf-8",
            "text/plain; charset=utf-8",
            false,
        ),
        ("image/png", "image/png", false),
        (
            "video/mp4; codecs=\"avc1.42E01E, mp4a.40.2\"",
            "video/mp4; codecs=\"avc1.42E01E, mp4a.40.2\"",
            false,
        ),
        ("application/pdf", "application/pdf", false),
    ]
    .into_iter()
    .enumerate()
    {
        let put = storage
            .call("PUT", &format!("/object/b/{number}"))
            .service();
        put.bytes(given, "x").send().await.ok();
        let got = storage.get(&format!("/object/public/b/{number}"));
        let got = got.send().await.ok();
        assert_eq!(got.header("content-type"), shown, "{given}");
        let policy = got.header("content-security-policy");
        assert_eq!(policy.contains("sandbox"), sandboxed, "{given}: {policy}");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_buckets_types_are_not_passed_by_a_list() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let body = json!({ "name": "b", "allowed_mime_types": ["image/*", "text/plain", "video/mp4"] });
    let made = storage.post("/bucket").service().json(&body);
    made.send().await.ok();
    let put = |mime: &str| {
        let call = storage.call("PUT", "/object/b/x").service();
        call.bytes(mime, "x").send()
    };
    for mime in [
        "image/png, text/html",
        "image/png;, image/svg+xml",
        "text/plain; a=\"b\", application/xhtml+xml",
        "image/png text/html",
        "image/",
    ] {
        put(mime).await.refused("415", "InvalidMimeType");
    }
    for mime in [
        "image/png",
        "text/plain;charset=UTF-8",
        "IMAGE/PNG;",
        "video/mp4; codecs=\"a, b\"",
    ] {
        put(mime).await.ok();
    }
}
