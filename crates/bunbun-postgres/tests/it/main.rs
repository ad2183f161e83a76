//! Integration tests on a real PostgreSQL; each test has a database of its own.

mod migrate;
mod outages;
mod pool;
mod project;
mod scope;

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use bunbun_databases::postgres::cluster::{Binaries, Cluster, ClusterConfig};
use bunbun_postgres::{Pool, PoolConfig};
use bunbun_test::TestDb;
use secrecy::SecretString;
use tempfile::TempDir;

/// A pool of some connections.
fn pool_of(url: impl Into<SecretString>, size: usize) -> Pool {
    let mut config = PoolConfig::new(url.into(), "test");
    config.size = size;
    config.wait_timeout = Duration::from_secs(5);
    Pool::new(&config).expect("the URL is good")
}

/// A pool of some connections as the database's owner.
fn pool(database: &TestDb, size: usize) -> Pool {
    pool_of(database.url(), size)
}

/// A server of its own, for what concerns the whole server: roles, restarts.
async fn server() -> Option<(TempDir, ClusterConfig, Cluster)> {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return None;
    }
    let directory = TempDir::new().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let mut config = ClusterConfig::new(directory.path());
    config.durable = false;
    let cluster = Cluster::start(config.clone()).await.expect("it starts");
    Some((directory, config, cluster))
}

/// Longest wait for a server to stop.
const STOP: Duration = Duration::from_secs(20);
