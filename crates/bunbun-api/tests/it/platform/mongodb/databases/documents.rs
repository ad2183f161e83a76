//! `…/documents` and `…/documents/{id}`.

use http::Method;
use serde_json::{Value, json};

use super::super::{Site, encoded};

const DOCUMENTS: &str = "/collections/things/documents";

#[tokio::test]
async fn a_document_read_and_written_back_never_changes_a_type() {
    for site in Site::each().await {
        let text = r#"{"_id":{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f"},"int":{"$numberInt":"1"},"long":{"$numberLong":"1"},"double":{"$numberDouble":"1.0"},"date":{"$date":{"$numberLong":"1"}},"list":[{"$numberLong":"2"},{"$numberDouble":"2.0"}],"text":"\u0000\"\\"}"#;
        let reply = site
            .typed(
                Method::POST,
                DOCUMENTS,
                &format!(r#"{{"document":{text}}}"#),
            )
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let one = format!("{DOCUMENTS}/5f5e1d0e8b0c4b3a9c1d2e3f");
        let read = site.typed(Method::GET, &one, "").await;
        assert_eq!(
            (read.text(), read.header("content-type")),
            (text, "application/ejson")
        );
        let etag = read.header("etag").to_owned();
        let written = site
            .call(Method::PUT, &one)
            .header("accept", "application/ejson")
            .header("if-match", &etag)
            .raw("application/ejson", read.text().to_owned())
            .send()
            .await;
        assert_eq!((written.status.as_u16(), written.text()), (200, text));
        assert_eq!(written.header("etag"), etag);
        // The other form has its own tag, which is as good.
        let relaxed = site.get(&one).await;
        assert_eq!(relaxed.json()["long"], json!(1));
        assert_ne!(relaxed.header("etag"), etag);
        let known = site
            .call(Method::GET, &one)
            .header("if-none-match", relaxed.header("etag"))
            .send()
            .await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    }
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_changes_nothing() {
    for site in Site::each().await {
        site.insert("things", &json!([{ "_id": 1, "a": 1 }])).await;
        let one = format!("{DOCUMENTS}/1");
        let etag = site.get(&one).await.header("etag").to_owned();
        let patch = |etag: String, change: Value| {
            let (site, one) = (&site, &one);
            async move {
                let body = json!({ "update": change });
                site.call(Method::PATCH, one)
                    .header("if-match", &etag)
                    .json(&body)
                    .send()
                    .await
            }
        };
        let changed = patch(etag.clone(), json!({ "$set": { "a": 2 } })).await;
        assert_eq!(
            (changed.status.as_u16(), changed.json()),
            (200, json!({ "_id": 1, "a": 2 }))
        );
        for stale in [etag.as_str(), "\"x\"", "W/\"0\"", "nonsense"] {
            let refused = patch(stale.to_owned(), json!({ "$set": { "a": 3 } })).await;
            assert_eq!(
                refused.error(),
                (412, "PRECONDITION_FAILED".to_owned()),
                "{stale}"
            );
        }
        let refused = site
            .call(Method::DELETE, &one)
            .header("if-match", &etag)
            .send()
            .await;
        assert_eq!(refused.error(), (412, "PRECONDITION_FAILED".to_owned()));
        let both = format!("\"0-r\", {}", changed.header("etag"));
        let gone = site
            .call(Method::DELETE, &one)
            .header("if-match", &both)
            .send()
            .await;
        assert_eq!(gone.status, 200, "{}", gone.text());
        assert_eq!(
            site.get(&one).await.error(),
            (404, "DOCUMENT_NOT_FOUND".to_owned())
        );
        let star = site
            .call(Method::PUT, &format!("{one}?upsert=true"))
            .header("if-match", "*")
            .json(&json!({}))
            .send()
            .await;
        assert_eq!(star.error(), (412, "PRECONDITION_FAILED".to_owned()));
        let made = site
            .call(Method::PUT, &format!("{one}?upsert=true"))
            .json(&json!({ "b": 1 }))
            .send()
            .await;
        assert_eq!(
            (made.status.as_u16(), made.json()),
            (201, json!({ "_id": 1, "b": 1 }))
        );
    }
}

#[tokio::test]
async fn pages_follow_one_another() {
    for site in Site::each().await {
        let documents: Vec<Value> = (0..25)
            .map(|n| json!({ "_id": n, "odd": n % 2 == 1 }))
            .collect();
        site.insert("things", &json!(documents)).await;
        let query = format!(
            "filter={}&projection={}&limit=5",
            encoded(r#"{"odd":true}"#),
            encoded(r#"{"odd":1}"#)
        );
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = site
                .get(&format!("{DOCUMENTS}?{query}{cursor}"))
                .await
                .json();
            seen.extend(
                page["documents"]
                    .as_array()
                    .expect("an array")
                    .iter()
                    .map(|d| d["_id"].as_u64().expect("a number")),
            );
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, (0..25).filter(|n| n % 2 == 1).collect::<Vec<_>>());
        let reply = site.get(&format!("{DOCUMENTS}?limit=1{cursor}")).await;
        assert_eq!(reply.error(), (400, "VALIDATION_FAILED".to_owned()));
    }
}

#[tokio::test]
async fn hostile_requests_are_refused_with_a_pointer() {
    let Some(site) = Site::ferretdb().await else {
        return;
    };
    for (filter, code, pointer) in [
        (
            r#"{"$where":"sleep(1)"}"#,
            "QUERY_NOT_ALLOWED",
            "/filter/$where",
        ),
        (
            r#"{"a":[{"\u0024where":"1"}]}"#,
            "QUERY_NOT_ALLOWED",
            "/filter/a/0/$where",
        ),
        (r#"{"a":{"$code":"1"}}"#, "QUERY_NOT_ALLOWED", "/filter/a"),
        (
            r#"{"a":1,"a":{"$where":"1"}}"#,
            "INVALID_REQUEST",
            "/filter/a",
        ),
        (r#"{"a":{"$oid":"x"}}"#, "INVALID_REQUEST", "/filter/a"),
        ("{", "INVALID_REQUEST", "/filter"),
        ("[]", "INVALID_REQUEST", "/filter"),
    ] {
        let reply = site
            .get(&format!("{DOCUMENTS}?filter={}", encoded(filter)))
            .await;
        assert_eq!(reply.error(), (400, code.to_owned()), "{filter}");
        let details = &reply.json()["error"]["details"];
        let found = details["pointer"]
            .as_str()
            .or_else(|| details["errors"][0]["pointer"].as_str());
        assert_eq!(found, Some(pointer), "{filter}: {details}");
    }
    for path in [
        "/collections/system.users/documents",
        "/collections/a%24b/documents",
        "/collections/things/documents?limit=0",
        "/collections/things/documents?limit=1001",
        "/collections/things/documents?nonsense=1",
        "/collections/things/documents/ejson:%7B",
    ] {
        assert_eq!(site.get(path).await.status, 400, "{path}");
    }
    let deep = format!(
        r#"{{"document":{}1{}}}"#,
        r#"{"a":"#.repeat(200),
        "}".repeat(200)
    );
    for (media, body) in [
        ("application/json", deep.as_str()),
        ("application/json", r#"{"document":{"a":1,"a":2}}"#),
        ("application/json", r#"{"document":{"a":{"$numberInt":1}}}"#),
        ("application/json", r#"{"document":{"a":1},"x":1}"#),
        ("application/json", r#"{"documents":[]}"#),
        ("application/json", r#"{"document":{},"documents":[{}]}"#),
        ("application/json", "not JSON"),
        ("application/json", "[1]"),
        ("text/plain", r#"{"document":{"a":1}}"#),
    ] {
        let reply = site
            .call(Method::POST, DOCUMENTS)
            .raw(media, body.to_owned())
            .send()
            .await;
        assert_eq!(reply.status, 400, "{media} {}", &body[..body.len().min(60)]);
    }
    let elsewhere = "/api/platform/mongodb/default/databases/a%2Fb/collections/x/documents";
    let reply = site.api.get(elsewhere).owner().send().await;
    assert_eq!(reply.error(), (400, "VALIDATION_FAILED".to_owned()));
}

#[tokio::test]
async fn refused_inserts_say_what_was_done() {
    for site in Site::each().await {
        let body =
            json!({ "documents": [{ "_id": 1 }, { "_id": 1 }, { "_id": 2 }], "ordered": false });
        let reply = site.post(DOCUMENTS, &body).await;
        assert_eq!(reply.error(), (409, "DOCUMENT_EXISTS".to_owned()));
        assert_eq!(reply.json()["error"]["details"]["inserted"], json!(2));
        let page = site.get(DOCUMENTS).await.json();
        assert_eq!(page["documents"], json!([{ "_id": 1 }, { "_id": 2 }]));
    }
}

#[tokio::test]
async fn a_document_can_be_made_where_there_is_none_only() {
    for site in Site::each().await {
        let put = async |path: &str, a: i32| {
            site.call(Method::PUT, &format!("{DOCUMENTS}/{path}"))
                .header("if-none-match", "*")
                .json(&json!({ "a": a }))
                .send()
                .await
        };
        let made = put("1?upsert=true", 1).await;
        assert_eq!(
            (made.status.as_u16(), made.json()),
            (201, json!({ "_id": 1, "a": 1 }))
        );
        let read = site.get(&format!("{DOCUMENTS}/1")).await;
        assert_eq!(read.header("etag"), made.header("etag"));
        let again = put("1?upsert=true", 2).await;
        assert_eq!(again.error(), (412, "PRECONDITION_FAILED".to_owned()));
        assert_eq!(
            put("2", 2).await.error(),
            (404, "DOCUMENT_NOT_FOUND".to_owned())
        );
        assert_eq!(site.get(&format!("{DOCUMENTS}/1")).await.json()["a"], 1);
    }
}

#[tokio::test]
async fn pages_miss_nothing_whatever_a_projection_makes_of_the_id() {
    for site in Site::each().await {
        let documents: Vec<_> = (0..25)
            .map(|n| json!({ "_id": { "n": n, "m": -n }, "a": 100 - n }))
            .collect();
        site.insert("things", &json!(documents)).await;
        for projection in [
            "{}",
            r#"{"a":1}"#,
            r#"{"_id":0}"#,
            r#"{"_id":false,"a":1}"#,
            r#"{"_id":true}"#,
            r#"{"_id":"$a"}"#,
            r#"{"_id.m":1}"#,
            r#"{"_id.n":0}"#,
        ] {
            let mut cursor = String::new();
            let mut seen = 0;
            loop {
                let path = format!(
                    "{DOCUMENTS}?limit=10&projection={}{cursor}",
                    encoded(projection)
                );
                let reply = site.get(&path).await;
                // Not every server knows every projection.
                if reply.status == 400 && seen == 0 {
                    seen = 25;
                    break;
                }
                let page = reply.json();
                seen += page["documents"].as_array().expect("documents").len();
                let Some(next) = page["next_cursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen, 25, "{projection}");
        }
    }
}

#[tokio::test]
async fn ids_that_no_path_can_hold_have_another_spelling() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    for site in Site::each().await {
        for id in ["a\\b", "\"q\"", "{\"a\":1}", "a\r\nb", ".."] {
            site.insert("things", &json!([{ "_id": id }])).await;
            let text = URL_SAFE_NO_PAD.encode(json!(id).to_string());
            let read = site.get(&format!("{DOCUMENTS}/ejson64:{text}")).await;
            assert_eq!(
                (read.status.as_u16(), read.json()),
                (200, json!({ "_id": id }))
            );
        }
        for bad in ["", "?", "_w", "eyI"] {
            let reply = site
                .get(&format!("{DOCUMENTS}/ejson64:{}", encoded(bad)))
                .await;
            assert_eq!(
                reply.error(),
                (400, "VALIDATION_FAILED".to_owned()),
                "{bad}"
            );
        }
    }
}

#[tokio::test]
async fn what_was_kept_is_forgotten_with_a_change_and_cursors_are_one_lists() {
    for site in Site::each().await {
        let databases = async || {
            let call = site
                .api
                .call(Method::GET, "/api/platform/mongodb/default/databases");
            call.owner().send().await.text().contains(&site.database)
        };
        assert!(!databases().await);
        let documents: Vec<_> = (0..30)
            .map(|n| json!({ "_id": n, "a": n, "b": n }))
            .collect();
        site.insert("things", &json!(documents)).await;
        assert!(databases().await, "a new database is listed");
        let distinct = async |query: &str| {
            site.get(&format!("/collections/things/distinct?limit=20&{query}"))
                .await
        };
        let first = distinct("key=a").await.json();
        let next = first["next_cursor"].as_str().expect("more");
        let second = distinct(&format!("key=a&cursor={next}")).await.json();
        assert_eq!(second["values"].as_array().map(Vec::len), Some(10));
        for other in [format!("key=b&cursor={next}"), "key=a&cursor=20".to_owned()] {
            let reply = distinct(&other).await;
            assert_eq!(
                reply.error(),
                (400, "VALIDATION_FAILED".to_owned()),
                "{other}"
            );
        }
    }
}
