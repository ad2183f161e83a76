//! What must not happen with stored connections: secrets that show or move, hosts that are none of
//! ours, other projects' things, writes that nobody knows of.

use bunbun_core::encryption::MasterKeys;
use http::Method;
use serde_json::{Value, json};

use super::{
    MASTER_KEY, Setup, api,
    connections::{POSTGRES, REDIS, audit, created, eventually, send},
    store, url,
};
use crate::api::{self as harness, Api};

const OTHER_KEY: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff101112131415161718191a1b1c1d1e1f";

fn id(connection: &Value) -> &str {
    connection["id"].as_str().expect("an id")
}

async fn execute(api: &Api, sql: &str) -> u64 {
    let database = api.database.as_ref().expect("a database");
    database
        .superuser()
        .await
        .execute(sql, &[])
        .await
        .expect("it runs")
}

#[tokio::test]
async fn no_answer_and_no_table_has_a_password() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let body = json!({ "identifier": "a", "url": "redis://app:hunter2@redis.example.com" });
    let made = created(&api, REDIS, body.clone()).await;
    let place = format!("{REDIS}/{}", id(&made));
    let test = format!("{REDIS}/{}/test", id(&made));
    let mut texts = vec![made.to_string()];
    for (method, path, body) in [
        ("POST", REDIS, body.clone()),
        ("GET", REDIS, Value::Null),
        ("GET", &place, Value::Null),
        (
            "PATCH",
            &place,
            json!({ "password": "hunter2", "unknown": 1 }),
        ),
        ("PATCH", &place, json!({ "password": "hunter2" })),
        (
            "PATCH",
            &place,
            json!({ "url": "redis://app:hunter2@redis.example.com/x" }),
        ),
        (
            "PUT",
            &place,
            json!({ "identifier": "a", "host": "redis.example.com", "password": "hunter2" }),
        ),
        (
            "PUT",
            &place,
            json!({ "identifier": "a", "host": "redis.example.com", "password": { "x": "hunter2" } }),
        ),
        ("POST", &test, Value::Null),
        ("POST", &format!("{REDIS}/test"), body),
    ] {
        let reply = send(&api, method, path, &body).await;
        texts.push(format!(
            "{method} {path} {} {:?}",
            reply.text(),
            reply.headers
        ));
    }
    let client = api.database.as_ref().expect("a database").superuser().await;
    for table in ["database_connections", "data_keys", "audit_log"] {
        let sql = format!("select coalesce(string_agg(t::text, ' '), '') from platform.{table} t");
        texts.push(client.query_one(&sql, &[]).await.expect("text").get(0));
    }
    for text in texts {
        // Also not as bytes of a column.
        assert!(
            !text.contains("hunter2") && !text.contains("68756e74657232"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_stored_password_goes_nowhere_else() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let body = json!({ "identifier": "a", "url": "postgres://app:hunter2@db.example.com/shop?sslmode=verify-full" });
    let made = created(&api, POSTGRES, body).await;
    let place = format!("{POSTGRES}/{}", id(&made));
    let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    for change in [
        json!({ "host": "evil.example.com" }),
        json!({ "port": 5433 }),
        json!({ "hosts": [{ "host": "db.example.com" }, { "host": "evil.example.com" }] }),
        json!({ "tls": "require" }),
        json!({ "tls": "disable" }),
        json!({ "options": { "ca_certificate": certificate } }),
    ] {
        let reply = send(&api, "PATCH", &place, &change).await;
        assert_eq!(
            reply.error(),
            (400, "VALIDATION_FAILED".to_owned()),
            "{change}"
        );
        let told = reply.json();
        assert_eq!(
            told["error"]["details"]["errors"][0]["pointer"], "/password",
            "{told}"
        );
        let mut with_password = change.clone();
        with_password["password"] = json!("hunter2");
        assert_eq!(
            send(&api, "PATCH", &place, &with_password).await.status,
            200,
            "{change}"
        );
        let back = json!({ "host": "db.example.com", "port": 5432, "tls": "verify-full",
            "options": { "ca_certificate": null }, "password": "hunter2" });
        assert_eq!(send(&api, "PATCH", &place, &back).await.status, 200);
    }
    let put = json!({ "identifier": "a", "host": "evil.example.com", "tls": "verify-full" });
    assert_eq!(send(&api, "PUT", &place, &put).await.status, 400);
    // A URL without a password has none.
    let url = json!({ "url": "postgres://app@evil.example.com/shop" });
    let reply = send(&api, "PATCH", &place, &url).await.json();
    assert_eq!(reply["has_password"], false);
}

#[tokio::test]
async fn a_flipped_byte_and_a_row_that_was_moved_do_not_open() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    let other = created(
        &api,
        POSTGRES,
        json!({ "identifier": "b", "url": url(&api) }),
    )
    .await;
    let trial = async |of: &Value| {
        send(
            &api,
            "POST",
            &format!("{POSTGRES}/{}/test", id(of)),
            &Value::Null,
        )
        .await
    };
    assert_eq!(trial(&made).await.json()["ok"], true);
    let swap = "update platform.database_connections set password = (select password from \
                platform.database_connections where identifier = 'b') where identifier = 'a'";
    execute(&api, swap).await;
    let reply = trial(&made).await;
    assert_eq!(reply.error(), (500, "INTERNAL".to_owned()));
    assert!(
        reply.text().contains("changed outside of BunBun"),
        "{}",
        reply.text()
    );
    let flip = "update platform.database_connections set password = set_byte(password, 40, \
                get_byte(password, 40) # 1) where identifier = 'b'";
    execute(&api, flip).await;
    assert_eq!(trial(&other).await.error(), (500, "INTERNAL".to_owned()));
    // A new password is the way out.
    let password = json!({ "password": "bunbun_test_owner" });
    send(
        &api,
        "PATCH",
        &format!("{POSTGRES}/{}", id(&other)),
        &password,
    )
    .await;
    assert_eq!(trial(&other).await.json()["ok"], true);
    execute(&api, "update platform.data_keys set wrapped_key = set_byte(wrapped_key, 30, get_byte(wrapped_key, 30) # 1)").await;
    let fresh = super::connections(api.database.as_ref().unwrap(), Setup::default());
    let broken = Api::new(None, None, |parts| parts.connections = Some(fresh));
    let reply = send(
        &broken,
        "POST",
        &format!("{POSTGRES}/{}/test", id(&other)),
        &Value::Null,
    )
    .await;
    assert_eq!(reply.error(), (500, "INTERNAL".to_owned()));
}

#[tokio::test]
async fn a_wrong_master_key_is_told_and_overwrites_nothing() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    let database = api.database.as_ref().expect("a database");
    let keys = async || {
        let client = database.superuser().await;
        let rows = client
            .query("select wrapped_key from platform.data_keys", &[])
            .await;
        rows.expect("rows")
            .iter()
            .map(|row| row.get::<_, Vec<u8>>(0))
            .collect::<Vec<_>>()
    };
    let before = keys().await;
    for (master_key, says) in [
        (Some(OTHER_KEY), "set the right one"),
        (None, "DATABASE_ENCRYPTION_KEY"),
    ] {
        let setup = Setup {
            master_key,
            ..Setup::default()
        };
        let connections = super::connections(database, setup);
        let wrong = Api::new(None, None, |parts| parts.connections = Some(connections));
        for (path, body) in [
            (format!("{POSTGRES}/{}/test", id(&made)), Value::Null),
            (
                POSTGRES.to_owned(),
                json!({ "identifier": "b", "url": url(&api) }),
            ),
        ] {
            let reply = send(&wrong, "POST", &path, &body).await;
            assert_eq!(
                reply.error(),
                (503, "SERVICE_UNAVAILABLE".to_owned()),
                "{path}"
            );
            assert!(reply.text().contains(says), "{}", reply.text());
        }
        // What has no secret works.
        let open = json!({ "identifier": format!("open-{}", master_key.is_some()), "host": "h" });
        assert_eq!(send(&wrong, "POST", REDIS, &open).await.status, 201);
    }
    assert_eq!(keys().await, before);
    let master = |key: &str| MasterKeys::parse(&key.into(), None).expect("a key");
    let store = store(database.url());
    let check = async |key| bunbun_api::connections::secrets::check(&store, &master(key)).await;
    assert!(check(MASTER_KEY).await.is_ok() && check(OTHER_KEY).await.is_err());
}

