//! `GET /api/storage/download/{bucket}/{path}`

use http::Method;

use crate::{
    api::service_key,
    services::{Stack, WAYS},
};

const PATH: &str = "/api/storage/download/b/folder/a.png";

#[tokio::test]
async fn ranges_and_conditions_count() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        stack.put(&owner, "b", "folder/a.png", b"0123456789").await;
        let whole = stack.get(&owner, PATH).await;
        assert_eq!(whole.text(), "0123456789", "{way:?}");
        assert_eq!(whole.header("content-type"), "image/png");
        assert_eq!(whole.header("content-length"), "10");
        assert_eq!(whole.header("x-content-type-options"), "nosniff");
        let policy = whole.header("content-security-policy");
        assert!(policy.contains("sandbox"), "{policy}");
        let etag = whole.header("etag").to_owned();
        let get = async |name, value: &str| {
            let call = stack.api.get(PATH).owner();
            call.header(name, value).send().await
        };
        for (range, text, content) in [
            ("bytes=2-4", "234", "bytes 2-4/10"),
            ("bytes=-2", "89", "bytes 8-9/10"),
            ("bytes=8-", "89", "bytes 8-9/10"),
        ] {
            let part = get("range", range).await;
            assert_eq!(part.status, 206, "{way:?} {range}");
            assert_eq!(part.text(), text);
            assert_eq!(part.header("content-range"), content);
        }
        let beyond = get("range", "bytes=100-").await;
        let expected = (416, "RANGE_NOT_SATISFIABLE".to_owned());
        assert_eq!(beyond.error(), expected, "{way:?}: {}", beyond.text());
        let same = get("if-none-match", &etag).await;
        assert_eq!((same.status.as_u16(), same.text()), (304, ""), "{way:?}");
        assert_eq!(get("if-none-match", "\"x\"").await.status, 200);
    }
}

#[tokio::test]
async fn head_tells_the_same_without_the_content() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        stack.put(&owner, "b", "folder/a.png", b"0123456789").await;
        let head = async |path: &str| {
            let call = stack.api.call(Method::HEAD, path).owner();
            call.send().await
        };
        let reply = head(PATH).await;
        assert_eq!(reply.status, 200, "{way:?}");
        assert_eq!(reply.header("content-length"), "10", "{way:?}");
        assert!(reply.body.is_empty());
        let missing = head("/api/storage/download/b/missing").await;
        assert_eq!(missing.status, 404, "{way:?}");
    }
}

#[tokio::test]
async fn no_path_leads_elsewhere() {
    let Some(stack) = Stack::start(WAYS[0]).await else {
        return;
    };
    stack.bucket("b").await;
    let owner = service_key();
    stack.put(&owner, "b", "a", b"x").await;
    for (path, status) in [
        ("/api/storage/download/b/..%2F..%2Fbucket", 400),
        ("/api/storage/download/b/x/%2e%2e/a", 400),
        ("/api/storage/download/b//a", 400),
        ("/api/storage/download/b/a%00", 400),
        ("/api/storage/download/b/a%0d%0aX-Evil:%201", 400),
        ("/api/storage/download/..%2Fbucket/a", 400),
        ("/api/storage/download/b%2Fa/a", 400),
        ("/api/storage/download/b/a%3Fdownload=x", 404),
        ("/api/storage/download/b/a%23", 400),
        ("/api/storage/download/b/%FF", 400),
        ("/api/storage/download/b/", 404),
        ("/api/storage/download/b", 404),
        ("/api/storage/download/no-such-bucket/a", 404),
    ] {
        let reply = stack.get(&owner, path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
}
