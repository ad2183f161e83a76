//! `/keys`: listed, read, written, changed, deleted.

use http::Method;
use serde_json::{Value, json};

use super::{Stage, events};

#[tokio::test]
async fn keys_are_listed_page_by_page_with_details() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    stage.server.fill("user:", 250);
    let first = stage.get("/keys?pattern=user:*&limit=100&size=true").await;
    assert_eq!(first["total"], 250);
    assert_eq!(first["complete"], false);
    let row = &first["keys"][0];
    assert_eq!(row["type"], "string");
    assert_eq!(row["ttl_ms"], Value::Null);
    assert!(row["size_bytes"].as_u64().unwrap() > 0);
    let mut seen = 0;
    let mut page = first;
    loop {
        seen += page["keys"].as_array().unwrap().len();
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        let path = format!("/keys?pattern=user:*&limit=100&cursor={cursor}");
        page = stage.get(&path).await;
    }
    assert_eq!(seen, 250);
    let names = stage
        .get("/keys?details=false&limit=1&pattern=user:7")
        .await;
    assert_eq!(names["keys"], json!([{ "key": "user:7" }]));
    for bad in ["limit=0", "limit=1001", "cursor=nonsense", "unknown=1"] {
        let (status, _) = stage
            .refusal(Method::GET, &format!("/keys?{bad}"), None)
            .await;
        assert_eq!(status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_key_is_created_read_replaced_and_deleted_once() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let value =
        json!({ "type": "hash", "value": [{ "field": "name", "value": "Ann" }], "ttl_ms": 60000 });
    let created = stage.send(Method::POST, "/keys/user:1", Some(&value)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let again = stage
        .refusal(Method::POST, "/keys/user:1", Some(&value))
        .await;
    assert_eq!(again, (409, "KEY_EXISTS".to_owned()));
    let key = stage.get("/keys/user:1?size=true").await;
    assert_eq!(key["value"], value["value"]);
    assert_eq!((&key["type"], &key["length"]), (&json!("hash"), &json!(1)));
    assert!(key["ttl_ms"].as_u64().unwrap() > 50_000);
    let digest = key["digest"].as_str().unwrap();
    let change = json!({ "changes": [
        { "op": "hash_set", "fields": [{ "field": "age", "value": "30" }] },
        { "op": "hash_delete", "fields": ["name"] },
    ], "if_match": digest });
    let changed = stage.send(Method::PUT, "/keys/user:1", Some(&change)).await;
    assert_eq!(
        changed.json(),
        json!({ "changes": [{ "count": 1 }, { "count": 1 }] })
    );
    let late = stage
        .refusal(Method::PUT, "/keys/user:1", Some(&change))
        .await;
    assert_eq!(late, (412, "PRECONDITION_FAILED".to_owned()));
    let wrong = json!({ "changes": [{ "op": "set_add", "members": ["x"] }] });
    let wrong = stage
        .refusal(Method::PUT, "/keys/user:1", Some(&wrong))
        .await;
    assert_eq!(wrong, (409, "WRONG_TYPE".to_owned()));
    let replaced =
        json!({ "type": "zset", "value": [{ "member": "a", "score": 1.5 }], "ttl_ms": null });
    let reply = stage
        .send(Method::PUT, "/keys/user:1", Some(&replaced))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let key = stage.get("/keys/user:1").await;
    assert_eq!(
        (&key["value"], &key["ttl_ms"]),
        (&replaced["value"], &Value::Null)
    );
    assert_eq!(
        stage
            .send(Method::DELETE, "/keys/user:1", None)
            .await
            .status,
        204
    );
    let gone = stage.refusal(Method::DELETE, "/keys/user:1", None).await;
    assert_eq!(gone, (404, "KEY_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn keys_and_values_of_any_bytes_travel() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    // CR, LF, a slash, what looks like a command, and no UTF-8 at all.
    for (path, name, encoding) in [
        ("a%0D%0AFLUSHALL%0D%0A", "a\r\nFLUSHALL\r\n", None),
        ("a%2Fb", "a/b", None),
        ("dHJlZQ?key_encoding=base64", "tree", None),
        ("_wA?key_encoding=base64", "/wA=", Some("base64")),
        ("=?key_encoding=base64", "", None),
        ("bnVsAGtleQ?key_encoding=base64", "nul\0key", None),
    ] {
        let value = json!({ "type": "string", "value": "/wAN", "value_encoding": "base64" });
        let path = format!("/keys/{path}");
        let reply = stage.send(Method::PUT, &path, Some(&value)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let key = stage.get(&path).await;
        assert_eq!(key["value"], "/wAN", "{path}");
        assert_eq!(key["value_encoding"], "base64", "{path}");
        let listed = stage.get("/keys").await;
        let row = &listed["keys"][0];
        assert_eq!(listed["total"], 1, "{path}");
        assert_eq!(row["key"], name);
        assert_eq!(row["key_encoding"].as_str(), encoding, "{path}");
        assert_eq!(stage.send(Method::DELETE, &path, None).await.status, 204);
    }
    let (status, _) = stage.refusal(Method::GET, "/keys/%FF", None).await;
    assert_eq!(status, 400);
    let unknown = stage
        .refusal(Method::GET, "/keys?connection=%00", None)
        .await;
    assert_eq!(unknown, (404, "CONNECTION_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn scores_without_end_are_written_as_they_are_read() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let add = ["ZADD", "z", "-inf", "a", "1", "b", "+inf", "c"];
    assert_eq!(stage.server.command(&add), ":3");
    let read = stage.get("/keys/z").await;
    let body = json!({ "type": "zset", "value": read["value"] });
    let reply = stage.send(Method::POST, "/keys/copy", Some(&body)).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let copy = stage.get("/keys/copy").await;
    assert_eq!(
        (&copy["value"], &copy["digest"]),
        (&read["value"], &read["digest"])
    );
    for score in [json!("nan"), json!("5"), json!(null)] {
        let body = json!({ "changes": [{ "op": "zset_add", "members": [{ "member": "a", "score": score }] }] });
        let reply = stage.send(Method::PUT, "/keys/z", Some(&body)).await;
        assert_eq!(reply.status, 400, "{score}");
    }
}

#[tokio::test]
async fn expiry_and_name_are_changed() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    stage.server.fill("k", 2);
    let set = stage
        .send(
            Method::POST,
            "/keys/k0/expire",
            Some(&json!({ "ttl_ms": 5000 })),
        )
        .await;
    assert!(set.json()["ttl_ms"].as_u64().unwrap() > 1000);
    let kept = stage
        .send(
            Method::POST,
            "/keys/k0/expire",
            Some(&json!({ "persist": true })),
        )
        .await;
    assert_eq!(kept.json(), json!({ "ttl_ms": null }));
    let both = json!({ "persist": true, "ttl_ms": 1 });
    let both = stage
        .refusal(Method::POST, "/keys/k0/expire", Some(&both))
        .await;
    assert_eq!(both, (400, "VALIDATION_FAILED".to_owned()));
    let taken = stage
        .refusal(
            Method::POST,
            "/keys/k0/rename",
            Some(&json!({ "to": "k1" })),
        )
        .await;
    assert_eq!(taken, (409, "KEY_EXISTS".to_owned()));
    let body = json!({ "to": "k1", "overwrite": true });
    let reply = stage
        .send(Method::POST, "/keys/k0/rename", Some(&body))
        .await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(stage.get("/keys/k1").await["value"], "0");
}

#[tokio::test]
async fn a_tree_comes_as_events() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    stage.server.fill("app:user:", 300);
    stage.server.fill("app:", 3);
    let reply = stage
        .send(Method::GET, "/keys/tree?prefix=app:", None)
        .await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let progress = events(&reply, "progress");
    let users: u64 = progress
        .iter()
        .flat_map(|step| step["folders"].as_array().unwrap())
        .filter(|folder| folder["name"] == "user")
        .map(|folder| folder["count"].as_u64().unwrap())
        .sum();
    let keys: u64 = progress
        .iter()
        .map(|step| step["key_count"].as_u64().unwrap())
        .sum();
    assert_eq!((users, keys), (300, 3));
    assert_eq!(events(&reply, "done").len(), 1);
}

#[tokio::test]
async fn a_bulk_delete_has_to_be_confirmed_with_its_pattern() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    stage.server.fill("gone:", 1200);
    stage.server.fill("kept:", 5);
    let dry = stage
        .send(
            Method::POST,
            "/keys/bulk-delete",
            Some(&json!({ "pattern": "gone:*" })),
        )
        .await;
    let counted = &events(&dry, "done")[0];
    assert_eq!(
        (&counted["matched"], &counted["deleted"]),
        (&json!(1200), &json!(0))
    );
    for confirm in [Value::Null, json!("yes"), json!("*")] {
        let body = json!({ "pattern": "gone:*", "dry_run": false, "confirm": confirm });
        let refused = stage
            .refusal(Method::POST, "/keys/bulk-delete", Some(&body))
            .await;
        assert_eq!(refused, (400, "CONFIRMATION_REQUIRED".to_owned()));
    }
    let body = json!({ "pattern": "gone:*", "dry_run": false, "confirm": "gone:*" });
    let done = stage
        .send(Method::POST, "/keys/bulk-delete", Some(&body))
        .await;
    assert_eq!(events(&done, "done")[0]["deleted"], 1200);
    assert_eq!(stage.server.command(&["DBSIZE"]), ":5");
}

#[tokio::test]
async fn writes_are_in_the_audit_log_without_values_and_reads_are_not() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let value = json!({ "type": "string", "value": "a-secret-value" });
    stage.send(Method::PUT, "/keys/audited", Some(&value)).await;
    stage.get("/keys/audited").await;
    let client = stage.platform.pool().get().await.expect("a connection");
    let sql = "select to_jsonb(a)::text from platform.audit_log a where a::text like '%redis%'";
    let rows = client.query(sql, &[]).await.expect("the table");
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let writes = rows.iter().filter(|row| row.contains("redis.key.replace"));
    assert_eq!(writes.count(), 1, "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("audited")), "{rows:?}");
    assert!(!rows.iter().any(|row| row.contains("a-secret")), "{rows:?}");
}

#[tokio::test]
async fn bodies_of_another_form_are_refused() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    for bad in [
        json!({ "type": "hash", "value": "no hash" }),
        json!({ "type": "string", "value": "x", "unknown": 1 }),
        json!({ "type": "string", "value": "x", "changes": [{ "op": "append", "value": "x" }] }),
        json!({ "changes": [{ "op": "append", "value": "x", "unknown": 1 }] }),
        json!({ "type": "string" }),
        json!({}),
    ] {
        let (status, code) = stage.refusal(Method::PUT, "/keys/k", Some(&bad)).await;
        assert_eq!(status, 400, "{bad}: {code}");
    }
    assert_eq!(stage.server.command(&["DBSIZE"]), ":0");
}
