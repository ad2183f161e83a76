//! `DELETE /object/{bucket}/{name}` and `DELETE /object/{bucket}`.

use serde_json::json;

use crate::support::{Storage, USER_A, USER_B, user};

#[tokio::test]
async fn deleted_objects_are_gone_with_their_bytes() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for name in ["a", "b/c", "d"] {
        storage.put(&format!("b/{name}"), name).await;
    }
    let one = storage
        .call("DELETE", "/object/b/a")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(one.json()["message"], "Successfully deleted");
    storage
        .call("DELETE", "/object/b/a")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    let body = json!({ "prefixes": ["b/c", "d", "none"] });
    let many = storage
        .call("DELETE", "/object/b")
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    let names: Vec<_> = many
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["b/c", "d"]);
    assert_eq!(many[0]["bucket_id"], "b");
    assert!(storage.files().is_empty());
    for body in [
        json!({ "prefixes": [] }),
        json!({}),
        json!({ "prefixes": vec!["x"; 1001] }),
    ] {
        storage
            .call("DELETE", "/object/b")
            .service()
            .json(&body)
            .send()
            .await
            .refused("400", "InvalidRequest");
    }
}

#[tokio::test]
async fn users_delete_only_what_is_theirs() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let name = format!("{USER_A}/x.txt");
    storage
        .post(&format!("/object/b/{name}"))
        .token(&user(USER_A))
        .bytes("text/plain", "x")
        .send()
        .await
        .ok();
    let path = format!("/object/b/{name}");
    storage
        .call("DELETE", &path)
        .token(&user(USER_B))
        .send()
        .await
        .refused("404", "NoSuchKey");
    let body = json!({ "prefixes": [name] });
    let many = storage
        .call("DELETE", "/object/b")
        .token(&user(USER_B))
        .json(&body)
        .send()
        .await
        .ok();
    assert_eq!(many.json(), json!([]));
    // Seen by everybody, deleted by its owner.
    storage
        .sql("create policy all_read on storage.objects for select to authenticated using (true)")
        .await;
    storage
        .call("DELETE", &path)
        .token(&user(USER_B))
        .send()
        .await
        .refused("403", "AccessDenied");
    assert_eq!(storage.files().len(), 1);
    storage
        .call("DELETE", &path)
        .token(&user(USER_A))
        .send()
        .await
        .ok();
    assert!(storage.files().is_empty());
}

#[tokio::test]
async fn of_those_who_delete_at_once_the_others_find_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for _ in 0..4 {
        storage.put("b/x", "x").await;
        let deletions = (0..8).map(|_| storage.call("DELETE", "/object/b/x").service().send());
        let answers = futures_util::future::join_all(deletions).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
        assert_eq!(done.len(), 1);
        for answer in refused {
            answer.refused("404", "NoSuchKey");
        }
    }
}
