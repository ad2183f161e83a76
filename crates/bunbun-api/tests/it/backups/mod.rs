//! `/api/backups` on a real PostgreSQL, with the programs of this machine and a local directory.

mod interrupted;
mod restore;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use bunbun_api::{
    backups::{Backups, BackupsParts},
    state::SingleDatabase,
};
use bunbun_core::{
    config::DatabaseConfig,
    id::{BackupId, ProjectRef},
    secret,
    shutdown::Shutdown,
};
use bunbun_databases::postgres::{
    dump::Tools,
    pool::{Pool, PoolConfig},
};
use bunbun_store::{Store, backups as rows};
use bunbun_test::TestDb;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::api::Api;

const PATH: &str = "/api/backups";

/// The endpoints around a project's database and a control plane, each of its own.
struct Stage {
    api: Api,
    backups: Backups,
    store: Store,
    data: TempDir,
    platform: TestDb,
}

impl Stage {
    async fn new() -> Option<Self> {
        let database = TestDb::create().await?;
        let client = database.pool().get().await.expect("a connection");
        let tables = "create table notes (id int primary key, text text);
            insert into notes select i, 'note ' || i from generate_series(1, 1000) i;
            create table tags (name text)";
        client.batch_execute(tables).await.expect("tables");
        Self::around(database).await
    }

    async fn around(database: TestDb) -> Option<Self> {
        let platform = TestDb::create().await?;
        let data = tempfile::tempdir().expect("a directory");
        let store = store(platform.url());
        let backups = backups(database.pool(), store.clone(), data.path(), Shutdown::new());
        let pool = database.pool();
        let set = backups.clone();
        let api = Api::new(Some(pool), Some(database), |parts| {
            parts.backups = Some(set);
        });
        Some(Self {
            api,
            backups,
            store,
            data,
            platform,
        })
    }

    fn database(&self) -> &TestDb {
        self.api.database.as_ref().expect("there is one")
    }

    fn name(&self) -> &str {
        self.database().name()
    }

    async fn create(&self) -> Value {
        let reply = self.api.post(PATH).owner().send().await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let backup = reply.json();
        assert_eq!(reply.header("location"), format!("{PATH}/{}", id(&backup)));
        backup
    }

    async fn get(&self, id: &str) -> Value {
        self.api
            .get(&format!("{PATH}/{id}"))
            .owner()
            .send()
            .await
            .json()
    }

    async fn restore(&self, id: &str, body: &Value) -> crate::api::Reply {
        let path = format!("{PATH}/{id}/restore");
        self.api.post(&path).owner().json(body).send().await
    }