#[tokio::test]
async fn a_lost_data_key_is_told_and_not_replaced() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    execute(&api, "delete from platform.data_keys").await;
    let database = api.database.as_ref().expect("a database");
    let connections = super::connections(database, Setup::default());
    let other_node = Api::new(None, None, |parts| parts.connections = Some(connections));
    // Neither who has the key in memory nor who never had it seals more passwords.
    for node in [&api, &other_node] {
        for (path, body) in [
            (POSTGRES, json!({ "identifier": "b", "url": url(&api) })),
            (
                REDIS,
                json!({ "identifier": "c", "url": "redis://:hunter2@127.0.0.1" }),
            ),
        ] {
            let reply = send(node, "POST", path, &body).await;
            assert_eq!(reply.error(), (500, "INTERNAL".to_owned()), "{path}");
        }
        let path = format!("{POSTGRES}/{}", id(&made));
        let reply = send(node, "PATCH", &path, &json!({ "password": "hunter3" })).await;
        assert_eq!(reply.error(), (500, "INTERNAL".to_owned()));
        assert!(
            reply.text().contains("platform.data_keys"),
            "{}",
            reply.text()
        );
    }
    let path = format!("{POSTGRES}/{}/test", id(&made));
    let reply = send(&other_node, "POST", &path, &Value::Null).await;
    assert_eq!(reply.error(), (500, "INTERNAL".to_owned()));
    let client = database.superuser().await;
    eventually("the status is kept", async || {
        let row = client
            .query_one(
                "select (select count(*) from platform.data_keys) = 0 and count(*) = 1 \
                     and bool_and(status = 'ERROR' and last_error like '%platform.data_keys%') \
                 from platform.database_connections",
                &[],
            )
            .await;
        row.expect("a row").get::<_, bool>(0)
    })
    .await;
    // Without the password that nobody can read, a new key may begin.
    let path = format!("{POSTGRES}/{}", id(&made));
    for body in [json!({ "password": null }), json!({ "password": "again" })] {
        let reply = send(&other_node, "PATCH", &path, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_refused_in_every_spelling() {
    let setup = Setup {
        allow: Vec::new(),
        ..Setup::default()
    };
    let Some(api) = api(setup).await else { return };
    for host in [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "fd00::1",
        "fe80::1%lo",
        "127.0.0.1.",
    ] {
        let body =
            json!({ "identifier": "a", "host": host, "username": "u", "password": "hunter2" });
        let reply = send(&api, "POST", &format!("{POSTGRES}/test"), &body)
            .await
            .json();
        assert_eq!(
            reply["error"]["code"], "HOST_NOT_ALLOWED",
            "{host}: {reply}"
        );
        assert!(
            !reply["error"].to_string().contains(host),
            "{host}: {reply}"
        );
        // Stored it may be; nothing ever connects.
        let made = created(&api, POSTGRES, body).await;
        let path = "/api/platform/postgres/default/schemas?connection=a";
        let reply = send(&api, "GET", path, &Value::Null).await;
        assert_eq!(
            reply.error(),
            (400, "HOST_NOT_ALLOWED".to_owned()),
            "{host}"
        );
        send(
            &api,
            "DELETE",
            &format!("{POSTGRES}/{}", id(&made)),
            &Value::Null,
        )
        .await;
    }
}

#[tokio::test]
async fn another_projects_things_are_unknown_even_by_id() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    let made = created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    // The row becomes another project's.
    execute(
        &api,
        "update platform.database_connections set project_ref = 'other'",
    )
    .await;
    let place = format!("{POSTGRES}/{}", id(&made));
    for (method, path, body) in [
        ("GET", place.clone(), Value::Null),
        ("PATCH", place.clone(), json!({ "identifier": "mine" })),
        (
            "PUT",
            place.clone(),
            json!({ "identifier": "mine", "host": "h" }),
        ),
        ("POST", format!("{place}/test"), Value::Null),
        ("DELETE", place.clone(), Value::Null),
        (
            "GET",
            "/api/platform/postgres/default/schemas?connection=a".to_owned(),
            Value::Null,
        ),
    ] {
        // What was kept of it is no answer either.
        let mut call = api
            .call(method.parse::<Method>().unwrap(), &path)
            .header("cache-control", "no-cache");
        if !body.is_null() {
            call = call.json(&body);
        }
        let reply = call.owner().send().await;
        assert_eq!(
            reply.error(),
            (404, "CONNECTION_NOT_FOUND".to_owned()),
            "{method} {path}"
        );
    }
    for path in [
        "/api/platform/postgres/other/connections".to_owned(),
        place.replace("default", "other"),
    ] {
        let reply = send(&api, "GET", &path, &Value::Null).await;
        assert_eq!(
            reply.error(),
            (404, "PROJECT_NOT_FOUND".to_owned()),
            "{path}"
        );
        let stranger = api.get(&path).send().await;
        assert_eq!(
            stranger.status, 401,
            "a stranger learns nothing of projects"
        );
        let visitor = api.get(&path).bearer(&harness::anon_key()).send().await;
        assert_eq!(visitor.status, 403);
    }
}

#[tokio::test]
async fn nothing_is_changed_that_the_audit_log_does_not_know() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    execute(&api, "alter table platform.audit_log rename to away").await;
    let sql = json!({ "sql": "create table sneaky (a int)" });
    for path in [
        "/api/platform/postgres/default/query",
        "/api/platform/postgres/default/query?connection=a",
    ] {
        assert_eq!(send(&api, "POST", path, &sql).await.status, 500, "{path}");
    }
    let new = json!({ "identifier": "b", "host": "h" });
    assert_eq!(send(&api, "POST", REDIS, &new).await.status, 500);
    execute(&api, "alter table platform.away rename to audit_log").await;
    let client = api.database.as_ref().expect("a database").superuser().await;
    let sneaky = client
        .query_one("select to_regclass('public.sneaky') is null", &[])
        .await;
    assert!(sneaky.expect("a row").get::<_, bool>(0), "it was not made");
    let stored = send(&api, "GET", REDIS, &Value::Null).await.json();
    assert_eq!(stored["connections"], json!([]));
    assert_eq!(audit(api.database.as_ref().unwrap()).await.len(), 1);
}

