//! `POST` and `PUT /object/{bucket}/{name}`.

use base64::Engine as _;
use serde_json::json;

use crate::support::{Storage, USER_A, user};

/// A form as browsers send it.
fn form(parts: &[(&str, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(head, text)| format!("--XX\r\n{head}\r\n\r\n{text}\r\n"))
        .collect();
    format!("{parts}--XX--\r\n")
}

const FORM: &str = "multipart/form-data; boundary=XX";

#[tokio::test]
async fn a_body_becomes_an_object_with_everything_that_is_known_of_it() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let metadata = base64::prelude::BASE64_STANDARD.encode(json!({ "a": [1, "ü"] }).to_string());
    let made = storage
        .post("/object/b/folder/h%C3%A9llo%20w%C3%B6rld.txt")
        .service()
        .header("cache-control", "max-age=60")
        .header("x-metadata", &metadata)
        .bytes("text/plain; charset=utf-8", "hello")
        .send()
        .await
        .ok()
        .json();
    assert_eq!(made["Key"], "b/folder/héllo wörld.txt");
    let info = storage
        .get("/object/info/b/folder/h%C3%A9llo%20w%C3%B6rld.txt")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(info["id"], made["Id"]);
    assert_eq!(info["name"], "folder/héllo wörld.txt");
    assert_eq!(info["size"], 5);
    assert_eq!(info["content_type"], "text/plain; charset=utf-8");
    assert_eq!(info["cache_control"], "max-age=60");
    assert_eq!(info["etag"], "\"5d41402abc4b2a76b9719d911017c592\"");
    assert_eq!(info["metadata"], json!({ "a": [1, "ü"] }));
    assert_eq!(info["bucket_id"], "b");
    let row = storage.database.superuser().await;
    let row = row
        .query_one(
            "select path_tokens, metadata::text from storage.objects",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, Vec<String>>(0), ["folder", "héllo wörld.txt"]);
    for field in [
        "eTag",
        "size",
        "mimetype",
        "cacheControl",
        "lastModified",
        "contentLength",
        "httpStatusCode",
    ] {
        assert!(row.get::<_, String>(1).contains(field), "{field}");
    }
}

#[tokio::test]
async fn the_file_of_a_form_becomes_an_object() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let body = form(&[
        (
            "Content-Disposition: form-data; name=\"cacheControl\"",
            "3600",
        ),
        (
            "Content-Disposition: form-data; name=\"metadata\"",
            "{\"k\":\"v\"}",
        ),
        (
            "Content-Disposition: form-data; name=\"\"; filename=\"x.png\"\r\nContent-Type: image/png",
            "pixels",
        ),
    ]);
    storage
        .post("/object/b/x.png")
        .service()
        .bytes(FORM, body)
        .send()
        .await
        .ok();
    let info = storage
        .get("/object/info/b/x.png")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(info["content_type"], "image/png");
    assert_eq!(info["cache_control"], "max-age=3600");
    assert_eq!(info["metadata"], json!({ "k": "v" }));
    assert_eq!(
        storage
            .get("/object/b/x.png")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "pixels"
    );
}

