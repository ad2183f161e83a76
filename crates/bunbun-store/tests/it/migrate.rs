//! Tests of the store as a whole: creation, migrations, absence.

use bunbun_core::{Classify, Code};
use bunbun_store::{Error, Store, migrate};
use bunbun_test::TestDb;

use crate::config;

#[tokio::test]
async fn migrations_are_applied_once() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let store = Store::new(&config(None, Some(database.url()))).expect("a store");
    let first = migrate(&store).await.expect("migrated");
    assert_eq!(first.applied.len(), first.total);
    assert_eq!(first.applied[0].name, "create_platform");
    let second = migrate(&store).await.expect("migrated");
    assert_eq!((second.applied.len(), second.total), (0, first.total));
    let client = database.superuser().await;
    let history = client
        .query("select version from platform.schema_history", &[])
        .await;
    assert_eq!(history.expect("it is in the schema").len(), first.total);
}

#[tokio::test]
async fn nodes_that_start_at_once_take_turns() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let stores: Vec<_> = (0..6)
        .map(|_| Store::new(&config(None, Some(database.url()))).expect("a store"))
        .collect();
    let reports = futures_util::future::join_all(stores.iter().map(migrate)).await;
    let applied: Vec<_> = reports
        .into_iter()
        .map(|report| report.expect("migrated").applied.len())
        .filter(|applied| *applied > 0)
        .collect();
    assert_eq!(applied.len(), 1, "{applied:?}");
}

#[tokio::test]
async fn a_newer_release_may_have_migrated_and_a_changed_migration_is_refused() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let store = Store::new(&config(None, Some(database.url()))).expect("a store");
    migrate(&store).await.expect("migrated");
    let client = database.superuser().await;
    let newer = "insert into platform.schema_history values \
                 (9999, 'of_the_future', '2030-01-01T00:00:00Z', '1')";
    client.batch_execute(newer).await.expect("a row");
    migrate(&store).await.expect("the previous release starts");
    let changed = "update platform.schema_history set checksum = '1' where version = 2";
    client.batch_execute(changed).await.expect("a row");
    let error = migrate(&store).await.expect_err("it is not the same");
    assert!(matches!(error, Error::Migration(_)), "{error:?}");
    assert_eq!(error.public_message(), None);
}

#[tokio::test]
async fn a_missing_database_is_made_and_closed_to_the_public() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let name = format!("{}_platform", database.name());
    let platform = database.url().replace(database.name(), &name);
    // The first use makes it; nobody has to call `migrate`.
    let store = Store::new(&config(Some(database.url()), Some(&platform))).expect("a store");
    let other = store.clone();
    let (first, second) = tokio::join!(store.client(), other.client());
    let client = first.expect("a connection");
    drop(second.expect("a connection"));
    let row = client
        .query_one(
            "select to_regclass('platform.backups') is not null, \
             has_database_privilege('pg_monitor', current_database(), 'connect')",
            &[],
        )
        .await
        .expect("an answer");
    assert_eq!((row.get(0), row.get(1)), (true, false));
    drop((client, store, other));
    let drop_it = format!("drop database \"{name}\" with (force)");
    database
        .superuser()
        .await
        .batch_execute(&drop_it)
        .await
        .expect("dropped");
}

#[tokio::test]
async fn a_database_that_may_not_be_made_is_told_as_such() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let role = format!("{}_poor", database.name());
    let superuser = database.superuser().await;
    let make = format!("create role {role} login password 'poor'");
    superuser.batch_execute(&make).await.expect("a role");
    let url = database.url().replace(
        "bunbun_test_owner:bunbun_test_owner",
        &format!("{role}:poor"),
    );
    let server = url.rsplit_once('/').expect("a path").0;
    let platform = format!("{server}/bunbun_test_never");
    let store = Store::new(&config(Some(&url), Some(&platform))).expect("a store");
    let error = store.client().await.expect_err("it has no CREATEDB");
    assert!(matches!(error, Error::Missing(_)), "{error:?}");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    superuser
        .batch_execute(&format!("drop role {role}"))
        .await
        .expect("dropped");
}

#[tokio::test]
async fn a_dead_database_is_unavailable_until_it_is_back() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = socket.local_addr().expect("an address");
    drop(socket);
    let server = address_of(database.url());
    let url = database.url().replace(&server, &address.to_string());
    let store = Store::new(&config(None, Some(&url))).expect("it starts without");
    let error = store.client().await.expect_err("nobody listens");
    assert_eq!(error.code(), Code::DatabaseUnavailable);
    assert!(error.retry_after().is_some());
    assert!(
        !format!("{error:?}").contains("bunbun_test_owner"),
        "{error:?}"
    );
    // It comes up: the same store works, migrations included.
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("the same port");
    bunbun_core::task::spawn("forward", forward(listener, server));
    let client = store.client().await.expect("it is back");
    client
        .query("select from platform.backups", &[])
        .await
        .expect("it is migrated");
}

/// `host:port` of a URL.
fn address_of(url: &str) -> String {
    let url: url::Url = url.parse().expect("a URL");
    format!(
        "{}:{}",
        url.host_str().expect("a host"),
        url.port().expect("a port")
    )
}

async fn forward(listener: tokio::net::TcpListener, server: String) {
    while let Ok((mut near, _)) = listener.accept().await {
        let server = server.clone();
        bunbun_core::task::spawn("forward", async move {
            let mut far = tokio::net::TcpStream::connect(server)
                .await
                .expect("the server");
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

#[tokio::test]
async fn without_a_url_every_use_says_so() {
    let store = Store::new(&config(None, None)).expect("a store");
    let error = store.client().await.expect_err("no database");
    assert_eq!(error.code(), Code::ServiceUnavailable);
    assert!(
        error
            .public_message()
            .expect("a message")
            .contains("PLATFORM_DATABASE_URL")
    );
    assert_eq!(store.status().size, 0);
}
