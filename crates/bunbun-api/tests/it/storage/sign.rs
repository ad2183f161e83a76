//! `POST /api/storage/sign/{bucket}/{path}`

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::service_key,
    services::{Stack, WAYS},
};

#[tokio::test]
async fn a_signed_url_names_the_object_and_its_end() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        stack.put(&owner, "b", "folder/a", b"x").await;
        let sign = async |path: &str, seconds: i64| {
            let call = stack.api.post(path).owner();
            let call = call
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "api.example.com");
            call.json(&json!({ "expires_in": seconds })).send().await
        };
        let reply = sign("/api/storage/sign/b/folder/a", 60).await;
        assert_eq!(reply.status, 200, "{way:?}: {}", reply.text());
        let answer = reply.json();
        let url = answer["url"].as_str().expect("a URL");
        let expected = "https://api.example.com/storage/v1/object/sign/b/folder/a?token=";
        assert!(url.starts_with(expected), "{way:?}: {url}");
        let end = answer["expires_at"].as_str().expect("a time");
        let end = OffsetDateTime::parse(end, &Rfc3339).expect("RFC 3339");
        let left = (end - OffsetDateTime::now_utc()).whole_seconds();
        assert!((30..=60).contains(&left), "{left}");
        assert!(!url.contains(&owner), "no key in a URL");

        let missing = sign("/api/storage/sign/b/missing", 60).await;
        assert_eq!(
            missing.error(),
            (404, "OBJECT_NOT_FOUND".to_owned()),
            "{way:?}"
        );
        for seconds in [0, -1, 31_536_001] {
            let reply = sign("/api/storage/sign/b/folder/a", seconds).await;
            assert_eq!(reply.status, 400, "{seconds}");
        }
    }
}