#[tokio::test]
async fn an_object_is_replaced_only_by_upsert_or_put() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let post = || storage.post("/object/b/x.txt").service();
    let first = post().bytes("text/plain", "one").send().await.ok().json();
    post()
        .bytes("text/plain", "two")
        .send()
        .await
        .refused("409", "KeyAlreadyExists");
    assert_eq!(
        storage
            .get("/object/b/x.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "one"
    );
    let second = post()
        .header("x-upsert", "true")
        .bytes("text/plain", "two")
        .send()
        .await
        .ok()
        .json();
    assert_eq!(first["Id"], second["Id"], "the row stays the same");
    storage
        .call("PUT", "/object/b/x.txt")
        .service()
        .bytes("text/plain", "three")
        .send()
        .await
        .ok();
    storage
        .call("PUT", "/object/b/new.txt")
        .service()
        .bytes("text/plain", "new")
        .send()
        .await
        .ok();
    assert_eq!(
        storage
            .get("/object/b/x.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "three"
    );
    assert_eq!(storage.files().len(), 2, "what was replaced is gone");
}

#[tokio::test]
async fn limits_of_project_and_bucket_hold_for_bodies_forms_and_streams() {
    let Some(storage) = Storage::start_with(|settings| settings.file_size_limit = 1000).await
    else {
        return;
    };
    storage.bucket("project").await;
    let body = json!({ "name": "small", "file_size_limit": 10 });
    storage
        .post("/bucket")
        .service()
        .json(&body)
        .send()
        .await
        .ok();
    for (path, most) in [("/object/project/x", 1000), ("/object/small/x", 10)] {
        let up = |body: String| {
            storage
                .call("PUT", path)
                .service()
                .bytes("text/plain", body)
        };
        up("x".repeat(most)).send().await.ok();
        up("x".repeat(most + 1))
            .send()
            .await
            .refused("413", "EntityTooLarge");
        let head = "Content-Disposition: form-data; name=\"\"; filename=\"x\"";
        let body = form(&[(head, &"x".repeat(most + 1))]);
        storage
            .call("PUT", path)
            .service()
            .bytes(FORM, body)
            .send()
            .await
            .refused("413", "EntityTooLarge");
        // Without a length.
        let stream = bunbun_http::body::full("x".repeat(most + 1));
        storage
            .call("PUT", path)
            .service()
            .stream("text/plain", stream)
            .send()
            .await
            .refused("413", "EntityTooLarge");
        let size = storage
            .get(&path.replace("object", "object/info"))
            .service()
            .send()
            .await
            .ok()
            .json()["size"]
            .clone();
        assert_eq!(size, most, "what was there stays");
    }
    assert_eq!(storage.files().len(), 2);
}

#[tokio::test]
async fn types_that_a_bucket_does_not_take_are_refused() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let body = json!({ "name": "images", "allowed_mime_types": ["image/*", "application/pdf"] });
    storage
        .post("/bucket")
        .service()
        .json(&body)
        .send()
        .await
        .ok();
    let up = |mime: &str| {
        storage
            .call("PUT", "/object/images/x")
            .service()
            .bytes(mime, "x")
    };
    for good in ["image/png", "IMAGE/svg+xml", "application/pdf"] {
        up(good).send().await.ok();
    }
    let refused = up("text/html").send().await;
    refused.refused("415", "InvalidMimeType");
    assert_eq!(refused.json()["error"], "invalid_mime_type");
    assert_eq!(
        refused.json()["message"],
        "mime type text/html is not supported"
    );
}

#[tokio::test]
async fn faulty_uploads_are_refused() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let up = |path: &str| storage.post(path).service().bytes("text/plain", "x");
    up("/object/none/x")
        .send()
        .await
        .refused("404", "NoSuchBucket");
    up("/object/b/a%23b")
        .send()
        .await
        .refused("400", "InvalidKey");
    up("/object/b/%FF")
        .send()
        .await
        .refused("400", "InvalidKey");
    up(&format!("/object/b/{}", "k".repeat(1025)))
        .send()
        .await
        .refused("400", "InvalidKey");
    up(&format!("/object/b/{}", "k".repeat(1024)))
        .send()
        .await
        .ok();
    let denied = storage
        .post("/object/b/x")
        .token("nonsense")
        .bytes("text/plain", "x")
        .send()
        .await;
    denied.refused("403", "AccessDenied");
    assert_eq!(denied.json()["error"], "Unauthorized");
    let none = storage
        .post("/object/b/x")
        .bytes("text/plain", "x")
        .send()
        .await;
    none.refused("400", "InvalidRequest");
    assert_eq!(
        none.json()["message"],
        "headers must have required property 'authorization'"
    );
    for body in [
        "",
        "--XX--\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--XX--\r\n",
        "--XX\r\nbroken",
    ] {
        storage
            .post("/object/b/x")
            .service()
            .bytes(FORM, body)
            .send()
            .await
            .refused("400", "InvalidRequest");
    }
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn objects_belong_to_who_uploads_them() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let path = format!("/object/b/{USER_A}/x.txt");
    storage
        .post(&path)
        .token(&user(USER_A))
        .bytes("text/plain", "x")
        .send()
        .await
        .ok();
    let row = storage.database.superuser().await;
    let row = row
        .query_one("select owner::text, owner_id from storage.objects", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, String>(0), row.get::<_, String>(1)),
        (USER_A.to_owned(), USER_A.to_owned())
    );
}

#[tokio::test]
async fn policies_see_what_is_uploaded_and_by_which_operation() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage
        .sql("create policy p on storage.objects for insert to authenticated with check (
                metadata ->> 'mimetype' = 'image/png' and storage.operation() = 'storage.object.upload'
                and current_setting('request.method') = 'POST'
                and current_setting('request.headers')::json ->> 'x-tag' = 'yes'
                and storage.extension(name) = 'png' and storage.filename(name) = 'x.png')
              ; create policy r on storage.objects for select to authenticated using (true)")
        .await;
    let up = |mime: &str, tag: &str| {
        storage
            .post("/object/b/a/x.png")
            .token(&user(USER_A))
            .header("x-tag", tag)
            .bytes(mime, "x")
    };
    up("image/jpeg", "yes")
        .send()
        .await
        .refused("403", "AccessDenied");
    up("image/png", "no")
        .send()
        .await
        .refused("403", "AccessDenied");
    up("image/png", "yes").send().await.ok();
}
