//! Tests of the table `platform.database_connections`.

use bunbun_core::id::{ConnectionId, ProjectRef};
use bunbun_store::{
    Client, Error,
    database_connections::{
        self as rows, DatabaseConnection, MAX_CONNECTIONS, Status, StoredHost, StoredSettings,
    },
    signals::{self, Signal},
};
use serde_json::json;

use crate::store;

fn project(name: &str) -> ProjectRef {
    name.parse().expect("a reference")
}

fn settings(identifier: &str) -> StoredSettings {
    let host = |name: &str, port| StoredHost {
        name: name.to_owned(),
        port,
    };
    StoredSettings {
        identifier: identifier.to_owned(),
        hosts: vec![host("a.example", 6379), host("b.example", 6380)],
        database_name: Some("0".to_owned()),
        username: Some("someone".to_owned()),
        password: Some(vec![1, 2, 3]),
        tls: "require".to_owned(),
        options: json!({ "mode": "cluster" }),
        is_primary: false,
    }
}

async fn insert(
    client: &Client,
    of: &ProjectRef,
    kind: &str,
    settings: &StoredSettings,
) -> Result<DatabaseConnection, Error> {
    rows::insert(client, of, ConnectionId::generate(), kind, settings).await
}

#[tokio::test]
async fn a_connection_comes_back_as_it_was_stored() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let mine = project("mine");
    let stored = insert(&client, &mine, "redis", &settings("cache"))
        .await
        .expect("stored");
    let expected = StoredSettings {
        // The first of its kind.
        is_primary: true,
        ..settings("cache")
    };
    assert_eq!(stored.settings, expected);
    assert_eq!((stored.status, stored.version), (Status::Inactive, 1));
    let found = rows::find(&client, &mine, "redis", stored.id).await;
    assert_eq!(found.expect("an answer"), Some(stored.clone()));
    for identifier in [None, Some("cache")] {
        let found = rows::find_by_identifier(&client, &mine, "redis", identifier).await;
        assert_eq!(found.expect("an answer"), Some(stored.clone()));
    }
}

#[tokio::test]
async fn another_project_or_kind_sees_nothing_and_changes_nothing() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let (mine, other) = (project("mine"), project("other"));
    let stored = insert(&client, &mine, "redis", &settings("cache"))
        .await
        .expect("stored");
    for (of, kind) in [(&other, "redis"), (&mine, "mongodb")] {
        assert_eq!(
            rows::find(&client, of, kind, stored.id).await.unwrap(),
            None
        );
        let by_name = rows::find_by_identifier(&client, of, kind, Some("cache")).await;
        assert_eq!(by_name.unwrap(), None);
        assert!(
            rows::list(&client, of, kind, None, 10)
                .await
                .unwrap()
                .is_empty()
        );
        let updated = rows::update(&client, of, kind, stored.id, &settings("x")).await;
        assert!(matches!(updated, Err(Error::ConnectionNotFound)));
        assert!(matches!(
            rows::lock(&client, of, kind, stored.id).await,
            Err(Error::ConnectionNotFound)
        ));
        assert!(!rows::delete(&client, of, kind, stored.id).await.unwrap());
    }
    rows::update_status(&client, &other, stored.id, 1, Status::Error, None)
        .await
        .unwrap();
    let found = rows::find(&client, &mine, "redis", stored.id)
        .await
        .unwrap();
    assert_eq!(found, Some(stored));
}

#[tokio::test]
async fn identifiers_are_unique_in_a_project_and_there_is_one_primary_of_each_kind() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let mine = project("mine");
    let first = insert(&client, &mine, "redis", &settings("a"))
        .await
        .unwrap();
    let taken = insert(&client, &mine, "mongodb", &settings("a")).await;
    assert!(matches!(taken, Err(Error::ConnectionExists)));
    insert(&client, &project("other"), "redis", &settings("a"))
        .await
        .expect("another project's");
    let second = insert(&client, &mine, "redis", &settings("b"))
        .await
        .unwrap();
    assert!(first.settings.is_primary && !second.settings.is_primary);
    rows::update_no_primary_but(&client, &mine, "redis", second.id)
        .await
        .unwrap();
    let changed = StoredSettings {
        is_primary: true,
        ..settings("b")
    };
    let second = rows::update(&client, &mine, "redis", second.id, &changed)
        .await
        .unwrap();
    assert_eq!((second.settings.is_primary, second.version), (true, 2));
    let first = rows::find(&client, &mine, "redis", first.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.settings.is_primary, first.version), (false, 2));
    let renamed = rows::update(&client, &mine, "redis", second.id, &settings("a")).await;
    assert!(matches!(renamed, Err(Error::ConnectionExists)));
}

