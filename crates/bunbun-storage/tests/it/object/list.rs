//! `POST /object/list/{bucket}` and `/object/list-v2/{bucket}`.

use serde_json::{Value, json};

use crate::support::{Storage, USER_A, USER_B, user};

async fn list(storage: &Storage, body: Value) -> String {
    let list = storage
        .post("/object/list/b")
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    let line = |entry: &Value| {
        let name = entry["name"].as_str().unwrap();
        if entry["id"].is_null() {
            format!("{name}/")
        } else {
            name.to_owned()
        }
    };
    list.as_array()
        .unwrap()
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join(" ")
}

async fn tree(storage: &Storage) {
    storage.bucket("b").await;
    for name in [
        "a.txt",
        "folder/b.txt",
        "folder/c.txt",
        "folder/deep/d.txt",
        "folder-2/e.txt",
        "z.txt",
        "%C3%A4/f.txt",
    ] {
        storage.put(&format!("b/{name}"), name).await;
    }
}

#[tokio::test]
async fn one_level_of_a_folder_is_listed() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    tree(&storage).await;
    assert_eq!(
        list(&storage, json!({ "prefix": "" })).await,
        "a.txt folder-2/ folder/ z.txt ä/"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "folder" })).await,
        "b.txt c.txt deep/"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "folder/" })).await,
        "b.txt c.txt deep/"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "/folder/deep" })).await,
        "d.txt"
    );
    assert_eq!(list(&storage, json!({ "prefix": "ä" })).await, "f.txt");
    assert_eq!(list(&storage, json!({ "prefix": "none" })).await, "");
    assert_eq!(
        list(&storage, json!({ "prefix": "fold" })).await,
        "",
        "a prefix is a folder"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "", "search": "fold" })).await,
        "folder-2/ folder/"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "folder", "search": "b" })).await,
        "b.txt"
    );
    assert_eq!(
        list(&storage, json!({ "prefix": "", "limit": 2, "offset": 1 })).await,
        "folder-2/ folder/"
    );
    let desc = json!({ "prefix": "", "sortBy": { "column": "name", "order": "desc" } });
    assert_eq!(
        list(&storage, desc).await,
        "ä/ z.txt folder/ folder-2/ a.txt"
    );
    let dates = json!({ "prefix": "", "sortBy": { "column": "created_at", "order": "desc" } });
    assert_eq!(
        list(&storage, dates).await,
        "ä/ folder/ folder-2/ z.txt a.txt"
    );
    let lines = storage
        .post("/object/list/b")
        .service()
        .json(&json!({ "prefix": "folder", "limit": 1 }))
        .send()
        .await
        .json();
    assert_eq!(lines[0]["metadata"]["mimetype"], "text/plain");
    for bad in [
        json!({}),
        json!({ "prefix": "", "limit": 0 }),
        json!({ "prefix": "", "sortBy": { "column": "owner" } }),
        json!({ "prefix": "", "sortBy": { "order": "up" } }),
    ] {
        storage
            .post("/object/list/b")
            .service()
            .json(&bad)
            .send()
            .await
            .refused("400", "InvalidRequest");
    }
}

#[tokio::test]
async fn names_with_wildcards_and_backslashes_are_only_names() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    for name in ["a_b/x", "aXb/y", "100!/z"] {
        storage.put(&format!("b/{name}"), name).await;
    }
    assert_eq!(list(&storage, json!({ "prefix": "a_b" })).await, "x");
    assert_eq!(list(&storage, json!({ "prefix": "%" })).await, "");
    assert_eq!(
        list(
            &storage,
            json!({ "prefix": "'; drop table storage.objects; --" })
        )
        .await,
        ""
    );
}

async fn pages(storage: &Storage, mut body: Value) -> Vec<String> {
    let mut pages = Vec::new();
    loop {
        let page = storage
            .post("/object/list-v2/b")
            .service()
            .json(&body)
            .send()
            .await
            .ok()
            .json();
        let names = |field: &str| {
            let names = page[field]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        pages.push([names("folders"), names("objects")].concat().join(" "));
        if page["hasNext"] == false {
            assert!(page.get("nextCursor").is_none());
            return pages;
        }
        body["cursor"] = page["nextCursor"].clone();
    }
}

#[tokio::test]
async fn pages_follow_a_cursor() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    tree(&storage).await;
    assert_eq!(
        pages(&storage, json!({ "with_delimiter": true })).await,
        ["folder-2/ folder/ ä/ a.txt z.txt"]
    );
    assert_eq!(
        pages(&storage, json!({ "with_delimiter": true, "limit": 2 })).await,
        ["folder-2/ a.txt", "folder/ z.txt", "ä/"]
    );
    assert_eq!(
        pages(&storage, json!({ "with_delimiter": true, "limit": 2, "sortBy": { "column": "name", "order": "desc" } })).await,
        ["ä/ z.txt", "folder-2/ folder/", "a.txt"].map(str::to_owned).to_vec().into_iter().map(|p| if p == "folder-2/ folder/" { "folder/ folder-2/".to_owned() } else { p }).collect::<Vec<_>>()
    );
    assert_eq!(
        pages(&storage, json!({ "prefix": "folder", "limit": 3 })).await,
        [
            "folder-2/e.txt folder/b.txt folder/c.txt",
            "folder/deep/d.txt"
        ]
    );
    assert_eq!(
        pages(
            &storage,
            json!({ "prefix": "folder/", "with_delimiter": true })
        )
        .await,
        ["folder/deep/ folder/b.txt folder/c.txt"]
    );
    let dated = json!({ "limit": 3, "sortBy": { "column": "created_at", "order": "desc" } });
    assert_eq!(
        pages(&storage, dated).await,
        [
            "ä/f.txt z.txt folder-2/e.txt",
            "folder/deep/d.txt folder/c.txt folder/b.txt",
            "a.txt"
        ]
    );
    for bad in ["x", "e30", "eyJuIjotMSwibyI6ZmFsc2V9"] {
        let body = json!({ "cursor": bad });
        storage
            .post("/object/list-v2/b")
            .service()
            .json(&body)
            .send()
            .await
            .refused("400", "InvalidParameter");
    }
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    for id in [USER_A, USER_B] {
        let path = format!("/object/b/{id}/x.txt");
        storage
            .post(&path)
            .token(&user(id))
            .bytes("text/plain", "x")
            .send()
            .await
            .ok();
    }
    let body = json!({ "prefix": "" });
    let list = storage
        .post("/object/list/b")
        .token(&user(USER_A))
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["name"], USER_A);
    let list = storage
        .post("/object/list/b")
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2);
}
