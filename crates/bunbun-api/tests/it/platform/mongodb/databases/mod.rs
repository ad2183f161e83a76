//! `/api/platform/mongodb/{ref}/databases`, collections and what is asked of them.

mod documents;

use http::Method;
use serde_json::json;

use super::{Site, encoded};

#[tokio::test]
async fn databases_and_collections_are_listed_created_and_dropped() {
    for site in Site::each().await {
        let reply = site.post("/collections", &json!({ "name": "b" })).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        site.insert("a", &json!([{ "x": 1 }, { "x": 2 }])).await;
        let list = site.get("/collections").await.json();
        let rows = list["collections"].as_array().expect("an array");
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row["name"].as_str(), row["documents"].as_u64()))
            .collect();
        assert_eq!(seen, [(Some("a"), Some(2)), (Some("b"), Some(0))]);
        let first = site.get("/collections?limit=1").await.json();
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let second = site
            .get(&format!("/collections?limit=1&cursor={cursor}"))
            .await
            .json();
        assert_eq!(
            (&second["collections"][0]["name"], &second["next_cursor"]),
            (&json!("b"), &json!(null))
        );
        let call = site
            .api
            .get("/api/platform/mongodb/default/databases")
            .owner();
        let databases = call.header("cache-control", "no-cache").send().await.json();
        let names = databases["databases"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|row| &row["name"]);
        assert!(
            names.into_iter().any(|name| name == &json!(site.database)),
            "{databases}"
        );
        let stats = site.get("/stats").await.json();
        assert_eq!(
            (&stats["collections"], &stats["documents"]),
            (&json!(2), &json!(2))
        );
        let drop = |query: &str| {
            site.call(Method::DELETE, &format!("/collections/a{query}"))
                .send()
        };
        assert_eq!(
            drop("").await.error(),
            (400, "CONFIRMATION_REQUIRED".to_owned())
        );
        assert_eq!(
            drop("?confirm=b").await.error(),
            (400, "CONFIRMATION_REQUIRED".to_owned())
        );
        assert_eq!(drop("?confirm=a").await.status, 200);
        assert_eq!(
            drop("?confirm=a").await.error(),
            (404, "COLLECTION_NOT_FOUND".to_owned())
        );
    }
}

