//! Tests of `postgres::cluster`: real server processes in directories of their own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::{Duration, Instant},
};

use bunbun_databases::postgres::cluster::{Binaries, Cluster, ClusterConfig, ClusterError};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// A directory that the server's account can enter; `None` where PostgreSQL is missing.
fn directory() -> Option<TempDir> {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return None;
    }
    let directory = TempDir::new().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    Some(directory)
}

fn config(directory: &TempDir) -> ClusterConfig {
    let mut config = ClusterConfig::new(directory.path());
    config.durable = false;
    config
}

async fn connect(cluster: &Cluster) -> Client {
    let config: Config = cluster
        .superuser_url()
        .expose_secret()
        .parse()
        .expect("a URL");
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    bunbun_core::task::spawn("test", async move {
        let _ = connection.await;
    });
    client
}

const STOP: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_restart_keeps_data_and_port() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let port = cluster.port();
    let client = connect(&cluster).await;
    client
        .batch_execute("create table kept (n int); insert into kept values (7)")
        .await
        .expect("it is made");
    let password = fs::metadata(directory.path().join("superuser.password")).expect("it is there");
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
    drop(client);
    cluster.stop(STOP).await.expect("it stops");

    let cluster = Cluster::start(config(&directory))
        .await
        .expect("it starts again");
    assert_eq!(cluster.port(), port);
    assert!(!cluster.was_adopted());
    let n: i32 = connect(&cluster)
        .await
        .query_one("select n from kept", &[])
        .await
        .expect("kept")
        .get(0);
    assert_eq!(n, 7);
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let error = Cluster::start(config(&directory))
        .await
        .expect_err("it is in use");
    assert!(matches!(error, ClusterError::InUse(_)), "{error}");
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_outlived_its_owner_is_adopted_and_can_be_stopped() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let process = cluster.process_id();
    let client = connect(&cluster).await;
    // What the kernel leaves of a killed owner: a running server and no lock.
    cluster.detach();

    let adopted = Cluster::start(config(&directory))
        .await
        .expect("it is adopted");
    assert!(adopted.was_adopted());
    assert_eq!(adopted.process_id(), process);
    client
        .simple_query("select 1")
        .await
        .expect("the server was not restarted");
    adopted.stop(STOP).await.expect("it stops");
    assert!(client.simple_query("select 1").await.is_err());
}

