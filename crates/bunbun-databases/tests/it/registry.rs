//! Tests of the registry of pools, on a real PostgreSQL.

use std::{
    future::Future,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bunbun_core::{
    Classify, Code,
    egress::{Egress, EgressRule},
    id::ConnectionId,
    shutdown::Shutdown,
    task,
};
use bunbun_databases::{
    Database as _, DatabaseType, Error, Limits, Settings,
    postgres::{
        Postgres,
        cluster::{Binaries, Cluster, ClusterConfig},
    },
    registry::{PoolKey, Registry, RegistryLimits},
};
use bunbun_test::TestDb;
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncWriteExt as _;

fn limits() -> RegistryLimits {
    RegistryLimits {
        pool: Limits {
            connect_timeout: Duration::from_millis(1500),
            ..Limits::default()
        },
        test_timeout: Duration::from_millis(800),
        ..RegistryLimits::default()
    }
}

fn registry(limits: RegistryLimits) -> Registry {
    Registry::builder(Egress::new(&EgressRule::loopback()), limits)
        .with::<Postgres>()
        .build()
}

fn key(version: i64) -> PoolKey {
    PoolKey {
        project: "mine".parse().expect("a reference"),
        id: ConnectionId::generate(),
        version,
    }
}

fn settings(url: &str) -> Settings {
    Settings::from_url(&url.into()).expect("a good URL")
}

async fn get(registry: &Registry, key: &PoolKey, url: &str) -> Result<Arc<Postgres>, Error> {
    let settings = settings(url);
    registry.get(key, async { Ok(settings) }).await
}

/// Waits for something that only a fault keeps from happening.
async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connections to the database that are not ours.
async fn sessions(database: &TestDb) -> i64 {
    let client = database.superuser().await;
    let sql = "select count(*) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    client.query_one(sql, &[]).await.expect("a row").get(0)
}

#[tokio::test]
async fn a_connection_has_one_pool_however_many_come_at_once() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (registry, key) = (registry(limits()), key(1));
    let asked = AtomicUsize::new(0);
    let one = || async {
        let settings = async {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(settings(database.url()))
        };
        registry
            .get::<Postgres>(&key, settings)
            .await
            .expect("a pool")
    };
    let pools = join_all((0..1_000).map(|_| one())).await;
    assert!(pools.iter().all(|pool| Arc::ptr_eq(pool, &pools[0])));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "secrets are opened once");
    // A thousand callers, ten connections: all have their turn.
    let answers = join_all(pools.iter().map(|pool| pool.ping())).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(sessions(&database).await <= 10);
    assert!(registry.status(key.id).expect("open").size <= 10);
}

#[tokio::test]
async fn a_new_version_retires_the_old_pool_at_once() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let (registry, old) = (registry(limits()), key(1));
    let first = get(&registry, &old, database.url()).await.expect("a pool");
    registry.retire(old.id, 1);
    assert!(registry.status(old.id).is_none());
    // Who read the connection before the change has to read it again.
    let late = get(&registry, &old, database.url()).await.expect_err("old");
    assert_eq!(late.code(), Code::ConnectionNotFound);
    let new = PoolKey {
        version: 2,
        ..old.clone()
    };
    let second = get(&registry, &new, database.url()).await.expect("a pool");
    assert!(!Arc::ptr_eq(&first, &second));
    drop(first);
    second.ping().await.expect("it lives");
    eventually("the old pool's connections are closed", async || {
        sessions(&database).await == 1
    })
    .await;
    // Without a word of a change, a newer version is a change as well.
    let newest = PoolKey {
        version: 3,
        ..old.clone()
    };
    let third = get(&registry, &newest, database.url())
        .await
        .expect("a pool");
    assert!(!Arc::ptr_eq(&second, &third));
    let stale = get(&registry, &new, database.url())
        .await
        .expect("the newer one");
    assert!(Arc::ptr_eq(&stale, &third));
    registry.retire(old.id, i64::MAX);
    let gone = get(&registry, &newest, database.url())
        .await
        .expect_err("removed");
    assert_eq!(gone.code(), Code::ConnectionNotFound);
}

