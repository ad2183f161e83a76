//! `POST /api/backups/{id}/restore`

use std::time::Duration;

use bunbun_core::{id::ProjectRef, shutdown::Shutdown};
use bunbun_test::TestDb;
use serde_json::{Value, json};

use super::{PATH, Stage, backups, id, store};
use crate::api::Api;

#[tokio::test]
async fn a_backup_is_restored_into_a_new_database() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let backup = stage.backed_up().await;
    let target = format!("{}_copy", stage.name());
    let reply = stage
        .restore(id(&backup), &json!({ "database": target }))
        .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.json()["restore"]["status"], "running");
    let done = stage.finished(id(&backup)).await;
    assert_eq!(done["restore"]["status"], "succeeded", "{done}");
    assert_eq!(done["restore"]["database"], target);
    assert_eq!(done["restore"]["previous_database"], Value::Null);
    let copy = stage.pool_of(&target);
    let client = copy.get().await.expect("a connection");
    let notes: i64 = client
        .query_one("select count(*) from notes", &[])
        .await
        .expect("ok")
        .get(0);
    assert_eq!(notes, 1000);
    drop(client);

    let again = stage
        .restore(id(&backup), &json!({ "database": target }))
        .await;
    assert_eq!(again.error(), (409, "DATABASE_EXISTS".to_owned()));
    let confirmed = json!({ "database": target, "confirm": target });
    let again = stage.restore(id(&backup), &confirmed).await;
    assert_eq!(
        again.error(),
        (409, "DATABASE_EXISTS".to_owned()),
        "it is not the backup's own"
    );
    stage.drop_database(&target).await;
}

#[tokio::test]
async fn hostile_names_of_databases_are_refused() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let backup = stage.backed_up().await;
    for name in [
        "x\"; drop table notes; --",
        "x' host=evil.example",
        "postgres://evil.example/x",
        "dbname=x",
        "-x",
        "../x",
        "a b",
        "n\u{0}l",
        "bunbun_restore_x",
        &"x".repeat(64),
        "",
    ] {
        let reply = stage
            .restore(id(&backup), &json!({ "database": name }))
            .await;
        assert_eq!(
            reply.error(),
            (400, "VALIDATION_FAILED".to_owned()),
            "{name}"
        );
        assert_eq!(
            reply.json()["error"]["details"]["errors"][0]["pointer"],
            "/database"
        );
    }
    for name in ["postgres", "template1", stage.platform.name()] {
        let reply = stage
            .restore(id(&backup), &json!({ "database": name }))
            .await;
        assert_eq!(reply.error(), (409, "DATABASE_EXISTS".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn a_database_is_replaced_only_when_it_is_named() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let backup = stage.backed_up().await;
    stage
        .execute("delete from notes; create table later ()")
        .await;
    for body in [
        json!({}),
        json!({ "confirm": "notes" }),
        json!({ "database": stage.name() }),
    ] {
        let reply = stage.restore(id(&backup), &body).await;
        assert_eq!(
            reply.error(),
            (400, "CONFIRMATION_REQUIRED".to_owned()),
            "{body}"
        );
        assert_eq!(reply.json()["error"]["details"]["confirm"], stage.name());
    }
    assert_eq!(stage.count("select count(*) from notes").await, 0);

    let busy = stage
        .pool()
        .get()
        .await
        .expect("a session that is in the way");
    let reply = stage
        .restore(id(&backup), &json!({ "confirm": stage.name() }))
        .await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let done = stage.finished(id(&backup)).await;
    assert_eq!(done["restore"]["status"], "succeeded", "{done}");
    drop(busy);
    assert_eq!(stage.count("select count(*) from notes").await, 1000);
    let later = stage
        .count("select count(*) from pg_class where relname = 'later'")
        .await;
    assert_eq!(later, 0);

    let previous = done["restore"]["previous_database"]
        .as_str()
        .expect("a name")
        .to_owned();
    let old = stage.pool_of(&previous);
    let client = old.get().await.expect("a connection");
    client
        .query("select from later", &[])
        .await
        .expect("nothing is lost");
    drop(client);
    // The endpoints' own pool finds the new one.
    stage.backed_up().await;
    stage.drop_database(&previous).await;
}

#[tokio::test]
async fn a_database_with_the_control_plane_in_it_is_not_replaced() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let data = tempfile::tempdir().expect("a directory");
    let store = store(database.url());
    let backups = backups(database.pool(), store, data.path(), Shutdown::new());
    let api = Api::new(Some(database.pool()), Some(database), |parts| {
        parts.backups = Some(backups);
    });
    let backup = api.post(PATH).owner().send().await.json();
    let path = format!("{PATH}/{}", id(&backup));
    while api.get(&path).owner().send().await.json()["status"] == "running" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let body = json!({ "confirm": backup["database"] });
    let reply = api
        .post(&format!("{path}/restore"))
        .owner()
        .json(&body)
        .send()
        .await;
    assert_eq!(reply.error(), (409, "BACKUP_NOT_READY".to_owned()));
}

#[tokio::test]
async fn a_dump_that_was_changed_is_not_restored() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let backup = stage.backed_up().await;
    let file = &stage.files()[0];
    let mut bytes = std::fs::read(file).expect("the dump");
    bytes.extend_from_slice(b"behind the end");
    std::fs::write(file, bytes).expect("changed");
    stage.execute("delete from notes").await;
    stage
        .restore(id(&backup), &json!({ "confirm": stage.name() }))
        .await;
    let working = stage
        .working_database(id(&backup))
        .await
        .expect("it loads somewhere");
    let failed = stage.finished(id(&backup)).await;
    assert_eq!(failed["restore"]["status"], "failed", "{failed}");
    assert!(
        failed["restore"]["error"]
            .as_str()
            .expect("a reason")
            .contains("SHA-256")
    );
    assert_eq!(
        stage.count("select count(*) from notes").await,
        0,
        "nothing was replaced"
    );
    stage
        .backups
        .tidy(&ProjectRef::default_project())
        .await
        .expect("tidy");
    assert_eq!(stage.databases(&working).await, 0);
    assert_eq!(stage.working_database(id(&backup)).await, None);

    std::fs::remove_file(file).expect("removed");
    let gone = stage
        .api
        .get(&format!("{PATH}/{}/download", id(&backup)))
        .owner()
        .send()
        .await;
    assert_eq!(gone.error(), (502, "UPSTREAM_ERROR".to_owned()));
}