/// The process that the next test starts and kills; without its variable it has nothing to do.
#[tokio::test]
async fn owner_to_be_killed() {
    let Some(path) = std::env::var_os("BUNBUN_TEST_CLUSTER") else {
        return;
    };
    let mut config = ClusterConfig::new(path);
    config.durable = false;
    let _cluster = Cluster::start(config).await.expect("it starts");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_server_of_a_killed_owner_is_adopted_with_its_data() {
    let Some(directory) = directory() else { return };
    let mut owner = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "cluster::owner_to_be_killed"])
        .env("BUNBUN_TEST_CLUSTER", directory.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    // The owner writes the port last of all.
    let port_file = directory.path().join("port");
    let wait = async {
        while !port_file.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("the owner's server is ready");
    let error = Cluster::start(config(&directory))
        .await
        .expect_err("its owner lives");
    assert!(matches!(error, ClusterError::InUse(_)), "{error}");
    owner.kill().await.expect("it is killed");

    let cluster = Cluster::start(config(&directory))
        .await
        .expect("it is adopted");
    assert!(cluster.was_adopted());
    connect(&cluster)
        .await
        .simple_query("select 1")
        .await
        .expect("it answers");
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_stale_pid_file_and_an_unfinished_initdb_do_not_stop_a_start() {
    let Some(directory) = directory() else { return };
    let unfinished = directory.path().join("data.unfinished");
    fs::create_dir(&unfinished).expect("ours");
    fs::write(unfinished.join("half"), "x").expect("ours");
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    assert!(!unfinished.exists());
    let process = cluster.process_id();
    // SIGKILL leaves postmaster.pid behind.
    kill(process);
    cluster.detach();
    let cluster = start_patiently(&directory).await;
    assert_ne!(cluster.process_id(), process);
    cluster.stop(STOP).await.expect("it stops");
}

fn kill(process: u32) {
    let killed = std::process::Command::new("kill")
        .args(["-9", &process.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_started_again_on_its_port() {
    let Some(directory) = directory() else { return };
    let mut cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let port = cluster.port();
    for is_child in [true, false] {
        assert_eq!(cluster.was_adopted(), !is_child);
        // A session, so that the killed server leaves a child behind for a moment.
        let _session = connect(&cluster).await;
        kill(cluster.process_id());
        let status = tokio::time::timeout(Duration::from_secs(10), cluster.exited()).await;
        assert_eq!(status.expect("it is noticed").is_some(), is_child);
        cluster.restart().await.expect("it starts again");
        assert_eq!(cluster.port(), port);
        connect(&cluster).await;
        if is_child {
            cluster.detach();
            cluster = Cluster::start(config(&directory)).await.expect("adopted");
        }
    }
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_is_dead_is_stopped_at_once() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    kill(cluster.process_id());
    let begun = Instant::now();
    cluster.stop(STOP).await.expect("there is nothing to stop");
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited");
}

#[tokio::test]
async fn a_restart_that_is_given_up_leaves_no_server_behind() {
    let Some(directory) = directory() else { return };
    let mut cluster = Cluster::start(config(&directory)).await.expect("it starts");
    kill(cluster.process_id());
    cluster.exited().await;
    let given_up = tokio::time::timeout(Duration::from_millis(1), cluster.restart()).await;
    assert!(given_up.is_err(), "no server starts that fast");
    let process = cluster.process_id();
    cluster.stop(STOP).await.expect("it stops");
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
}

#[tokio::test]
async fn the_log_is_for_the_server_only() {
    let Some(directory) = directory() else { return };
    let mode = |path: &std::path::Path| {
        let metadata = fs::metadata(path).expect("it is there");
        (metadata.permissions().mode() & 0o777, metadata.uid())
    };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let log = cluster.log_file();
    let (_, account) = mode(&directory.path().join("data"));
    assert_eq!(mode(&log), (0o600, account));
    cluster.detach();
    // As an older version left it.
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).expect("ours");
    let cluster = Cluster::start(config(&directory)).await.expect("adopted");
    assert_eq!(mode(&log), (0o600, account));
    cluster.stop(STOP).await.expect("it stops");
}

/// The killed server's own children need a moment to notice; until then its shared memory is in
/// use and PostgreSQL refuses to start.
async fn start_patiently(directory: &TempDir) -> Cluster {
    let start = async {
        loop {
            match Cluster::start(config(directory)).await {
                Ok(cluster) => return cluster,
                Err(ClusterError::Program { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), start)
        .await
        .expect("it starts in the end")
}

#[tokio::test]
async fn another_port_is_taken_when_the_old_one_is_busy() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let port = cluster.port();
    cluster.stop(STOP).await.expect("it stops");
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    assert_ne!(cluster.port(), port);
    connect(&cluster).await;
    drop(squatter);
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn urls_carry_any_name_and_password() {
    let Some(directory) = directory() else { return };
    let cluster = Cluster::start(config(&directory)).await.expect("it starts");
    let client = connect(&cluster).await;
    for statement in [
        "create role \"a b/c@d\" login password 'p:/?#@ %+&'",
        "create database \"d é/1\"",
    ] {
        client.batch_execute(statement).await.expect("it is made");
    }
    let url = cluster.url_for("d é/1", "a b/c@d", "p:/?#@ %+&");
    let config: Config = url.expose_secret().parse().expect("a URL");
    drop(config.connect(NoTls).await.expect("it lets us in"));
    drop(client);
    cluster.stop(STOP).await.expect("it stops");
}
