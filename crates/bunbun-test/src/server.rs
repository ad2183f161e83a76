//! The PostgreSQL server of all tests of this machine.
//!
//! `TEST_DATABASE_URL` (a superuser's URL) names one that runs already. Otherwise one private
//! cluster, without `fsync`, lies below the temporary directory and is shared by all test
//! processes: whoever comes first starts it, everyone else adopts it. A small shell beside it
//! stops it when no test has asked for it for half an hour; `TestServer::stop` does so at once.

use std::{
    env,
    fs::{self, File},
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bunbun_databases::postgres::cluster::{Binaries, Cluster, ClusterConfig, ClusterError};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

/// Minutes without a test after which the shared cluster is stopped.
const IDLE_MINUTES: u32 = 30;

static SERVER: OnceCell<Option<TestServer>> = OnceCell::const_new();

/// A PostgreSQL server that tests may use as they like.
#[derive(Debug, Clone)]
pub struct TestServer {
    superuser_url: SecretString,
    directory: Option<PathBuf>,
}

impl TestServer {
    /// The server; `None`, said aloud, when this machine has no PostgreSQL.
    ///
    /// # Panics
    /// When PostgreSQL is installed but does not start, and in CI when it is not installed.
    pub async fn get() -> Option<&'static Self> {
        let server = SERVER.get_or_init(Self::find).await.as_ref();
        if server.is_none() {
            super::skip("no PostgreSQL server programs and no TEST_DATABASE_URL");
        }
        if let Some(directory) = server.and_then(|server| server.directory.as_ref()) {
            touch(directory);
        }
        server
    }

    /// The URL of a superuser, database `postgres`.
    #[must_use]
    pub fn superuser_url(&self) -> &str {
        self.superuser_url.expose_secret()
    }

    /// Stops the shared cluster, if there is one.
    ///
    /// # Errors
    /// When it could not be stopped.
    pub async fn stop() -> Result<(), ClusterError> {
        let directory = directory();
        if !directory.join("data/postmaster.pid").exists() {
            return Ok(());
        }
        Cluster::start(config(&directory))
            .await?
            .stop(Duration::from_secs(20))
            .await
    }

    async fn find() -> Option<Self> {
        if let Some(url) = env::var_os("TEST_DATABASE_URL") {
            let url = url.to_string_lossy().into_owned();
            return Some(Self {
                superuser_url: url.into(),
                directory: None,
            });
        }
        if matches!(Binaries::find(), Err(ClusterError::NotInstalled)) {
            return None;
        }
        let directory = directory();
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        // The server runs as another account when we are root.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
            .expect("the directory is ours");
        let lock = exclusive(&directory).await;
        touch(&directory);
        let cluster = Cluster::start(config(&directory))
            .await
            .expect("the tests' PostgreSQL starts");
        let superuser_url = cluster.superuser_url();
        if !cluster.was_adopted() {
            watch(&cluster, &directory);
        }
        cluster.detach();
        drop(lock);
        Some(Self {
            superuser_url,
            directory: Some(directory),
        })
    }
}

fn config(directory: &Path) -> ClusterConfig {
    let mut config = ClusterConfig::new(directory);
    config.durable = false;
    config.max_connections = 300;
    config
}

/// One directory per user, so that no user trips over another's files.
fn directory() -> PathBuf {
    let user = fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
    env::temp_dir().join(format!("bunbun-test-postgres-{user}"))
}

/// Waits for the other test processes that look for the server at this moment.
async fn exclusive(directory: &Path) -> File {
    let path = directory.join("tests.lock");
    tokio::task::spawn_blocking(move || {
        let file = File::create(path).expect("the lock file can be made");
        file.lock().expect("the lock file can be locked");
        file
    })
    .await
    .expect("locking does not panic")
}

fn touch(directory: &Path) {
    // A lost touch only brings the idle stop nearer.
    let _ = fs::write(directory.join("last-used"), b"");
}

/// Starts the shell that stops an unused server. It ends with the server.
fn watch(cluster: &Cluster, directory: &Path) {
    let script = format!(
        "while sleep 60; do kill -0 {pid} 2>/dev/null || exit 0; \
         if [ -n \"$(find \"$1/last-used\" -mmin +{IDLE_MINUTES})\" ]; then \
         kill -INT {pid}; exit 0; fi; done",
        pid = cluster.process_id(),
    );
    let started = Command::new("sh")
        .args(["-c", &script, "bunbun-test-watch"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    drop(started);
}
