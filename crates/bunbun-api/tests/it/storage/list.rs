//! `GET /api/storage/list/{bucket}`

use serde_json::json;

use crate::{
    api::service_key,
    services::{Stack, WAYS},
};

#[tokio::test]
async fn pages_neither_skip_nor_repeat() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        let paths = ["a", "b/1", "b/2", "b/c/3", "ä", "€"];
        for path in paths {
            assert_eq!(stack.put(&owner, "b", path, b"xy").await.status, 200);
        }
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/api/storage/list/b?limit=2{cursor}");
            let page = stack.get(&owner, &path).await;
            assert_eq!(page.status, 200, "{way:?}: {}", page.text());
            let page = page.json();
            for file in page["files"].as_array().expect("files") {
                seen.push(file["path"].as_str().expect("a path").to_owned());
                assert_eq!(file["size"], 2);
                assert_eq!(file["mime_type"], "image/png");
            }
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            // An object that comes and goes in between moves nothing.
            stack.put(&owner, "b", "0", b"x").await;
            stack.delete(&owner, "/api/storage/delete/b/0").await;
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, paths, "{way:?}");
        assert_eq!(pages, 3, "{way:?}");
        let below = stack.get(&owner, "/api/storage/list/b?prefix=b/c").await;
        assert_eq!(below.json()["files"][0]["path"], "b/c/3");
        assert_eq!(below.json()["next_cursor"], json!(null));
    }
}

#[tokio::test]
async fn odd_questions_are_refused() {
    let Some(stack) = Stack::start(WAYS[0]).await else {
        return;
    };
    stack.bucket("b").await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=",
        "offset=1",
        &format!("prefix={}", "x".repeat(1025)),
    ] {
        let path = format!("/api/storage/list/b?{query}");
        let reply = stack.get(&service_key(), &path).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
    }
    for prefix in ["%25", "_", "'", "%5C", "*"] {
        let path = format!("/api/storage/list/b?prefix={prefix}");
        stack.put(&service_key(), "b", "a", b"x").await;
        let reply = stack.get(&service_key(), &path).await;
        assert_eq!(reply.json()["files"], json!([]), "{prefix} is no pattern");
    }
}