    /// Waits until nothing runs.
    async fn finished(&self, id: &str) -> Value {
        let finished = async {
            loop {
                let backup = self.get(id).await;
                if backup["status"] != "running" && backup["restore"]["status"] != "running" {
                    return backup;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(40), finished)
            .await
            .expect("in time")
    }

    async fn backed_up(&self) -> Value {
        let backup = self.finished(id(&self.create().await)).await;
        assert_eq!(backup["status"], "succeeded", "{backup}");
        backup
    }

    async fn execute(&self, sql: &str) {
        self.pool()
            .get()
            .await
            .expect("a connection")
            .batch_execute(sql)
            .await
            .expect("done");
    }

    async fn count(&self, sql: &str) -> i64 {
        let client = self.pool().get().await.expect("a connection");
        client.query_one(sql, &[]).await.expect("an answer").get(0)
    }

    fn pool(&self) -> Pool {
        self.database().pool()
    }

    fn pool_of(&self, name: &str) -> Pool {
        let url = self.database().url().rsplit_once('/').expect("a path").0;
        Pool::new(&PoolConfig::new(format!("{url}/{name}").into())).expect("a pool")
    }

    async fn databases(&self, name: &str) -> i64 {
        self.count(&format!(
            "select count(*) from pg_database where datname = '{name}'"
        ))
        .await
    }

    /// The database into which the last restore loads, or which is left of it.
    async fn working_database(&self, id: &str) -> Option<String> {
        let id = id.parse().expect("an id");
        let row = self
            .backups
            .get(&ProjectRef::default_project(), id)
            .await
            .expect("a row");
        row.restore.expect("a restore").working_database
    }

    async fn drop_database(&self, name: &str) {
        self.execute(&format!("drop database \"{name}\" with (force)"))
            .await;
    }

    fn files(&self) -> Vec<PathBuf> {
        files(&self.data.path().join("backups/default"))
    }

    /// Holds a table exclusively, so that `pg_dump` waits.
    async fn blocked(&self) -> bunbun_databases::postgres::pool::Client {
        let client = self.pool().get().await.expect("a connection");
        client
            .batch_execute("begin; lock table notes")
            .await
            .expect("a lock");
        client
    }

    /// Waits until `pg_dump` is there and waits, or is gone.
    async fn dumping(&self, wanted: bool) {
        let sql = format!(
            "select count(*) from pg_stat_activity where datname = '{}' \
             and application_name = 'bunbun backups' and (wait_event_type = 'Lock' or not {wanted})",
            self.name()
        );
        let reached = async {
            while (self.count(&sql).await > 0) != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached)
            .await
            .expect("in time");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

fn store(url: &str) -> Store {
    let config = DatabaseConfig {
        url: None,
        platform_url: Some(url.into()),
        pool_size: 1,
        statement_timeout: Duration::from_secs(30),
        max_rows: 1,
    };
    Store::new(&config).expect("a store")
}

fn backups(pool: Pool, store: Store, data: &Path, shutdown: Shutdown) -> Backups {
    let databases = Arc::new(SingleDatabase(Some(pool)));
    let parts = BackupsParts {
        store,
        databases,
        url: None,
        data_directory: data,
        shutdown,
    };
    Backups::new(parts).expect("a place")
}

fn id(backup: &Value) -> &str {
    backup["id"].as_str().expect("an id")
}

/// The contents of a dump, as `pg_restore` reads it.
async fn table_of_contents(dump: &[u8]) -> String {
    let program = Tools::find(0).await.expect("PostgreSQL").path("pg_restore");
    let mut child = tokio::process::Command::new(program)
        .arg("--list")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pg_restore");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(dump).await.expect("written");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn a_backup_is_made_listed_and_downloaded() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let begun = stage.create().await;
    assert_eq!(
        (&begun["status"], &begun["error"]),
        (&json!("running"), &Value::Null)
    );
    assert_eq!(begun["database"], stage.name());
    let done = stage.finished(id(&begun)).await;
    assert_eq!(done["status"], "succeeded", "{done}");
    assert_eq!(
        done["progress"],
        json!({ "tables_done": 2, "tables_total": 2 })
    );
    assert!(done["finished_at"].as_str() >= done["created_at"].as_str());

    let reply = stage
        .api
        .get(&format!("{PATH}/{}/download", id(&done)))
        .owner()
        .send()
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), done["bytes"].to_string());
    assert_eq!(done["sha256"], secret::hex(&secret::digest(&reply.body)));
    assert!(reply.header("repr-digest").starts_with("sha-256=:"));
    let disposition = reply.header("content-disposition");
    assert!(disposition.starts_with(&format!("attachment; filename=\"{}-2", stage.name())));
    let contents = table_of_contents(&reply.body).await;
    assert!(contents.contains("TABLE DATA public notes"), "{contents}");

    let second = stage.backed_up().await;
    let page = |query: &str| stage.api.get(&format!("{PATH}?{query}")).owner();
    let first_page = page("limit=1").send().await.json();
    assert_eq!(
        (&first_page["backups"][0], &first_page["next"]),
        (&second, &second["id"])
    );
    let last_page = page(&format!("before={}", id(&second))).send().await.json();
    assert_eq!(last_page, json!({ "backups": [done], "next": null }));
    assert_eq!(
        page("limit=0").send().await.error(),
        (400, "VALIDATION_FAILED".to_owned())
    );
}

#[tokio::test]
async fn one_backup_at_a_time_of_one_database() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let blocked = stage.blocked().await;
    let requests = (0..8).map(|_| stage.api.post(PATH).owner().send());
    let replies = futures_util::future::join_all(requests).await;
    let (begun, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == 202);
    assert_eq!((begun.len(), refused.len()), (1, 7));
    for reply in refused {
        assert_eq!(reply.error(), (409, "BACKUP_IN_PROGRESS".to_owned()));
    }
    let backup = begun[0].json();
    let path = format!("{PATH}/{}", id(&backup));
    for call in [
        stage.api.get(&format!("{path}/download")),
        stage
            .api
            .post(&format!("{path}/restore"))
            .json(&json!({ "database": "x" })),
        stage.api.call(Method::DELETE, &path),
    ] {
        assert_eq!(
            call.owner().send().await.error(),
            (409, "BACKUP_NOT_READY".to_owned())
        );
    }
    blocked.close();
    assert_eq!(stage.finished(id(&backup)).await["status"], "succeeded");
    stage.backed_up().await;
}

#[tokio::test]
async fn a_backup_that_fails_says_why_and_leaves_no_object() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let superuser = stage.database().superuser().await;
    superuser
        .batch_execute("create table forbidden ()")
        .await
        .expect("a table of another");
    let failed = stage.finished(id(&stage.create().await)).await;
    assert_eq!(failed["status"], "failed");
    let error = failed["error"].as_str().expect("a reason");
    assert!(
        error.contains("permission denied for table forbidden"),
        "{error}"
    );
    stage.backups.stopped().await;
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    let path = format!("{PATH}/{}", id(&failed));
    let reply = stage
        .api
        .get(&format!("{path}/download"))
        .owner()
        .send()
        .await;
    assert_eq!(reply.error(), (409, "BACKUP_NOT_READY".to_owned()));
    let deleted = stage.api.call(Method::DELETE, &path).owner().send().await;
    assert_eq!(deleted.status, 204);
}

