//! Tests of the table `platform.backups`.

use std::time::Duration;

use bunbun_core::{
    Classify, Code,
    id::{BackupId, ProjectRef},
};
use bunbun_store::{
    Client, Error,
    backups::{self, Backup, NewBackup, NewRestore, Status},
};

use crate::store;

const NODE: &str = "node-a";
const LONG: Duration = Duration::from_secs(60);

fn project(name: &str) -> ProjectRef {
    name.parse().expect("a reference")
}

async fn begin(client: &Client, of: &ProjectRef, database: &str) -> Result<Backup, Error> {
    let new = NewBackup {
        id: BackupId::generate(),
        database,
        object_key: "default/x.dump",
        database_version: "15.1",
        tables_total: Some(3),
        node: NODE,
    };
    backups::insert(client, of, new).await
}

async fn succeeded(client: &Client, of: &ProjectRef, database: &str) -> Backup {
    let backup = begin(client, of, database).await.expect("a backup");
    backups::update_succeeded(client, of, backup.id, NODE, 100, [7; 32])
        .await
        .expect("an answer")
        .expect("the lease is ours")
}

fn restore_into(database: &str) -> NewRestore<'_> {
    NewRestore {
        database,
        working_database: "bunbun_restore_x",
        node: NODE,
    }
}

#[tokio::test]
async fn a_backup_goes_from_running_to_succeeded() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let backup = begin(&client, &project, "shop").await.expect("a backup");
    assert_eq!((backup.status, backup.is_busy()), (Status::Running, true));
    assert_eq!(
        (backup.bytes, backup.tables_total, backup.restore.is_none()),
        (0, Some(3), true)
    );
    let id = backup.id;
    assert!(
        backups::update_progress(&client, &project, id, NODE, 5_000_000_000, 2)
            .await
            .unwrap()
    );
    let running = backups::get(&client, &project, id).await.unwrap();
    assert_eq!((running.bytes, running.tables_done), (5_000_000_000, 2));
    let done = backups::update_succeeded(&client, &project, id, NODE, 6_000_000_000, [7; 32]);
    let done = done.await.unwrap().expect("the lease is ours");
    assert_eq!(
        (done.status, done.is_busy(), done.tables_done),
        (Status::Succeeded, false, 3)
    );
    assert_eq!((done.sha256, done.bytes), (Some([7; 32]), 6_000_000_000));
    assert!(done.finished_at.expect("a time") >= done.created_at);
    assert_eq!(
        backups::find(&client, &project, id).await.unwrap(),
        Some(done)
    );
}

#[tokio::test]
async fn a_failed_backup_keeps_its_reason_until_its_object_is_gone() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let id = begin(&client, &project, "shop").await.unwrap().id;
    assert!(
        backups::list_remains(&client, &project)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        backups::update_failed(&client, &project, id, NODE, "no disk")
            .await
            .unwrap()
    );
    let failed = backups::get(&client, &project, id).await.unwrap();
    assert_eq!(
        (failed.status, failed.error.as_deref()),
        (Status::Failed, Some("no disk"))
    );
    assert_eq!(
        backups::list_remains(&client, &project).await.unwrap(),
        [failed]
    );
    assert!(
        backups::update_object_gone(&client, &project, id)
            .await
            .unwrap()
    );
    assert!(
        backups::list_remains(&client, &project)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        backups::get(&client, &project, id)
            .await
            .unwrap()
            .object_key,
        None
    );
}

#[tokio::test]
async fn one_backup_or_restore_at_a_time_per_database() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let (project, other) = (project("default"), project("other"));
    let old = succeeded(&client, &project, "shop").await;
    let running = begin(&client, &project, "shop").await.expect("a backup");
    let error = begin(&client, &project, "shop")
        .await
        .expect_err("one runs");
    assert_eq!(error.code(), Code::BackupInProgress);
    begin(&client, &project, "blog")
        .await
        .expect("another database");
    begin(&client, &other, "shop")
        .await
        .expect("another project's database of that name");
    let over = backups::update_restore_started(&client, &project, old.id, restore_into("shop"));
    assert_eq!(
        over.await.expect_err("one runs").code(),
        Code::BackupInProgress
    );
    let beside = backups::update_restore_started(&client, &project, old.id, restore_into("new"));
    assert!(beside.await.unwrap().expect("it may").is_busy());
    assert_eq!(
        begin(&client, &project, "new").await.unwrap_err().code(),
        Code::BackupInProgress
    );
    assert!(
        backups::update_failed(&client, &project, running.id, NODE, "x")
            .await
            .unwrap()
    );
    begin(&client, &project, "shop").await.expect("free again");
}