#[tokio::test]
async fn a_status_is_no_new_version_and_belongs_to_the_version_that_was_tried() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let mine = project("mine");
    let stored = insert(&client, &mine, "redis", &settings("a"))
        .await
        .unwrap();
    let update = async |version, status| {
        rows::update_status(&client, &mine, stored.id, version, status, Some("why"))
            .await
            .unwrap();
        rows::find(&client, &mine, "redis", stored.id)
            .await
            .unwrap()
            .unwrap()
    };
    let now = update(1, Status::Error).await;
    assert_eq!((now.status, now.version), (Status::Error, 1));
    assert_eq!(now.last_error.as_deref(), Some("why"));
    assert!(now.last_checked_at.is_some());
    assert_eq!(
        update(7, Status::Active).await.status,
        Status::Error,
        "another version's"
    );
    let changed = rows::update(&client, &mine, "redis", stored.id, &settings("a"))
        .await
        .unwrap();
    assert_eq!(
        (changed.status, changed.last_error),
        (Status::Inactive, None)
    );
}

#[tokio::test]
async fn lists_are_paged_and_a_project_has_a_bounded_number() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let mine = project("mine");
    for number in 0..MAX_CONNECTIONS {
        let kind = if number % 2 == 0 { "redis" } else { "mongodb" };
        insert(&client, &mine, kind, &settings(&format!("c{number}")))
            .await
            .expect("stored");
    }
    let too_many = insert(&client, &mine, "postgres", &settings("more")).await;
    assert!(matches!(too_many, Err(Error::ConnectionLimit)));
    insert(&client, &project("other"), "redis", &settings("a"))
        .await
        .expect("another project's");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = rows::list(&client, &mine, "redis", after, 20)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|row| row.settings.identifier));
    }
    let expected: Vec<_> = (0..MAX_CONNECTIONS)
        .step_by(2)
        .map(|n| format!("c{n}"))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn changes_and_signals_are_told_but_not_a_new_status() {
    let Some((_database, store, client)) = store().await else {
        return;
    };
    let mine = project("mine");
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let watching = async {
        let told = move |change| tell.send(change).expect("a reader");
        let listening = || ready.send(()).expect("a reader");
        signals::watch(&store, listening, told).await
    };
    let changing = async {
        is_ready.await.expect("listening");
        let stored = insert(&client, &mine, "redis", &settings("cache"))
            .await
            .expect("stored");
        let status = rows::update_status(&client, &mine, stored.id, 1, Status::Active, None);
        status.await.expect("a status");
        let other = settings("other");
        let update = rows::update(&client, &mine, "redis", stored.id, &other);
        update.await.expect("an update");
        let delete = rows::delete(&client, &mine, "redis", stored.id);
        delete.await.expect("a removal");
        for past in [0, 1, i64::MAX] {
            let expected = Signal::ConnectionChanged {
                project: mine.clone(),
                id: stored.id,
                past,
            };
            assert_eq!(told.recv().await, Some(expected));
        }
        let cancel = |connection| Signal::CancelQuery {
            project: mine.clone(),
            connection,
            query: "a.b-c_1".to_owned(),
            answer: uuid::Uuid::now_v7(),
        };
        for signal in [
            Signal::SchemasChanged {
                project: mine.clone(),
            },
            cancel(None),
            cancel(Some(stored.id)),
            Signal::QueryCancelled {
                answer: uuid::Uuid::now_v7(),
            },
        ] {
            let sent = signals::send(&client, &signal);
            sent.await.expect("sent");
            assert_eq!(told.recv().await, Some(signal));
        }
    };
    tokio::select! {
        error = watching => panic!("{error:?}"),
        () = changing => {}
    }
}