#[tokio::test]
async fn who_waits_for_a_failing_attempt_fails_with_it_and_not_in_turn() {
    // Accepts and says nothing: every attempt takes its full time.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!(
        "postgres://u:hunter2@{}/d",
        silent.local_addr().expect("an address")
    );
    let (registry, key) = (registry(limits()), key(1));
    let begun = Instant::now();
    let outcomes = join_all((0..50).map(|_| get(&registry, &key, &url))).await;
    let took = begun.elapsed();
    for outcome in outcomes {
        let error = outcome.expect_err("nobody answers");
        assert_eq!(error.code(), Code::ConnectionFailed);
        assert!(!bunbun_core::error::chain(&error).contains("hunter2"));
    }
    assert!(took < Duration::from_secs(8), "{took:?} for 50 callers");
    assert!(registry.status(key.id).is_none());
}

#[tokio::test]
async fn too_many_who_wait_are_told_when_to_come_again() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!(
        "postgres://u@{}/d",
        silent.local_addr().expect("an address")
    );
    let mut bounds = limits();
    bounds.pool.max_waiting = 5;
    let (registry, key) = (registry(bounds), key(1));
    let outcomes = join_all((0..20).map(|_| get(&registry, &key, &url))).await;
    let refused = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .filter(|error| error.code() == Code::PoolExhausted);
    let refused: Vec<_> = refused.collect();
    assert!(
        !refused.is_empty() && refused.len() < 20,
        "{}",
        refused.len()
    );
    assert!(refused.iter().all(|error| error.retry_after().is_some()));
}

#[tokio::test]
async fn idle_pools_are_closed_and_used_ones_stay() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let patient = registry(limits());
    let resting = key(1);
    drop(
        get(&patient, &resting, database.url())
            .await
            .expect("a pool"),
    );
    patient.sweep().await;
    assert!(
        patient.status(resting.id).is_some(),
        "not idle for five minutes"
    );
    patient.retire(resting.id, 1);

    let mut bounds = limits();
    bounds.idle_timeout = Duration::from_millis(1);
    let registry = registry(bounds);
    let (idle, used) = (key(1), key(1));
    drop(get(&registry, &idle, database.url()).await.expect("a pool"));
    let held = get(&registry, &used, database.url()).await.expect("a pool");
    tokio::time::sleep(Duration::from_millis(10)).await;
    registry.sweep().await;
    assert!(registry.status(idle.id).is_none(), "closed");
    assert!(registry.status(used.id).is_some(), "somebody holds it");
    held.ping().await.expect("it works");
    drop(held);
    registry.sweep().await;
    assert!(registry.status(used.id).is_none());
    eventually("all connections are closed", async || {
        sessions(&database).await == 0
    })
    .await;
}

#[tokio::test]
async fn a_project_has_a_bounded_number_of_pools_and_the_longest_at_rest_makes_room() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut bounds = limits();
    bounds.pools_per_project = 2;
    let registry = registry(bounds);
    let (first, second, third) = (key(1), key(1), key(1));
    let held = get(&registry, &first, database.url())
        .await
        .expect("a pool");
    drop(
        get(&registry, &second, database.url())
            .await
            .expect("a pool"),
    );
    let third_pool = get(&registry, &third, database.url())
        .await
        .expect("room is made");
    assert!(registry.status(second.id).is_none(), "it rested");
    assert!(registry.status(first.id).is_some(), "it is in use");
    let refused = get(&registry, &second, database.url())
        .await
        .expect_err("all in use");
    assert_eq!(refused.code(), Code::PoolExhausted);
    let other = PoolKey {
        project: "other".parse().unwrap(),
        ..key(1)
    };
    get(&registry, &other, database.url())
        .await
        .expect("another project's bound");
    drop((held, third_pool));
    get(&registry, &second, database.url())
        .await
        .expect("room again");
}

#[tokio::test]
async fn a_broken_pool_is_replaced() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let registry = registry(limits());
    let key = key(1);
    let first = get(&registry, &key, database.url()).await.expect("a pool");
    // What is at rest dies; the pool itself makes new connections.
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and pid <> pg_backend_pid()";
    database
        .superuser()
        .await
        .execute(kill, &[])
        .await
        .expect("killed");
    registry.sweep().await;
    let same = get(&registry, &key, database.url()).await.expect("a pool");
    assert!(Arc::ptr_eq(&first, &same), "a pool that heals itself stays");
    // A failure on the way is told by whoever saw it.
    registry.failed(&key);
    let second = get(&registry, &key, database.url()).await.expect("a pool");
    assert!(!Arc::ptr_eq(&first, &second));
    registry.failed(&PoolKey {
        version: 0,
        ..key.clone()
    });
    let third = get(&registry, &key, database.url()).await.expect("a pool");
    assert!(
        Arc::ptr_eq(&second, &third),
        "a failure of another version is none of this one"
    );
}

