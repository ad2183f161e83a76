//! `/api/platform/{database_type}/{ref}/connections`

use std::time::{Duration, Instant};

use bunbun_core::{shutdown::Shutdown, task};
use bunbun_test::TestDb;
use http::Method;
use serde_json::{Value, json};

use super::{Setup, api, url};
use crate::api::{Api, Reply};

pub(crate) const REDIS: &str = "/api/platform/redis/default/connections";
pub(crate) const POSTGRES: &str = "/api/platform/postgres/default/connections";

pub(crate) async fn send(api: &Api, method: &str, path: &str, body: &Value) -> Reply {
    let call = api.call(method.parse::<Method>().expect("a method"), path);
    let call = if body.is_null() {
        call
    } else {
        call.json(body)
    };
    call.owner().send().await
}

pub(crate) async fn created(api: &Api, path: &str, body: Value) -> Value {
    let reply = send(api, "POST", path, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

fn id(connection: &Value) -> &str {
    connection["id"].as_str().expect("an id")
}

/// The rows of the audit log, oldest first: action, target, status.
pub(crate) async fn audit(database: &TestDb) -> Vec<(String, Option<String>, Option<i16>)> {
    let client = database.superuser().await;
    let sql = "select action, target, status from platform.audit_log order by id";
    let rows = client.query(sql, &[]).await.expect("rows");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// Waits for something that only a fault keeps from happening.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_is_stored_shown_changed_and_removed() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let body =
        json!({ "identifier": "cache", "url": "rediss://app:hunter2@redis.example.com:6380/3" });
    let reply = send(&api, "POST", REDIS, &body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let made = reply.json();
    assert_eq!(reply.header("location"), format!("{REDIS}/{}", id(&made)));
    assert_eq!(reply.header("etag"), "\"1\"");
    for (field, value) in [
        ("database_type", json!("redis")),
        ("identifier", json!("cache")),
        ("host", json!("redis.example.com")),
        ("port", json!(6380)),
        (
            "hosts",
            json!([{ "host": "redis.example.com", "port": 6380 }]),
        ),
        ("database", json!("3")),
        ("username", json!("app")),
        ("has_password", json!(true)),
        ("tls", json!("verify-full")),
        ("options", json!({ "mode": "standalone" })),
        ("is_primary", json!(true)),
        ("status", json!("INACTIVE")),
        ("pool", Value::Null),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    let place = format!("{REDIS}/{}", id(&made));
    assert_eq!(send(&api, "GET", &place, &Value::Null).await.json(), made);
    let list = send(&api, "GET", REDIS, &Value::Null).await.json();
    assert_eq!(list, json!({ "connections": [made], "next_cursor": null }));

    let reply = send(
        &api,
        "PATCH",
        &place,
        &json!({ "identifier": "sessions", "database": null }),
    )
    .await;
    let changed = reply.json();
    assert_eq!(
        (reply.status.as_u16(), reply.header("etag")),
        (200, "\"2\"")
    );
    assert_eq!(
        (&changed["identifier"], &changed["database"]),
        (&json!("sessions"), &Value::Null)
    );
    assert_eq!(
        (&changed["username"], &changed["has_password"]),
        (&json!("app"), &json!(true))
    );

    // What is not sent has its default, the password excepted.
    let body = json!({ "identifier": "new", "host": "redis.example.com", "port": 6380, "tls": "verify-full" });
    let reply = send(&api, "PUT", &place, &body).await;
    let replaced = reply.json();
    assert_eq!(reply.status, 200, "{replaced}");
    assert_eq!(
        (&replaced["username"], &replaced["has_password"]),
        (&Value::Null, &json!(true))
    );
    let body = json!({ "identifier": "new", "host": "redis.example.com", "password": null });
    let replaced = send(&api, "PUT", &place, &body).await.json();
    assert_eq!(
        (&replaced["port"], &replaced["has_password"]),
        (&json!(6379), &json!(false))
    );

    let reply = send(&api, "DELETE", &place, &Value::Null).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (204, ""));
    for method in ["GET", "DELETE"] {
        let reply = send(&api, method, &place, &Value::Null).await;
        assert_eq!(
            reply.error(),
            (404, "CONNECTION_NOT_FOUND".to_owned()),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_change_can_say_which_version_it_is_for() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        REDIS,
        json!({ "identifier": "a", "host": "redis.example.com" }),
    )
    .await;
    let place = format!("{REDIS}/{}", id(&made));
    let change = async |tag: &str, method: Method| {
        let mut call = api
            .call(method.clone(), &place)
            .header("if-match", tag)
            .owner();
        if method != Method::DELETE {
            call = call.json(&json!({ "identifier": "b", "host": "redis.example.com" }));
        }
        call.send().await
    };
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        for old in ["\"7\"", "W/\"1\"", "\"x\"", "\"7\", \"8\""] {
            let reply = change(old, method.clone()).await;
            assert_eq!(
                reply.error(),
                (412, "PRECONDITION_FAILED".to_owned()),
                "{method} {old}"
            );
        }
        let reply = change("1", method.clone()).await;
        assert_eq!(
            reply.error(),
            (400, "INVALID_REQUEST".to_owned()),
            "{method} without quotes"
        );
    }
    assert_eq!(change("\"0\", \"1\"", Method::PATCH).await.status, 200);
    assert_eq!(change("\"1\"", Method::PUT).await.status, 412);
    assert_eq!(change("*", Method::PUT).await.status, 200);
    assert_eq!(change("\"3\"", Method::DELETE).await.status, 204);
}

#[tokio::test]
async fn there_is_one_primary_of_each_kind_and_identifiers_are_unique() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let new = |name: &str| json!({ "identifier": name, "host": "db.example.com" });
    let first = created(&api, REDIS, new("a")).await;
    let second = created(&api, REDIS, new("b")).await;
    let other_kind = created(&api, "/api/platform/mongodb/default/connections", new("c")).await;
    assert_eq!(
        (&first["is_primary"], &second["is_primary"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(other_kind["is_primary"], true);
    let taken = send(&api, "POST", POSTGRES, &new("a")).await;
    assert_eq!(taken.error(), (409, "CONNECTION_EXISTS".to_owned()));
    let place = format!("{REDIS}/{}", id(&second));
    let reply = send(&api, "PATCH", &place, &json!({ "is_primary": true })).await;
    assert_eq!(reply.json()["is_primary"], true);
    let first = send(
        &api,
        "GET",
        &format!("{REDIS}/{}", id(&first)),
        &Value::Null,
    )
    .await
    .json();
    assert_eq!(first["is_primary"], false);
    // Another kind's path does not know it.
    let elsewhere = format!("{POSTGRES}/{}", id(&second));
    assert_eq!(
        send(&api, "GET", &elsewhere, &Value::Null).await.status,
        404
    );
}

#[tokio::test]
async fn lists_are_paged() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    for name in ["a", "b", "c"] {
        created(
            &api,
            REDIS,
            json!({ "identifier": name, "host": "redis.example.com" }),
        )
        .await;
    }
    let mut names = Vec::new();
    let mut path = format!("{REDIS}?limit=2");
    loop {
        let page = send(&api, "GET", &path, &Value::Null).await.json();
        let found = page["connections"].as_array().expect("a list");
        assert!(found.len() <= 2);
        names.extend(
            found
                .iter()
                .map(|one| one["identifier"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("{REDIS}?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["a", "b", "c"]);
    for bad in ["limit=0", "limit=1001", "cursor=x", "page=2"] {
        let reply = send(&api, "GET", &format!("{REDIS}?{bad}"), &Value::Null).await;
        assert_eq!(reply.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_name_with_srv_records_is_reached_with_tls_unless_told_otherwise() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let path = "/api/platform/mongodb/default/connections";
    for (identifier, tls) in [("a", None), ("b", Some("disable"))] {
        let mut body = json!({ "identifier": identifier, "host": "db.example.com", "options": { "srv": true } });
        if let Some(tls) = tls {
            body["tls"] = json!(tls);
        }
        let made = created(&api, path, body).await;
        assert_eq!(made["tls"], tls.unwrap_or("verify-full"));
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_its_place() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let refused = async |body: Value, pointer: &str| {
        let reply = send(&api, "POST", REDIS, &body).await;
        assert_eq!(reply.status, 400, "{body}");
        let told = reply.json();
        assert_eq!(
            told["error"]["details"]["errors"][0]["pointer"], pointer,
            "{body}: {told}"
        );
        assert!(!reply.text().contains("hunter2"), "{}", reply.text());
    };
    for (body, pointer) in [
        (json!({ "host": "h" }), "/identifier"),
        (json!({ "identifier": "a b", "host": "h" }), "/identifier"),
        (json!({ "identifier": "a" }), "/host"),
        (
            json!({ "identifier": "a", "url": "redis://u:hunter2@h", "port": 1 }),
            "/url",
        ),
        (
            json!({ "identifier": "a", "url": "postgres://u:hunter2@h/d" }),
            "/url",
        ),
        (
            json!({ "identifier": "a", "url": "redis://u:hunter2@h/x" }),
            "/url",
        ),
        (json!({ "identifier": "a", "url": "hunter2" }), "/url"),
        (json!({ "identifier": "a", "url": 5 }), "/url"),
        (
            json!({ "identifier": "a", "host": "h", "hosts": [] }),
            "/hosts",
        ),
        (json!({ "identifier": "a", "hosts": [] }), "/hosts"),
        (
            json!({ "identifier": "a", "host": "h", "port": 0 }),
            "/hosts",
        ),
        (json!({ "identifier": "a", "host": "a\0b" }), "/hosts"),
        (json!({ "identifier": "a", "host": "a\r\nX: y" }), "/hosts"),
        (
            json!({ "identifier": "a", "host": "h", "options": { "mode": "sentinel", "sentinel_master": "a\0" } }),
            "/options",
        ),
        (
            json!({ "identifier": "a", "host": "h", "options": { "mode": "sentinel", "sentinel_master": "a".repeat(300) } }),
            "/options",
        ),
        (
            json!({ "identifier": "a", "host": "/tmp/redis.sock" }),
            "/hosts",
        ),
        (
            json!({ "identifier": "a", "host": "h", "tls": "prefer" }),
            "/tls",
        ),
        (
            json!({ "identifier": "a", "host": "h", "database": "x" }),
            "/database",
        ),
        (
            json!({ "identifier": "a", "host": "h", "options": { "path": "/etc/passwd" } }),
            "/options",
        ),
        (
            json!({ "identifier": "a", "host": "h", "options": { "mode": "hunter2" } }),
            "/options",
        ),
        (
            json!({ "identifier": "a", "host": "h", "options": { "ca_certificate": "hunter2" } }),
            "/options",
        ),
        (
            json!({ "identifier": "a", "host": "h", "password": ["hunter2"] }),
            "/password",
        ),
    ] {
        refused(body, pointer).await;
    }
    for path in [
        "/api/platform/mysql/default/connections",
        "/api/platform/REDIS/default/connections",
    ] {
        let reply = send(&api, "GET", path, &Value::Null).await;
        assert_eq!(reply.error(), (404, "ROUTE_NOT_FOUND".to_owned()), "{path}");
    }
    let reply = send(&api, "GET", &format!("{REDIS}/nonsense"), &Value::Null).await;
    assert_eq!(reply.error(), (404, "CONNECTION_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_stored_connection_works_and_says_so() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "main", "url": url(&api) }),
    )
    .await;
    let place = format!("{POSTGRES}/{}", id(&made));
    let reply = send(&api, "POST", &format!("{place}/test"), &Value::Null).await;
    let told = reply.json();
    assert_eq!(
        (reply.status.as_u16(), &told["ok"]),
        (200, &json!(true)),
        "{told}"
    );
    assert_eq!(
        (&told["server"]["role"], &told["server"]["tls"]),
        (&json!("primary"), &json!(false))
    );
    assert!(told["latency_ms"].as_f64().expect("a number") < 1000.0 && told.get("error").is_none());
    eventually("the status is stored", async || {
        send(&api, "GET", &place, &Value::Null).await.json()["status"] == "ACTIVE"
    })
    .await;
    let listed = send(
        &api,
        "GET",
        "/api/platform/postgres/default/schemas?connection=main",
        &Value::Null,
    )
    .await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let shown = send(&api, "GET", &place, &Value::Null).await.json();
    assert_eq!(shown["pool"]["size"], 10);
    assert_eq!(shown["version"], 1, "a status is no change");

    let reply = send(&api, "PATCH", &place, &json!({ "password": "wrong" })).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json()["pool"],
        Value::Null,
        "the pool is retired at once"
    );
    let path = "/api/platform/postgres/default/schemas?connection=main";
    let reply = send(&api, "GET", path, &Value::Null).await;
    assert_eq!(reply.error(), (502, "AUTHENTICATION_FAILED".to_owned()));
    eventually("the failure is stored", async || {
        send(&api, "GET", &place, &Value::Null).await.json()["status"] == "ERROR"
    })
    .await;
    assert_eq!(send(&api, "DELETE", &place, &Value::Null).await.status, 204);
    let reply = send(&api, "GET", path, &Value::Null).await;
    assert_eq!(reply.error(), (404, "CONNECTION_NOT_FOUND".to_owned()));
    // Without any, the project's own database.
    let own = send(
        &api,
        "GET",
        "/api/platform/postgres/default/schemas",
        &Value::Null,
    )
    .await;
    assert_eq!(own.status, 200);
}

#[tokio::test]
async fn a_connection_that_is_not_stored_can_be_tried() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let path = format!("{POSTGRES}/test");
    let told = send(&api, "POST", &path, &json!({ "url": url(&api) }))
        .await
        .json();
    assert_eq!(told["ok"], true, "{told}");
    let wrong = url(&api).replace("bunbun_test_owner@", "hunter2@");
    let reply = send(&api, "POST", &path, &json!({ "url": wrong })).await;
    let told = reply.json();
    assert_eq!(
        (reply.status.as_u16(), &told["error"]["code"]),
        (200, &json!("AUTHENTICATION_FAILED"))
    );
    assert!(!reply.text().contains("hunter2") && told["error"]["hint"].is_string());
    let reply = send(
        &api,
        "POST",
        &path,
        &json!({ "url": "postgres://u:p@127.0.0.1:1/d" }),
    )
    .await;
    assert_eq!(reply.json()["error"]["code"], "CONNECTION_FAILED");
    let list = send(&api, "GET", POSTGRES, &Value::Null).await.json();
    assert_eq!(list["connections"], json!([]), "nothing is stored");
}

#[tokio::test]
async fn trials_are_counted() {
    let setup = Setup {
        tests_per_minute: 2,
        ..Setup::default()
    };
    let Some(api) = api(setup).await else { return };
    let path = format!("{POSTGRES}/test");
    let body = json!({ "url": url(&api) });
    for _ in 0..2 {
        assert_eq!(send(&api, "POST", &path, &body).await.status, 200);
    }
    let reply = send(&api, "POST", &path, &body).await;
    assert_eq!(reply.error(), (429, "RATE_LIMITED".to_owned()));
    assert!(reply.header("retry-after").parse::<u64>().expect("seconds") <= 60);
}

#[tokio::test]
async fn every_attempt_to_change_something_is_in_the_audit_log() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "main", "url": url(&api) }),
    )
    .await;
    let place = format!("{POSTGRES}/{}", id(&made));
    send(&api, "PATCH", &place, &json!({ "identifier": "other" })).await;
    send(&api, "GET", &place, &Value::Null).await;
    send(&api, "POST", &format!("{place}/test"), &Value::Null).await;
    let refused = api
        .call(Method::DELETE, &place)
        .header("if-match", "\"9\"")
        .owner();
    assert_eq!(refused.send().await.status, 412);
    send(&api, "DELETE", &place, &Value::Null).await;
    // An engine's own write, on the project's own database.
    let rows = "/api/platform/postgres/default/query";
    send(
        &api,
        "POST",
        rows,
        &json!({ "sql": "create table t (a int)" }),
    )
    .await;
    let database = api.database.as_ref().expect("a database");
    eventually("all ends are known", async || {
        audit(database)
            .await
            .iter()
            .all(|(_, _, status)| status.is_some())
    })
    .await;
    let log = audit(database).await;
    let seen: Vec<_> = log
        .iter()
        .map(|(action, _, status)| (action.as_str(), status.unwrap_or(0)))
        .collect();
    assert_eq!(
        seen[..5],
        [
            ("connection.create", 201),
            ("connection.update", 200),
            ("connection.test", 200),
            ("connection.delete", 412),
            ("connection.delete", 204),
        ]
    );
    assert_eq!(log[0].1.as_deref(), Some("main"));
    assert_eq!(log[1].1.as_deref(), made["id"].as_str());
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[tokio::test]
async fn another_node_learns_at_once_of_a_change() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let node = || {
        let connections = super::connections(&database, Setup::default());
        let api = Api::new(Some(database.pool()), None, |parts| {
            parts.connections = Some(connections.clone());
        });
        (api, connections)
    };
    let ((here, _), (there, connections)) = (node(), node());
    let shutdown = Shutdown::new();
    let following = task::spawn("test", connections.clone().follow(shutdown.clone()));
    let body = json!({ "identifier": "main", "url": database.url() });
    let stored = created(&here, POSTGRES, body).await;
    let place = format!("{POSTGRES}/{}", id(&stored));
    let used = async || {
        let path = "/api/platform/postgres/default/schemas?connection=main";
        send(&there, "GET", path, &Value::Null).await
    };
    let pools = || {
        let id = id(&stored).parse().expect("an id");
        connections.registry().status(id).is_some()
    };
    // Until the other node listens, it may keep what it has just read.
    eventually("use", async || used().await.status == 200 && pools()).await;

    let renamed = json!({ "identifier": "other" });
    let reply = send(&here, "PATCH", &place, &renamed).await;
    assert_eq!(reply.status, 200);
    eventually("the old name is gone", async || used().await.status == 404).await;
    assert!(!pools(), "the old version's pool is still there");
    let renamed = json!({ "identifier": "main" });
    assert_eq!(send(&here, "PATCH", &place, &renamed).await.status, 200);
    eventually("use", async || used().await.status == 200 && pools()).await;

    assert_eq!(
        send(&here, "DELETE", &place, &Value::Null).await.status,
        204
    );
    eventually("removed", async || used().await.status == 404).await;
    assert!(!pools(), "the removed connection's pool is still there");
    shutdown.begin();
    following.await.expect("the end");
}

#[tokio::test]
async fn other_nodes_cancel_statements_and_forget_schemas() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let shutdown = Shutdown::new();
    let node = || {
        let connections = super::connections(&database, Setup::default());
        let following = connections.clone().follow(shutdown.clone());
        let following = task::spawn("test", following);
        let api = Api::new(Some(database.pool()), None, |parts| {
            parts.connections = Some(connections);
        });
        (api, following)
    };
    let ((here, first), (there, second)) = (node(), node());
    let body = json!({ "identifier": "main", "url": database.url() });
    created(&here, POSTGRES, body).await;
    let own = "/api/platform/postgres/default";
    // On a stored connection, and on the project's own database.
    for (query, is_own) in [("?connection=main", false), ("", true)] {
        if is_own {
            let connections = send(&here, "GET", POSTGRES, &Value::Null).await.json();
            let place = format!("{POSTGRES}/{}", id(&connections["connections"][0]));
            assert_eq!(
                send(&here, "DELETE", &place, &Value::Null).await.status,
                204
            );
        }
        let body = json!({ "id": "slow", "sql": "select pg_sleep(60)" });
        let path = format!("{own}/query{query}");
        let running = send(&here, "POST", &path, &body);
        let path = format!("{own}/query/slow/cancel{query}");
        let cancelling = eventually("cancelled", async || {
            send(&there, "POST", &path, &Value::Null).await.status == 200
        });
        let (reply, ()) = tokio::join!(running, cancelling);
        assert_eq!(reply.error(), (409, "QUERY_CANCELLED".to_owned()));
        let reply = send(&there, "POST", &path, &Value::Null).await;
        assert_eq!(reply.error(), (404, "QUERY_NOT_FOUND".to_owned()));
    }

    let tables = async || {
        let path = format!("{own}/tables?schema=public");
        let listed = send(&there, "GET", &path, &Value::Null).await.json();
        listed["tables"].as_array().expect("tables").len()
    };
    for count in 0..3 {
        eventually("seen", async || tables().await == count).await;
        let sql = format!("create table t{count} ()");
        // By either way to the same database.
        let path = ["/api/db/query".to_owned(), format!("{own}/query")][count % 2].clone();
        let reply = send(&here, "POST", &path, &json!({ "sql": sql })).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    eventually("seen", async || tables().await == 3).await;
    shutdown.begin();
    first.await.expect("the end");
    second.await.expect("the end");
}
