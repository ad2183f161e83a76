//! `/bucket`.

use serde_json::json;

use crate::support::{Storage, USER_A, token, user};

#[tokio::test]
async fn buckets_are_made_shown_changed_and_deleted() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let body = json!({ "name": "avatars", "public": true, "file_size_limit": "1MB", "allowed_mime_types": ["image/*", ""] });
    let made = storage
        .post("/bucket")
        .service()
        .json(&body)
        .send()
        .await
        .ok();
    assert_eq!(made.json(), json!({ "name": "avatars" }));
    let shown = storage
        .get("/bucket/avatars")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(shown["id"], "avatars");
    assert_eq!(shown["public"], true);
    assert_eq!(shown["file_size_limit"], 1_000_000);
    assert_eq!(shown["allowed_mime_types"], json!(["image/*"]));
    assert_eq!(shown["type"], "STANDARD");
    assert!(shown["created_at"].as_str().unwrap().ends_with('Z'));

    let change = json!({ "public": false, "file_size_limit": null });
    storage
        .call("PUT", "/bucket/avatars")
        .service()
        .json(&change)
        .send()
        .await
        .ok();
    let shown = storage
        .get("/bucket/avatars")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(shown["public"], false);
    assert!(shown["file_size_limit"].is_null());
    assert_eq!(
        shown["allowed_mime_types"],
        json!(["image/*"]),
        "what is left out stays"
    );

    let deleted = storage
        .call("DELETE", "/bucket/avatars")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(deleted.json()["message"], "Successfully deleted");
    storage
        .get("/bucket/avatars")
        .service()
        .send()
        .await
        .refused("404", "NoSuchBucket");
    storage
        .call("DELETE", "/bucket/avatars")
        .service()
        .send()
        .await
        .refused("404", "NoSuchBucket");
    storage
        .call("PUT", "/bucket/avatars")
        .service()
        .json(&change)
        .send()
        .await
        .refused("404", "NoSuchBucket");
}

#[tokio::test]
async fn faulty_buckets_are_refused() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("there").await;
    let long = "b".repeat(101);
    for (body, status, code) in [
        (json!({ "name": "there" }), "409", "BucketAlreadyExists"),
        (
            json!({ "name": "other", "id": "there" }),
            "409",
            "BucketAlreadyExists",
        ),
        (json!({ "name": "a/b" }), "400", "InvalidBucketName"),
        (json!({ "name": ".." }), "400", "InvalidBucketName"),
        (json!({ "name": "" }), "400", "InvalidBucketName"),
        (json!({ "name": long }), "400", "InvalidBucketName"),
        (
            json!({ "name": "x", "file_size_limit": "1 parsec" }),
            "400",
            "InvalidRequest",
        ),
        (
            json!({ "name": "x", "file_size_limit": "1GB" }),
            "413",
            "EntityTooLarge",
        ),
        (
            json!({ "name": "x", "type": "ANALYTICS" }),
            "409",
            "FeatureNotEnabled",
        ),
        (json!({ "public": true }), "400", "InvalidRequest"),
        (json!([]), "400", "InvalidRequest"),
    ] {
        storage
            .post("/bucket")
            .service()
            .json(&body)
            .send()
            .await
            .refused(status, code);
    }
    let missing = storage
        .post("/bucket")
        .service()
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(
        missing.json()["message"],
        "body must have required property 'name'"
    );
    storage
        .post("/bucket")
        .service()
        .bytes("application/json", "{")
        .send()
        .await
        .refused("400", "InvalidRequest");
}

