//! Names that no URL or database can carry, and buckets that are named as routes are.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::support::Storage;

#[tokio::test]
async fn what_the_database_cannot_hold_is_the_clients_fault() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for (method, path, body) in [
        ("DELETE", "/object/b", json!({ "prefixes": ["a\0b"] })),
        (
            "POST",
            "/object/sign/b",
            json!({ "expiresIn": 60, "paths": ["a\0b"] }),
        ),
        ("POST", "/object/list/b", json!({ "prefix": "a\0b" })),
        ("POST", "/object/list-v2/b", json!({ "prefix": "a\0b" })),
        (
            "PUT",
            "/bucket/b",
            json!({ "allowed_mime_types": ["te\0xt/plain"] }),
        ),
    ] {
        let answer = storage.call(method, path).service().json(&body).send();
        answer.await.refused("400", "InvalidRequest");
    }
    let search = storage.get("/bucket?search=%00").service().send().await;
    search.refused("400", "InvalidRequest");
    let metadata = BASE64_STANDARD.encode(r#"{"a":"\u0000"}"#);
    let put = storage.post("/object/b/x").service();
    let put = put.header("x-metadata", &metadata).bytes("text/plain", "x");
    put.send().await.refused("400", "InvalidRequest");
    let form = "--x\r\ncontent-disposition: form-data; name=\"cacheControl\"\r\n\r\na\0b\r\n--x\r\ncontent-disposition: form-data; name=\"\"; filename=\"f\"\r\n\r\nx\r\n--x--\r\n";
    let put = storage.post("/object/b/x").service();
    let put = put.bytes("multipart/form-data; boundary=x", form);
    put.send().await.refused("400", "InvalidRequest");
    let resumable = storage
        .post("/upload/resumable")
        .service()
        .header("tus-resumable", "1.0.0")
        .header("upload-length", "1")
        .header(
            "upload-metadata",
            &format!("bucketName Yg==,objectName eA==,metadata {metadata}"),
        )
        .bytes("application/offset+octet-stream", "x");
    assert_eq!(resumable.send().await.status, 400);
    let token = crate::support::token("authenticated", Some("a\0b"));
    let list = storage.get("/bucket").token(&token).send().await;
    list.refused("400", "InvalidRequest");
    assert!(storage.files().is_empty());
}

#[tokio::test]
async fn names_with_empty_segments_are_not_made_anew() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x", "x").await;
    for name in ["a//b", "/lead", "//lead", "trail//", "/"] {
        for verb in ["move", "copy"] {
            let body = json!({ "bucketId": "b", "sourceKey": "x", "destinationKey": name });
            let call = storage.post(&format!("/object/{verb}")).service();
            let answer = call.json(&body).send().await;
            answer.refused("400", "InvalidKey");
        }
        let resumable = storage
            .post("/upload/resumable")
            .service()
            .header("tus-resumable", "1.0.0")
            .header("upload-length", "1")
            .header(
                "upload-metadata",
                &format!(
                    "bucketName Yg==,objectName {}",
                    BASE64_STANDARD.encode(name)
                ),
            );
        assert_eq!(resumable.send().await.status, 400);
        let escaped = name.replace('/', "%2F");
        let put = storage.post(&format!("/object/b/{escaped}")).service();
        let put = put.bytes("text/plain", "x").send().await;
        put.refused("400", "InvalidKey");
        let sign = storage.post(&format!("/object/upload/sign/b/{escaped}"));
        sign.service().send().await.refused("400", "InvalidKey");
    }
    // A folder's own name stays possible, as S3 clients make it.
    storage.put("b/folder/", "").await;
    // What the original has made can be renamed and deleted.
    for name in ["old//one", "old//two"] {
        storage
            .sql(&format!(
                "update storage.objects set name = '{name}' where name in ('x', 'folder/') and
                   name = (select min(name) from storage.objects where name in ('x', 'folder/'))"
            ))
            .await;
    }
    let delete = storage.call("DELETE", "/object/b").service();
    let deleted = delete.json(&json!({ "prefixes": ["old//one"] })).send();
    assert_eq!(deleted.await.ok().json()[0]["name"], "old//one");
    let info = storage.get("/object/info/b/old%2F%2Ftwo").service();
    info.send().await.ok();
}

#[tokio::test]
async fn a_bucket_may_have_the_name_of_a_route() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    for name in [
        "public",
        "authenticated",
        "info",
        "sign",
        "upload",
        "list",
        "list-v2",
        "move",
        "copy",
    ] {
        storage.bucket(name).await;
        for path in ["a/b.txt", "x.txt"] {
            let path = format!("{name}/{path}");
            // The routes of `POST` are those of the original, too.
            let method = if matches!(name, "sign" | "list" | "list-v2") {
                "PUT"
            } else {
                "POST"
            };
            let made = storage.call(method, &format!("/object/{path}")).service();
            let made = made.bytes("text/plain", "one").send().await.ok();
            assert_eq!(made.json()["Key"], path);
            let changed = storage.call("PUT", &format!("/object/{path}")).service();
            changed.bytes("text/plain", "two").send().await.ok();
            let got = storage.get(&format!("/object/authenticated/{path}"));
            assert_eq!(got.service().send().await.ok().text(), "two");
            let gone = storage.call("DELETE", &format!("/object/{path}")).service();
            gone.send().await.ok();
        }
        storage.replace(&format!("{name}/y"), "y").await;
        let many = storage.call("DELETE", &format!("/object/{name}")).service();
        let many = many.json(&json!({ "prefixes": ["y"] })).send().await.ok();
        assert_eq!(many.json()[0]["name"], "y");
    }
    assert!(storage.files().is_empty());
    let nothing = storage.call("PATCH", "/object/public/a/b").service();
    assert_eq!(nothing.send().await.status, 404);
}
