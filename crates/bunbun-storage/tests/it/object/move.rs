//! `POST /object/move` and `POST /object/copy`.

use serde_json::{Value, json};

use crate::support::{Storage, USER_A, USER_B, user};

fn body(from: &str, to: &str) -> Value {
    json!({ "bucketId": "b", "sourceKey": from, "destinationKey": to })
}

#[tokio::test]
async fn an_object_gets_another_name_and_bucket_and_keeps_everything_else() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.bucket("other").await;
    let made = storage.put("b/x.txt", "hello").await;
    let moved = storage
        .post("/object/move")
        .service()
        .json(&body("x.txt", "ordner/ü.txt"))
        .send()
        .await
        .ok()
        .json();
    assert_eq!(moved["message"], "Successfully moved");
    assert_eq!(moved["Id"], made["Id"]);
    storage
        .get("/object/b/x.txt")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    assert_eq!(
        storage
            .get("/object/b/ordner/%C3%BC.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
    let mut across = body("ordner/ü.txt", "x.txt");
    across["destinationBucket"] = "other".into();
    storage
        .post("/object/move")
        .service()
        .json(&across)
        .send()
        .await
        .ok();
    assert_eq!(
        storage
            .get("/object/other/x.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
    assert_eq!(storage.files().len(), 1);
    // Onto itself: nothing happens.
    let mut same = body("x.txt", "x.txt");
    same["bucketId"] = "other".into();
    storage
        .post("/object/move")
        .service()
        .json(&same)
        .send()
        .await
        .ok();
    assert_eq!(
        storage
            .get("/object/other/x.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
}

#[tokio::test]
async fn moves_that_cannot_be_are_refused() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x.txt", "x").await;
    storage.put("b/y.txt", "y").await;
    let go = |body: Value| storage.post("/object/move").service().json(&body);
    go(body("x.txt", "y.txt"))
        .send()
        .await
        .refused("409", "KeyAlreadyExists");
    go(body("none", "z.txt"))
        .send()
        .await
        .refused("404", "NoSuchKey");
    go(body("x.txt", "../z"))
        .send()
        .await
        .refused("400", "InvalidKey");
    go(body("x.txt", ""))
        .send()
        .await
        .refused("400", "InvalidKey");
    let mut nowhere = body("x.txt", "x.txt");
    nowhere["destinationBucket"] = "none".into();
    go(nowhere).send().await.refused("404", "NoSuchBucket");
    go(json!({ "bucketId": "b" }))
        .send()
        .await
        .refused("400", "InvalidRequest");
    assert_eq!(
        storage
            .get("/object/b/y.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "y"
    );
    assert_eq!(storage.files().len(), 2);
}

#[tokio::test]
async fn a_copy_is_an_object_of_its_own() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.bucket("other").await;
    let made = storage.put("b/x.txt", "hello").await;
    let mut wanted = body("x.txt", "copy.txt");
    wanted["destinationBucket"] = "other".into();
    let copied = storage
        .post("/object/copy")
        .service()
        .json(&wanted)
        .send()
        .await
        .ok()
        .json();
    assert_eq!(copied["Key"], "other/copy.txt");
    assert_ne!(copied["Id"], made["Id"]);
    assert_eq!(copied["name"], "copy.txt");
    storage.put("b/x.txt", "changed").await;
    storage
        .call("DELETE", "/object/b/x.txt")
        .service()
        .send()
        .await
        .ok();
    let copy = storage
        .get("/object/other/copy.txt")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(
        (copy.text().as_str(), copy.header("content-type")),
        ("hello", "text/plain")
    );
    let go = |body: Value| storage.post("/object/copy").service().json(&body);
    let mut again =
        json!({ "bucketId": "other", "sourceKey": "copy.txt", "destinationKey": "copy.txt" });
    go(again.clone())
        .send()
        .await
        .refused("409", "KeyAlreadyExists");
    again["metadata"] = json!({ "mimetype": "text/css", "cacheControl": "max-age=1" });
    go(again).header("x-upsert", "true").send().await.ok();
    let copy = storage
        .get("/object/other/copy.txt")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(
        (copy.header("content-type"), copy.header("cache-control")),
        ("text/css", "max-age=1")
    );
    assert_eq!(copy.text(), "hello");
    go(body("none", "z"))
        .send()
        .await
        .refused("404", "NoSuchKey");
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn users_move_and_copy_only_what_is_theirs_to_where_they_may_write() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let own = format!("{USER_A}/x.txt");
    storage
        .post(&format!("/object/b/{own}"))
        .token(&user(USER_A))
        .bytes("text/plain", "x")
        .send()
        .await
        .ok();
    let go = |what: &str, who: &str, to: &str| {
        storage
            .post(&format!("/object/{what}"))
            .token(&user(who))
            .json(&body(&own, to))
    };
    for what in ["move", "copy"] {
        go(what, USER_B, &format!("{USER_B}/x.txt"))
            .send()
            .await
            .refused("404", "NoSuchKey");
        go(what, USER_A, &format!("{USER_B}/x.txt"))
            .send()
            .await
            .refused("403", "AccessDenied");
    }
    go("copy", USER_A, &format!("{USER_A}/y.txt"))
        .send()
        .await
        .ok();
    go("move", USER_A, &format!("{USER_A}/z.txt"))
        .send()
        .await
        .ok();
    assert_eq!(storage.files().len(), 2);
}

#[tokio::test]
async fn another_buckets_limits_hold_for_what_is_moved_into_it() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let limits =
        json!({ "name": "small", "file_size_limit": 10, "allowed_mime_types": ["text/plain"] });
    storage
        .post("/bucket")
        .service()
        .json(&limits)
        .send()
        .await
        .ok();
    storage.put("b/large", "more than ten bytes").await;
    storage.put("b/fits", "ten bytes!").await;
    let image = storage.post("/object/b/image").service();
    image.bytes("image/png", "png").send().await.ok();
    for verb in ["move", "copy"] {
        let go = |name: &str| {
            let mut body = body(name, &format!("{verb}-{name}"));
            body["destinationBucket"] = "small".into();
            storage
                .post(&format!("/object/{verb}"))
                .service()
                .json(&body)
        };
        go("large").send().await.refused("413", "EntityTooLarge");
        go("image").send().await.refused("415", "InvalidMimeType");
    }
    let mut fits = body("fits", "fits");
    fits["destinationBucket"] = "small".into();
    let moved = storage.post("/object/move").service().json(&fits);
    moved.send().await.ok();
    // What is in a bucket may be renamed there, even when its limits have become narrower.
    let narrower = json!({ "file_size_limit": 1, "allowed_mime_types": ["image/*"] });
    let changed = storage.call("PUT", "/bucket/small").service();
    changed.json(&narrower).send().await.ok();
    let mut renamed = body("fits", "still fits");
    renamed["bucketId"] = "small".into();
    let moved = storage.post("/object/move").service().json(&renamed);
    moved.send().await.ok();
}
