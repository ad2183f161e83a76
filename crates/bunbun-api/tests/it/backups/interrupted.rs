//! Crashes, lost leases, shutdowns.

use std::{path::Path, time::Duration};

use bunbun_core::{
    id::{BackupId, ProjectRef},
    shutdown::Shutdown,
};
use bunbun_databases::postgres::pool::{Pool, PoolConfig};
use bunbun_store::backups as rows;

use super::{Stage, backups, files, id, store};

#[tokio::test]
async fn what_was_interrupted_by_a_crash_is_failed_at_the_next_start() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let project = ProjectRef::default_project();
    let done = stage.backed_up().await;
    let blocked = stage.blocked().await;
    let (url, pool_url) = (
        stage.platform.url().to_owned(),
        stage.database().url().to_owned(),
    );
    let data = stage.data.path().join("crashing");

    // A node of its own, on a runtime of its own, that is torn down in the middle of the work.
    let node = move |data: &Path| {
        let pool = Pool::new(&PoolConfig::new(pool_url.clone().into())).expect("a pool");
        backups(pool, store(&url), data, Shutdown::new())
    };
    let crashing = {
        let (data, node, project) = (data.clone(), node.clone(), project.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let backup = runtime.block_on(async { node(&data).create(&project).await });
            (runtime, backup.expect("it begins").id)
        })
    };
    let (runtime, id) = crashing.join().expect("no panic");
    stage.dumping(true).await;
    let partial = data.join("backups/default");
    assert_eq!(files(&partial).len(), 1, "it writes");
    // Tearing down gently removes the file; a crash does not.
    let left = files(&partial)[0].clone();
    let torn_down = std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(10)));
    torn_down.join().expect("no panic");
    std::fs::write(&left, b"half a dump").expect("left behind");
    blocked.close();
    stage.dumping(false).await;
    assert_eq!(
        stage.get(&id.to_string()).await["status"],
        "running",
        "another node cannot know"
    );

    // As if the node had also been restoring.
    let working = format!("bunbun_restore_of_{}", stage.name());
    stage.execute(&format!("create database {working}")).await;
    let client = stage.store.client().await.expect("a connection");
    let dead = std::fs::read_to_string(data.join("node")).expect("its name");
    let restore = rows::NewRestore {
        database: "x",
        working_database: &working,
        node: &dead,
    };
    let restored = self::id(&done).parse::<BackupId>().expect("an id");
    rows::update_restore_started(&client, &project, restored, restore)
        .await
        .expect("noted");

    let next = node(&data);
    let row = next.get(&project, id).await.expect("a row");
    assert_eq!(row.status, rows::Status::Failed);
    assert!(row.error.expect("a reason").starts_with("Interrupted"));
    let row = next.get(&project, restored).await.expect("a row");
    assert_eq!(
        row.restore.expect("it is noted").status,
        rows::Status::Failed
    );
    next.tidy(&project).await.expect("tidy");
    assert!(files(&partial).is_empty(), "{:?}", files(&partial));
    assert_eq!(stage.databases(&working).await, 0);
    let row = next.get(&project, restored).await.expect("a row");
    assert_eq!(row.restore.expect("it is noted").working_database, None);
    stage.backed_up().await;
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_stops() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let blocked = stage.blocked().await;
    let begun = stage.create().await;
    stage.dumping(true).await;
    let client = stage.store.client().await.expect("a connection");
    let project = ProjectRef::default_project();
    let marked = rows::mark_interrupted(&client, &project, None, Duration::ZERO).await;
    assert_eq!(marked.expect("marked").len(), 1);
    let stopped = tokio::time::timeout(Duration::from_secs(20), stage.backups.stopped());
    stopped.await.expect("it stops by itself");
    blocked.close();
    stage.dumping(false).await;
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    assert_eq!(stage.get(id(&begun)).await["status"], "failed");
}

#[tokio::test]
async fn a_shutdown_ends_what_runs_and_begins_nothing() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let blocked = stage.blocked().await;
    let (shutdown, project) = (Shutdown::new(), ProjectRef::default_project());
    let data = stage.data.path().join("stopping");
    let node = backups(stage.pool(), stage.store.clone(), &data, shutdown.clone());
    node.start();
    let id = node.create(&project).await.expect("it begins").id;
    stage.dumping(true).await;
    shutdown.begin();
    node.stopped().await;
    let row = node.get(&project, id).await.expect("a row");
    assert_eq!(
        row.error.as_deref(),
        Some("Interrupted: BunBun was stopped.")
    );
    assert!(files(&data.join("backups/default")).is_empty());
    node.create(&project)
        .await
        .expect_err("it is about to stop");
    blocked.close();
    stage.dumping(false).await;
}
