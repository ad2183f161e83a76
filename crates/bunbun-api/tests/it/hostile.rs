//! Bodies that nobody sends in good faith, at every operation that takes one.

use http::Method;
use serde_json::json;

use crate::api::Api;

const BODIES: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("no JSON", b"{"),
    ("an array", b"[]"),
    ("a string", b"\"x\""),
    ("null", b"null"),
    ("a number", b"1e999"),
    ("invalid UTF-8", b"{\"sql\": \"\xff\xfe\"}"),
    ("a lone surrogate", br#"{"sql": "\ud800"}"#),
    (
        "an unknown member",
        br#"{"sql": "select 1", "name": "a", "drop_everything": true}"#,
    ),
    (
        "a member twice",
        br#"{"sql": "select 1", "sql": "select 2", "name": "a"}"#,
    ),
    (
        "members of a wrong type",
        br#"{"sql": ["select 1"], "name": 1}"#,
    ),
    ("two values", br#"{"sql": "select 1", "name": "a"} {}"#),
    ("an empty text", br#"{"sql": "", "name": "a"}"#),
];

fn with_body(api: &Api) -> Vec<String> {
    let paths = api.document["paths"].as_object().expect("paths");
    paths
        .iter()
        .filter(|(_, item)| item["post"]["requestBody"].is_object())
        .map(|(path, _)| {
            path.replace("{id}", "01935f3c-0000-7000-8000-000000000000")
                .replace("{bucket}", "photos")
                .replace("{path}", "2026/cat.png")
                .replace("{database_type}", "postgres")
                .replace("{database}", "shop")
                .replace("{collection}", "orders")
                .replace("{action}", "find")
                .replace("{ref}", "default")
                .replace("{schema}", "public")
                .replace("{table}", "todos")
        })
        .collect()
}

#[tokio::test]
async fn hostile_bodies_are_refused_with_the_envelope() {
    let api = Api::without_database();
    for path in with_body(&api) {
        for (what, body) in BODIES {
            let call = api
                .call(Method::POST, &path)
                .owner()
                .raw("application/json", body.to_vec());
            let reply = call.send().await;
            assert_eq!(reply.status, 400, "{path}: {what}: {}", reply.text());
            assert_eq!(
                reply.json()["error"]["request_id"],
                "test",
                "{path}: {what}"
            );
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep = format!("{{\"sql\": \"select 1\", \"params\": {deep}}}");
        let reply = api
            .post(&path)
            .owner()
            .raw("application/json", deep)
            .send()
            .await;
        assert_eq!(reply.status, 400, "{path}: deep nesting");
    }
}

#[tokio::test]
async fn a_body_of_another_media_type_is_refused() {
    let api = Api::without_database();
    for path in with_body(&api) {
        for media in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
        ] {
            let body = json!({ "sql": "select 1", "name": "a" }).to_string();
            let reply = api.post(&path).owner().raw(media, body).send().await;
            assert_eq!(reply.status, 400, "{path}: {media}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_envelope() {
    let api = Api::without_database();
    let reply = api.get("/api/nothing").send().await;
    assert_eq!(reply.error(), (404, "ROUTE_NOT_FOUND".to_owned()));
    let reply = api.call(Method::DELETE, "/api/db/migrate").send().await;
    assert_eq!(reply.error(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert_eq!(reply.header("allow"), "POST");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
}
