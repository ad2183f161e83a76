//! `POST /api/platform/mongodb/{ref}/action/{action}`: as clients of the Atlas Data API call it.

use serde_json::{Value, json};

use super::Site;

async fn act(site: &Site, action: &str, members: Value) -> (u16, Value) {
    let mut body =
        json!({ "dataSource": "main", "database": site.database, "collection": "tasks" });
    body.as_object_mut()
        .expect("an object")
        .extend(members.as_object().expect("an object").clone());
    let path = format!("/api/platform/mongodb/default/action/{action}");
    let reply = site.api.post(&path).owner().json(&body).send().await;
    (reply.status.as_u16(), reply.json())
}

#[tokio::test]
async fn the_data_api_lives_on() {
    for site in Site::each().await {
        let (status, answer) = act(
            &site,
            "insertOne",
            json!({ "document": { "text": "a", "done": false } }),
        )
        .await;
        assert_eq!(status, 201);
        let id = answer["insertedId"].as_str().expect("a bare id").to_owned();
        assert_eq!(id.len(), 24);
        let many = json!({ "documents": [{ "_id": 1, "text": "b" }, { "_id": 2, "text": "c" }] });
        assert_eq!(
            act(&site, "insertMany", many).await,
            (201, json!({ "insertedIds": [1, 2] }))
        );
        let found = act(
            &site,
            "findOne",
            json!({ "filter": { "_id": { "$oid": id } } }),
        )
        .await;
        assert_eq!(
            found,
            (
                200,
                json!({ "document": { "_id": id, "text": "a", "done": false } })
            )
        );
        assert_eq!(
            act(&site, "findOne", json!({ "filter": { "_id": 9 } })).await,
            (200, json!({ "document": null }))
        );
        let find = json!({ "filter": { "_id": { "$in": [1, 2] } }, "sort": { "_id": -1 }, "limit": 1, "projection": { "text": 1 } });
        assert_eq!(
            act(&site, "find", find).await,
            (200, json!({ "documents": [{ "_id": 2, "text": "c" }] }))
        );
        let update = json!({ "filter": { "_id": 1 }, "update": { "$set": { "done": true } } });
        assert_eq!(
            act(&site, "updateOne", update).await,
            (200, json!({ "matchedCount": 1, "modifiedCount": 1 }))
        );
        let upsert = json!({ "filter": { "_id": 3 }, "update": { "$set": { "done": true } }, "upsert": true });
        assert_eq!(
            act(&site, "updateOne", upsert).await,
            (
                200,
                json!({ "matchedCount": 0, "modifiedCount": 0, "upsertedId": 3 })
            )
        );
        let many = json!({ "filter": { "done": true }, "update": { "$set": { "old": 1 } } });
        assert_eq!(
            act(&site, "updateMany", many).await,
            (200, json!({ "matchedCount": 2, "modifiedCount": 2 }))
        );
        let replace = json!({ "filter": { "_id": 2 }, "replacement": { "text": "z" } });
        assert_eq!(
            act(&site, "replaceOne", replace).await,
            (200, json!({ "matchedCount": 1, "modifiedCount": 1 }))
        );
        let pipeline = json!({ "pipeline": [{ "$match": { "old": 1 } }, { "$sort": { "_id": 1 } }, { "$project": { "_id": 1 } }] });
        assert_eq!(
            act(&site, "aggregate", pipeline).await,
            (200, json!({ "documents": [{ "_id": 1 }, { "_id": 3 }] }))
        );
        assert_eq!(
            act(&site, "deleteOne", json!({ "filter": { "_id": 1 } })).await,
            (200, json!({ "deletedCount": 1 }))
        );
        assert_eq!(
            act(&site, "deleteMany", json!({ "filter": {} })).await,
            (200, json!({ "deletedCount": 3 }))
        );
    }
}

#[tokio::test]
async fn the_canonical_form_comes_to_those_who_ask() {
    let Some(site) = Site::ferretdb().await else {
        return;
    };
    site.insert("tasks", &json!([{ "_id": { "$numberLong": "1" } }]))
        .await;
    let body = json!({ "database": site.database, "collection": "tasks" });
    let call = site
        .api
        .post("/api/platform/mongodb/default/action/findOne")
        .owner();
    let reply = call
        .header("accept", "application/ejson")
        .json(&body)
        .send()
        .await;
    assert_eq!(reply.header("content-type"), "application/ejson");
    assert_eq!(
        reply.json(),
        json!({ "document": { "_id": { "$numberLong": "1" } } })
    );
}

#[tokio::test]
async fn actions_are_guarded_like_everything_else() {
    let Some(site) = Site::ferretdb().await else {
        return;
    };
    for (action, members, code) in [
        (
            "find",
            json!({ "filter": { "$where": "1" } }),
            "QUERY_NOT_ALLOWED",
        ),
        (
            "deleteMany",
            json!({ "filter": { "a": { "$not": { "$where": "1" } } } }),
            "QUERY_NOT_ALLOWED",
        ),
        (
            "updateOne",
            json!({ "filter": {}, "update": [{ "$set": { "a": { "$function": {} } } }] }),
            "QUERY_NOT_ALLOWED",
        ),
        (
            "aggregate",
            json!({ "pipeline": [{ "$out": { "db": "admin", "coll": "x" } }] }),
            "QUERY_NOT_ALLOWED",
        ),
        ("find", json!({ "filter": [] }), "VALIDATION_FAILED"),
        ("find", json!({ "limit": 1001 }), "VALIDATION_FAILED"),
        ("find", json!({ "nonsense": 1 }), "VALIDATION_FAILED"),
        (
            "updateOne",
            json!({ "filter": {}, "update": { "a": 1 } }),
            "VALIDATION_FAILED",
        ),
        (
            "replaceOne",
            json!({ "filter": {}, "replacement": { "$set": { "a": 1 } } }),
            "VALIDATION_FAILED",
        ),
        ("insertOne", json!({}), "VALIDATION_FAILED"),
        (
            "find",
            json!({ "dataSource": "unknown" }),
            "CONNECTION_NOT_FOUND",
        ),
        ("dropDatabase", json!({}), "ROUTE_NOT_FOUND"),
    ] {
        let (_, answer) = act(&site, action, members.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{action} {members}");
    }
}