#[tokio::test]
async fn questions_have_answers() {
    for site in Site::each().await {
        site.insert("orders", &json!([{ "_id": 1, "s": "open" }, { "_id": 2, "s": "open" }, { "_id": 3, "s": "closed" }])).await;
        let filter = encoded(r#"{"s":"open"}"#);
        assert_eq!(
            site.get(&format!("/collections/orders/count?filter={filter}"))
                .await
                .json(),
            json!({ "count": 2 })
        );
        let values = site
            .get("/collections/orders/distinct?key=s&limit=1")
            .await
            .json();
        let cursor = values["next_cursor"].as_str().expect("a cursor");
        let rest = site
            .get(&format!(
                "/collections/orders/distinct?key=s&limit=1&cursor={cursor}"
            ))
            .await
            .json();
        let mut all = [
            values["values"][0].to_string(),
            rest["values"][0].to_string(),
        ];
        all.sort();
        assert_eq!(
            (all.join(" "), &rest["next_cursor"]),
            (r#""closed" "open""#.to_owned(), &json!(null))
        );
        let body = json!({ "pipeline": [{ "$match": { "s": "open" } }, { "$sort": { "_id": 1 } }], "limit": 1 });
        let page = site
            .post("/collections/orders/aggregate", &body)
            .await
            .json();
        assert_eq!(page["documents"], json!([{ "_id": 1, "s": "open" }]));
        assert!(page["next_cursor"].is_string());
        let schema = site.get("/collections/orders/schema").await.json();
        assert_eq!(
            (&schema["sampled"], &schema["fields"][1]["path"]),
            (&json!(3), &json!("s"))
        );
        assert_eq!(schema["fields"][1]["types"][0]["type"], "string");
        // A write of ours is seen at once.
        site.insert("orders", &json!([{ "_id": 4 }])).await;
        assert_eq!(
            site.get("/collections/orders/schema").await.json()["sampled"],
            json!(4)
        );
    }
}

#[tokio::test]
async fn plans_and_indexes() {
    let Some(site) = Site::ferretdb().await else {
        return;
    };
    site.insert("orders", &json!([{ "_id": 1, "c": 1 }])).await;
    let plan = site
        .post(
            "/collections/orders/explain",
            &json!({ "find": { "filter": { "c": 1 } } }),
        )
        .await;
    assert_eq!(plan.status, 200, "{}", plan.text());
    assert!(plan.json()["queryPlanner"].is_object());
    for body in [
        json!({}),
        json!({ "find": {}, "count": {} }),
        json!({ "find": {}, "verbosity": "x" }),
        json!({ "mapReduce": "x" }),
    ] {
        let reply = site.post("/collections/orders/explain", &body).await;
        assert_eq!(
            reply.error(),
            (400, "VALIDATION_FAILED".to_owned()),
            "{body}"
        );
    }
    let body = json!({ "key": { "c": 1 }, "options": { "unique": true } });
    let reply = site.post("/collections/orders/indexes", &body).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (201, json!({ "name": "c_1" }))
    );
    let list = site.get("/collections/orders/indexes").await.json();
    assert_eq!(list["indexes"].as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(
        site.call(Method::DELETE, "/collections/orders/indexes/c_1")
            .send()
            .await
            .status,
        200
    );
    let reply = site
        .call(Method::DELETE, "/collections/orders/indexes/c_1")
        .send()
        .await;
    assert_eq!(reply.error(), (404, "INDEX_NOT_FOUND".to_owned()));
    let reply = site.get("/collections/nowhere/indexes").await;
    assert_eq!(reply.error(), (404, "COLLECTION_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_pipeline_that_writes_is_in_the_audit_log() {
    let Some(site) = Site::java().await else {
        return;
    };
    site.insert("orders", &json!([{ "_id": 1, "secret": "hunter2" }]))
        .await;
    let body = json!({ "pipeline": [{ "$match": { "secret": "hunter2" } }, { "$out": "copies" }] });
    let reply = site.post("/collections/orders/aggregate", &body).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "documents": [], "next_cursor": null }))
    );
    assert_eq!(
        site.get("/collections/copies/count").await.json(),
        json!({ "count": 1 })
    );
    let database = site.api.database.as_ref().expect("a database");
    let client = database.superuser().await;
    // How a request ended is added when its answer has gone.
    let mut rows: Vec<String> = Vec::new();
    for _ in 0..500 {
        let query = "select to_jsonb(a)::text as row from platform.audit_log a";
        let found = client.query(query, &[]).await.expect("rows");
        rows = found.iter().map(|row| row.get("row")).collect();
        if rows.iter().all(|row| !row.contains("\"status\": null")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let of = |action: &str| rows.iter().filter(|row| row.contains(action)).count();
    let counts = (of("mongodb.aggregate.write"), of("mongodb.document.insert"));
    assert_eq!(counts, (1, 1), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("hunter2")), "{rows:?}");
}

#[tokio::test]
async fn a_bulk_tells_what_it_did() {
    for site in Site::each().await {
        let body = json!({ "ordered": false, "operations": [
            { "insert_one": { "document": { "_id": 1 } } },
            { "insert_one": { "document": { "_id": 1 } } },
            { "update_one": { "filter": { "_id": 1 }, "update": { "$set": { "a": 1 } } } },
            { "replace_one": { "filter": { "_id": 2 }, "replacement": { "b": 1 }, "upsert": true } },
            { "delete_one": { "filter": { "_id": 1 } } },
        ] });
        let reply = site.post("/collections/bulk/bulk", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let done = reply.json();
        let counts = ["inserted", "matched", "modified", "deleted"]
            .map(|key| done[key].as_u64().unwrap_or(99));
        assert_eq!(counts, [1, 1, 1, 1], "{done}");
        let ids = done["ids"].as_array().expect("an array");
        assert_eq!(
            (&ids[0], &ids[1]["id"]),
            (&json!({ "index": 0, "id": 1 }), &json!(2))
        );
        // FerretDB says 0 of every upsert of a command.
        if !site.is_ferretdb {
            assert_eq!(ids[1]["index"], json!(3));
        }
        assert_eq!(
            (&done["errors"][0]["index"], &done["errors"][0]["code"]),
            (&json!(1), &json!(11000))
        );
        for operation in [
            json!({}),
            json!({ "drop": {} }),
            json!({ "insert_one": 1 }),
            json!({ "insert_one": { "document": {} }, "delete_one": { "filter": {} } }),
            json!({ "update_one": { "filter": {}, "update": { "a": 1 } } }),
            json!({ "replace_one": { "filter": {}, "replacement": { "$set": {} } } }),
            json!({ "delete_many": {} }),
        ] {
            let reply = site
                .post(
                    "/collections/bulk/bulk",
                    &json!({ "operations": [operation] }),
                )
                .await;
            assert_eq!(
                reply.error(),
                (400, "VALIDATION_FAILED".to_owned()),
                "{operation}"
            );
        }
    }
}