#[tokio::test]
async fn a_backup_is_deleted_with_its_dump() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let backup = stage.backed_up().await;
    assert_eq!(stage.files().len(), 1);
    let path = format!("{PATH}/{}", id(&backup));
    let reply = stage.api.call(Method::DELETE, &path).owner().send().await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    assert!(stage.files().is_empty());
    for method in [Method::DELETE, Method::GET] {
        let reply = stage.api.call(method, &path).owner().send().await;
        assert_eq!(reply.error(), (404, "BACKUP_NOT_FOUND".to_owned()));
    }
}

#[tokio::test]
async fn another_project_s_backup_and_what_is_no_id_are_not_found() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let client = stage.store.client().await.expect("a connection");
    let other = "other".parse().expect("a reference");
    let new = rows::NewBackup {
        id: BackupId::generate(),
        database: "theirs",
        object_key: "other/x.dump",
        database_version: "15.1",
        tables_total: None,
        node: "their node",
    };
    let theirs = rows::insert(&client, &other, new).await.expect("a row").id;
    rows::update_succeeded(&client, &other, theirs, "their node", 1, [0; 32])
        .await
        .expect("done");
    for id in [
        theirs.to_string(),
        BackupId::generate().to_string(),
        "x".into(),
        "%2e%2e".into(),
    ] {
        let path = format!("{PATH}/{id}");
        for call in [
            stage.api.get(&path),
            stage.api.get(&format!("{path}/download")),
            stage
                .api
                .post(&format!("{path}/restore"))
                .json(&json!({ "database": "x" })),
            stage.api.call(Method::DELETE, &path),
        ] {
            let reply = call.owner().send().await;
            assert_eq!(reply.error(), (404, "BACKUP_NOT_FOUND".to_owned()), "{id}");
        }
    }
    let listed = stage.api.get(PATH).owner().send().await.json();
    assert_eq!(listed["backups"], json!([]));
}

#[tokio::test]
async fn what_is_down_makes_only_its_own_endpoints_unavailable() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    drop(socket);
    let nowhere = format!("postgres://u:hunter2@127.0.0.1:{port}/d");
    let dead = || Pool::new(&PoolConfig::new(nowhere.clone().into())).expect("a pool");

    let without_database = backups(
        dead(),
        stage.store.clone(),
        stage.data.path(),
        Shutdown::new(),
    );
    let api = Api::new(Some(dead()), None, |parts| {
        parts.backups = Some(without_database);
    });
    let reply = api.post(PATH).owner().send().await;
    assert_eq!(reply.error(), (503, "DATABASE_UNAVAILABLE".to_owned()));
    assert!(!reply.header("retry-after").is_empty());
    assert!(!reply.text().contains("hunter2") && !reply.text().contains("127.0.0.1"));
    assert_eq!(
        api.get(PATH).owner().send().await.status,
        200,
        "the list needs it not"
    );

    let without_platform = backups(
        stage.pool(),
        store(&nowhere),
        stage.data.path(),
        Shutdown::new(),
    );
    let api = Api::new(Some(stage.pool()), None, |parts| {
        parts.backups = Some(without_platform);
    });
    for call in [
        api.get(PATH),
        api.post(PATH),
        api.get(&format!("{PATH}/{}", BackupId::generate())),
    ] {
        let reply = call.owner().send().await;
        assert_eq!(reply.error(), (503, "DATABASE_UNAVAILABLE".to_owned()));
    }
    assert_eq!(api.get("/health").send().await.status, 200);

    let api = Api::new(Some(stage.pool()), None, |_| {});
    let reply = api.get(PATH).owner().send().await;
    assert_eq!(reply.error(), (503, "SERVICE_UNAVAILABLE".to_owned()));
}