#[tokio::test]
async fn what_is_kept_of_a_connection_is_forgotten_with_a_change_and_bypassed_on_request() {
    let Some(api) = api(Setup::default()).await else {
        return;
    };
    created(
        &api,
        POSTGRES,
        json!({ "identifier": "a", "url": url(&api) }),
    )
    .await;
    let path = "/api/platform/postgres/default/schemas?connection=a";
    assert_eq!(send(&api, "GET", path, &Value::Null).await.status, 200);
    // The first use told how the connection is, and with that what was kept was forgotten.
    eventually("the status is stored", async || {
        let list = send(&api, "GET", POSTGRES, &Value::Null).await.json();
        list["connections"][0]["status"] == "ACTIVE"
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(send(&api, "GET", path, &Value::Null).await.status, 200);
    // Behind our back: another node's change.
    execute(
        &api,
        "update platform.database_connections set identifier = 'b', version = version + 1",
    )
    .await;
    assert_eq!(
        send(&api, "GET", path, &Value::Null).await.status,
        200,
        "kept for five minutes"
    );
    let fresh = api
        .get(path)
        .header("cache-control", "no-cache")
        .owner()
        .send()
        .await;
    assert_eq!(fresh.error(), (404, "CONNECTION_NOT_FOUND".to_owned()));
}