#[tokio::test]
async fn a_restore_is_noted_beside_its_backup() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let running = begin(&client, &project, "shop").await.unwrap();
    let refused = backups::update_restore_started(&client, &project, running.id, restore_into("a"));
    assert_eq!(refused.await.unwrap(), None, "it is not complete");
    backups::update_failed(&client, &project, running.id, NODE, "x")
        .await
        .unwrap();
    backups::update_object_gone(&client, &project, running.id)
        .await
        .unwrap();

    let id = succeeded(&client, &project, "shop").await.id;
    let started = backups::update_restore_started(&client, &project, id, restore_into("new"));
    let restore = started
        .await
        .unwrap()
        .expect("it may")
        .restore
        .expect("it is noted");
    assert_eq!(
        (restore.status, restore.database.as_str()),
        (Status::Running, "new")
    );
    let again = backups::update_restore_started(&client, &project, id, restore_into("b"));
    assert_eq!(again.await.unwrap(), None, "it is busy");
    assert!(
        backups::update_restore_heartbeat(&client, &project, id, NODE)
            .await
            .unwrap()
    );
    assert!(
        !backups::update_restore_heartbeat(&client, &project, id, "node-b")
            .await
            .unwrap()
    );
    let kept = Some("shop_before");
    assert!(
        backups::update_restore_succeeded(&client, &project, id, NODE, kept)
            .await
            .unwrap()
    );
    let restore = backups::get(&client, &project, id)
        .await
        .unwrap()
        .restore
        .expect("it is noted");
    assert_eq!(
        (restore.status, restore.working_database),
        (Status::Succeeded, None)
    );
    assert_eq!(restore.previous_database.as_deref(), kept);

    let started = backups::update_restore_started(&client, &project, id, restore_into("c"));
    assert!(started.await.unwrap().is_some());
    assert!(
        backups::update_restore_failed(&client, &project, id, NODE, "no disk")
            .await
            .unwrap()
    );
    let failed = backups::get(&client, &project, id).await.unwrap();
    let restore = failed.restore.clone().expect("it is noted");
    assert_eq!(
        (restore.error.as_deref(), restore.previous_database),
        (Some("no disk"), None)
    );
    assert_eq!(
        backups::list_remains(&client, &project).await.unwrap(),
        [failed]
    );
    let blocked = backups::update_restore_started(&client, &project, id, restore_into("d"));
    assert_eq!(
        blocked.await.unwrap(),
        None,
        "its working database is still there"
    );
    assert_eq!(backups::delete(&client, &project, id).await.unwrap(), None);
    assert!(
        backups::update_working_database_gone(&client, &project, id)
            .await
            .unwrap()
    );
    assert!(
        backups::list_remains(&client, &project)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_loses_its_lease() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let id = begin(&client, &project, "shop").await.unwrap().id;
    let restored = succeeded(&client, &project, "blog").await.id;
    let started = backups::update_restore_started(&client, &project, restored, restore_into("new"));
    started.await.unwrap().expect("it may");

    let marked = backups::mark_interrupted(&client, &project, Some("node-b"), LONG)
        .await
        .unwrap();
    assert!(marked.is_empty(), "the node breathes");
    client
        .batch_execute("update platform.backups set heartbeat_at = now() - interval '2 min'")
        .await
        .unwrap();
    let mut marked = backups::mark_interrupted(&client, &project, None, LONG)
        .await
        .unwrap();
    marked.sort_by_key(|backup| backup.id);
    assert_eq!(
        marked.iter().map(|backup| backup.id).collect::<Vec<_>>(),
        [id, restored]
    );
    assert_eq!(marked[0].status, Status::Failed);
    assert!(
        marked[0]
            .error
            .as_deref()
            .unwrap()
            .starts_with("Interrupted")
    );
    assert_eq!(marked[1].status, Status::Succeeded);
    assert_eq!(marked[1].restore.as_ref().unwrap().status, Status::Failed);

    assert!(
        !backups::update_progress(&client, &project, id, NODE, 1, 1)
            .await
            .unwrap()
    );
    assert!(
        !backups::update_failed(&client, &project, id, NODE, "x")
            .await
            .unwrap()
    );
    let late = backups::update_succeeded(&client, &project, id, NODE, 1, [1; 32]);
    assert_eq!(late.await.unwrap(), None);
    let late = backups::update_restore_succeeded(&client, &project, restored, NODE, None);
    assert!(!late.await.unwrap());
    assert!(
        !backups::update_restore_failed(&client, &project, restored, NODE, "x")
            .await
            .unwrap()
    );
    begin(&client, &project, "shop")
        .await
        .expect("the database is free");
}