#[tokio::test]
async fn the_sweep_ends_with_the_process_and_everything_can_be_closed() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let registry = registry(limits());
    get(&registry, &key(1), database.url())
        .await
        .expect("a pool");
    let shutdown = Shutdown::new();
    let run = task::spawn("sweep", registry.clone().run(shutdown.clone()));
    shutdown.begin();
    run.await.expect("it ends");
    registry.close().await;
    eventually("all connections are closed", async || {
        sessions(&database).await == 0
    })
    .await;
}

#[tokio::test]
async fn a_trial_tells_of_the_server_and_leaves_nothing_open() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let registry = registry(limits());
    let trial = registry
        .test(&settings(database.url()))
        .await
        .expect("it works");
    assert_eq!(trial.server.role, "primary");
    assert!(trial.latency < Duration::from_secs(1));
    eventually("nothing is left open", async || {
        sessions(&database).await == 0
    })
    .await;
}

#[tokio::test]
async fn every_way_of_not_getting_through_is_told_alike_and_after_the_same_time() {
    let registry = registry(limits());
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        listener.local_addr().expect("an address")
    };
    // An open port where something else answers.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let other_address = other.local_addr().expect("an address");
    let chatter = task::spawn("chatter", async move {
        loop {
            let (mut stream, _) = other.accept().await.expect("a caller");
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let mut told = Vec::new();
    for address in [silent.local_addr().unwrap(), closed, other_address] {
        let url = format!("postgres://u:hunter2@{address}/d?sslmode=disable");
        // A trial, and the first use of a stored connection.
        for is_trial in [true, false] {
            let begun = Instant::now();
            let outcome = if is_trial {
                registry.test(&settings(&url)).await.map(drop)
            } else {
                get(&registry, &key(1), &url).await.map(drop)
            };
            let error = outcome.expect_err("nothing there");
            let took = begun.elapsed();
            let expected = limits().test_timeout;
            assert!(
                took >= expected && took < expected + Duration::from_secs(3),
                "{address}: {took:?}"
            );
            told.push((
                error.code(),
                error.public_message().unwrap().into_owned(),
                Classify::details(&error),
            ));
        }
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    assert_eq!(told[0].0, Code::ConnectionFailed);
    chatter.abort();
}

#[tokio::test]
async fn hosts_are_guarded_and_unknown_kinds_refused() {
    let closed = Registry::builder(Egress::new(&[]), limits())
        .with::<Postgres>()
        .build();
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "localhost",
        "2130706433",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("postgres://u:p@{host}:5432/d");
        let error = get(&closed, &key(1), &url).await.expect_err("guarded");
        assert_eq!(error.code(), Code::HostNotAllowed, "{host}");
        let error = closed.test(&settings(&url)).await.expect_err("guarded");
        assert_eq!(error.code(), Code::HostNotAllowed, "{host}");
    }
    let empty = Registry::builder(Egress::new(&[]), limits()).build();
    assert!(!empty.knows(DatabaseType::Postgres));
    let error = get(&empty, &key(1), "postgres://u@example.com/d")
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Code::NotSupported);
}

#[tokio::test]
async fn a_server_that_stops_and_comes_back_is_used_again() {
    if Binaries::find().is_err() {
        return bunbun_test::skip("no PostgreSQL server programs");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let config = || {
        let mut config = ClusterConfig::new(folder.path());
        config.durable = false;
        config
    };
    let cluster = Cluster::start(config()).await.expect("it starts");
    let url = cluster.superuser_url();
    let url = url.expose_secret();
    let (registry, key) = (registry(limits()), key(1));
    let first = get(&registry, &key, url).await.expect("a pool");
    let stop = Duration::from_secs(20);
    cluster.stop(stop).await.expect("it stops");
    registry.sweep().await;
    assert!(registry.status(key.id).is_none(), "it does not answer");
    let away = get(&registry, &key, url).await.expect_err("away");
    assert_eq!(away.code(), Code::ConnectionFailed);
    let cluster = Cluster::start(config()).await.expect("it starts again");
    let second = get(&registry, &key, url).await.expect("it is back");
    second.ping().await.expect("it answers");
    assert!(!Arc::ptr_eq(&first, &second));
    cluster.stop(stop).await.expect("it stops");
}