#[tokio::test]
async fn only_those_whom_a_policy_lets_see_and_make_buckets() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b1").await;
    let body = json!({ "name": "b2" });
    for token in [token("anon", None), user(USER_A)] {
        storage
            .post("/bucket")
            .token(&token)
            .json(&body)
            .send()
            .await
            .refused("403", "AccessDenied");
        assert_eq!(
            storage
                .get("/bucket")
                .token(&token)
                .send()
                .await
                .ok()
                .json(),
            json!([])
        );
        storage
            .get("/bucket/b1")
            .token(&token)
            .send()
            .await
            .refused("404", "NoSuchBucket");
        storage
            .call("DELETE", "/bucket/b1")
            .token(&token)
            .send()
            .await
            .refused("404", "NoSuchBucket");
    }
    storage
        .sql("create policy see on storage.buckets for select to authenticated using (true);
              create policy make on storage.buckets for insert to authenticated with check (owner_id = auth.uid()::text)")
        .await;
    let token = user(USER_A);
    storage
        .post("/bucket")
        .token(&token)
        .json(&body)
        .send()
        .await
        .ok();
    let list = storage
        .get("/bucket")
        .token(&token)
        .send()
        .await
        .ok()
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[1]["owner"], USER_A);
    // Seen, but not to be deleted: the row stays.
    assert_ne!(
        storage
            .call("DELETE", "/bucket/b1")
            .token(&token)
            .send()
            .await
            .status,
        200
    );
    storage.get("/bucket/b1").service().send().await.ok();
}

#[tokio::test]
async fn buckets_are_listed_page_by_page_in_an_order() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    for name in ["beta", "alpha", "gamma"] {
        storage.bucket(name).await;
    }
    let names = async |query: &str| {
        let list = storage
            .get(&format!("/bucket{query}"))
            .service()
            .send()
            .await
            .ok()
            .json();
        let names = list
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("").await, "alpha beta gamma");
    assert_eq!(names("/").await, "alpha beta gamma");
    assert_eq!(names("?sortColumn=created_at").await, "beta alpha gamma");
    assert_eq!(
        names("?sortColumn=name&sortOrder=desc&limit=1&offset=1").await,
        "beta"
    );
    assert_eq!(names("?search=AM").await, "gamma");
    for query in ["?limit=x", "?limit=-1", "?sortColumn=owner;drop"] {
        storage
            .get(&format!("/bucket{query}"))
            .service()
            .send()
            .await
            .refused("400", "InvalidRequest");
    }
}

#[tokio::test]
async fn a_bucket_is_emptied_before_it_is_deleted() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("full").await;
    for number in 0..3 {
        storage
            .put(&format!("full/{number}/x.txt"), "content")
            .await;
    }
    assert_eq!(storage.files().len(), 3);
    storage
        .call("DELETE", "/bucket/full")
        .service()
        .send()
        .await
        .refused("409", "ResourceNotEmpty");
    storage
        .post("/bucket/full/empty")
        .service()
        .send()
        .await
        .ok();
    assert!(storage.files().is_empty());
    storage
        .post("/bucket/none/empty")
        .service()
        .send()
        .await
        .refused("404", "NoSuchBucket");
    storage
        .call("DELETE", "/bucket/full")
        .service()
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn rows_are_not_deleted_behind_the_services_back() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x.txt", "content").await;
    let client = crate::support::pool(&storage.database).get().await.unwrap();
    for table in [
        "objects",
        "buckets",
        "s3_multipart_uploads",
        "s3_multipart_uploads_parts",
    ] {
        let refused = client
            .batch_execute(&format!("delete from storage.{table}"))
            .await
            .unwrap_err();
        let error = refused.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42501", "{table}");
        assert!(error.message().contains("Use the Storage API"), "{error}");
    }
    storage.sql("begin; set local storage.allow_delete_query = 'true'; delete from storage.objects; commit").await;
    assert_eq!(
        storage.count("select count(*) from storage.objects").await,
        0
    );
}

#[tokio::test]
async fn a_bucket_can_be_emptied_while_others_upload_and_empty_it() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for round in 0..4 {
        for number in 0..20 {
            storage.put(&format!("b/{round}/{number}"), "x").await;
        }
        let empty = || storage.post("/bucket/b/empty").service().send();
        let (one, two, three, _) = tokio::join!(empty(), empty(), empty(), async {
            for number in 0..10 {
                storage.put(&format!("b/{round}/{number}"), "again").await;
            }
        });
        for answer in [one, two, three] {
            answer.ok();
        }
    }
    // Who may see and not delete is told so.
    storage.put("b/x", "x").await;
    storage
        .sql(
            "create policy see on storage.objects for select to authenticated using (true);
             create policy buckets on storage.buckets for select to authenticated using (true)",
        )
        .await;
    storage
        .post("/bucket/b/empty")
        .token(&user(USER_A))
        .send()
        .await
        .refused("409", "InvalidRequest");
}