#[tokio::test]
async fn a_node_that_starts_again_marks_its_own_at_once() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    begin(&client, &project, "shop").await.unwrap();
    assert_eq!(
        backups::mark_interrupted(&client, &project, None, LONG)
            .await
            .unwrap()
            .len(),
        0
    );
    let marked = backups::mark_interrupted(&client, &project, Some(NODE), LONG)
        .await
        .unwrap();
    assert_eq!(marked.len(), 1);
}

#[tokio::test]
async fn backups_are_listed_newest_first_in_pages() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(
            begin(&client, &project, &format!("db{number}"))
                .await
                .unwrap()
                .id,
        );
    }
    ids.reverse();
    let page = |before, limit| backups::list(&client, &project, before, limit);
    let listed = |page: Vec<Backup>| page.into_iter().map(|backup| backup.id).collect::<Vec<_>>();
    assert_eq!(listed(page(None, 3).await.unwrap()), ids[..3]);
    assert_eq!(listed(page(Some(ids[2]), 3).await.unwrap()), ids[3..]);
}

#[tokio::test]
async fn a_backup_is_deleted_once_nobody_is_at_work_on_it() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let project = project("default");
    let running = begin(&client, &project, "shop").await.unwrap().id;
    assert_eq!(
        backups::delete(&client, &project, running).await.unwrap(),
        None
    );
    let done = succeeded(&client, &project, "blog").await;
    assert_eq!(
        backups::delete(&client, &project, done.id).await.unwrap(),
        Some(done.clone())
    );
    assert_eq!(
        backups::find(&client, &project, done.id).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn another_project_sees_and_changes_nothing() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let (ours, theirs) = (project("default"), project("other"));
    let running = begin(&client, &ours, "shop").await.unwrap().id;
    let done = succeeded(&client, &ours, "blog").await.id;
    let error = backups::get(&client, &theirs, done)
        .await
        .expect_err("not theirs");
    assert_eq!(error.code(), Code::BackupNotFound);
    assert_eq!(backups::find(&client, &theirs, done).await.unwrap(), None);
    assert!(
        backups::list(&client, &theirs, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        !backups::update_progress(&client, &theirs, running, NODE, 1, 1)
            .await
            .unwrap()
    );
    let done_there = backups::update_succeeded(&client, &theirs, running, NODE, 1, [0; 32]);
    assert_eq!(done_there.await.unwrap(), None);
    assert!(
        !backups::update_failed(&client, &theirs, running, NODE, "x")
            .await
            .unwrap()
    );
    let restore = backups::update_restore_started(&client, &theirs, done, restore_into("x"));
    assert_eq!(restore.await.unwrap(), None);
    assert!(
        !backups::update_restore_heartbeat(&client, &theirs, done, NODE)
            .await
            .unwrap()
    );
    let marked = backups::mark_interrupted(&client, &theirs, Some(NODE), Duration::ZERO).await;
    assert!(marked.unwrap().is_empty());
    assert_eq!(backups::delete(&client, &theirs, done).await.unwrap(), None);
    assert_eq!(
        backups::list(&client, &ours, None, 10).await.unwrap().len(),
        2
    );
}
