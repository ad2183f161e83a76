//! A private PostgreSQL cluster from the machine's server binaries, for `bunbun dev` and tests.
//!
//! `postgres` runs as our child, on loopback and on a Unix socket, with password authentication.
//! When we are killed it lives on; the next start finds and adopts it. Below the directory:
//!
//! | entry | what |
//! |---|---|
//! | `data/` | PostgreSQL's own data directory |
//! | `superuser.password` | the password of the role `postgres`, mode 0600 |
//! | `port` | the port of last time, used again when free |
//! | `postgres.log` | what the server says, users' statements among it; mode 0600 |
//! | `owner.lock` | locked while a BunBun owns the cluster |
//! | `location` | where the rest lies instead, when the server's account cannot reach this place |

mod account;
mod binaries;
mod error;
mod layout;
mod server;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

use account::Account;
pub use binaries::Binaries;
pub(super) use binaries::directories;
pub use error::ClusterError;
use layout::Layout;
use server::{Launcher, Server};

/// How a cluster is made and run.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Where everything lies; made when missing.
    pub directory: PathBuf,
    /// Off: no `fsync`, for tests only.
    pub durable: bool,
    /// Most connections.
    pub max_connections: u32,
    /// Longest wait until the server is ready, crash recovery included.
    pub start_timeout: Duration,
}

impl ClusterConfig {
    /// A durable cluster of 100 connections that has 60 s to start.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durable: true,
            max_connections: 100,
            start_timeout: Duration::from_secs(60),
        }
    }
}

/// A running cluster. Dropping it without [`Cluster::stop`] or [`Cluster::detach`] asks the server
/// to stop and does not wait.
pub struct Cluster {
    layout: Layout,
    server: Option<Server>,
    password: SecretString,
    binaries: Binaries,
    account: Option<Account>,
    config: ClusterConfig,
    // Held for as long as we own the cluster.
    _lock: File,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("directory", &self.layout.root())
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The role that owns the cluster.
    pub const SUPERUSER: &str = "postgres";

    /// Makes the cluster when there is none, starts it or adopts the one that still runs, and
    /// waits until it answers.
    ///
    /// # Errors
    /// [`ClusterError`], each of which says what to do.
    pub async fn start(config: ClusterConfig) -> Result<Self, ClusterError> {
        let account = Account::for_server()?;
        let layout = Layout::prepare(&config.directory, account.as_ref())?;
        let lock = lock(&layout)?;
        let binaries = match layout.data_version()? {
            Some(major) => Binaries::find_major(major)?,
            None => Binaries::find()?,
        };
        let password = layout.password()?;
        if layout.data_version()?.is_none() {
            server::initialise(&layout, &binaries, account.as_ref(), &password, &config).await?;
        }
        server::protect_log(&layout.log(), account.as_ref())?;
        let adopted = server::adopt(&layout, &password, config.start_timeout).await?;
        let mut cluster = Self {
            layout,
            server: None,
            password,
            binaries,
            account,
            config,
            _lock: lock,
        };
        cluster.server = match adopted {
            Some(server) => Some(server),
            None => Some(cluster.launcher().launch().await?),
        };
        cluster.layout.remember_port(cluster.port())?;
        Ok(cluster)
    }

    const fn launcher(&self) -> Launcher<'_> {
        Launcher {
            layout: &self.layout,
            binaries: &self.binaries,
            account: self.account.as_ref(),
            password: &self.password,
            config: &self.config,
        }
    }

    /// Waits until the server's process has ended, by whatever cause; its exit status where it was
    /// our child. May be dropped and called again.
    pub async fn exited(&mut self) -> Option<ExitStatus> {
        match &mut self.server {
            Some(server) => server.exited(&self.layout).await,
            None => None,
        }
    }

    /// Starts the server again after [`Cluster::exited`], on the same port, so that clients find
    /// it, and waits until it answers. When this future is dropped, [`Cluster::stop`] stops what
    /// it has started.
    ///
    /// # Errors
    /// [`ClusterError`]; it may be called again.
    pub async fn restart(&mut self) -> Result<(), ClusterError> {
        let Self {
            layout,
            server: Some(server),
            password,
            binaries,
            account,
            config,
            ..
        } = self
        else {
            return Ok(());
        };
        let launcher = Launcher {
            layout,
            binaries,
            account: account.as_ref(),
            password,
            config,
        };
        launcher.relaunch(server).await
    }

    /// The superuser's URL of the database `postgres`.
    #[must_use]
    pub fn superuser_url(&self) -> SecretString {
        self.url_for("postgres", Self::SUPERUSER, self.password.expose_secret())
    }

    /// The URL of a database of this cluster.
    #[must_use]
    pub fn url_for(&self, database: &str, user: &str, password: &str) -> SecretString {
        let encode = |text: &str| -> String {
            url::form_urlencoded::byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        };
        format!(
            "postgres://{}:{}@127.0.0.1:{}/{}?sslmode=disable",
            encode(user),
            encode(password),
            self.port(),
            encode(database)
        )
        .into()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, Server::port)
    }

    /// The server's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::process_id)
    }

    /// Whether the server outlived an earlier owner and was adopted.
    #[must_use]
    pub fn was_adopted(&self) -> bool {
        self.server.as_ref().is_some_and(Server::is_adopted)
    }

    /// Where the cluster lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// The server's log file.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.layout.log()
    }

    /// The programs that it runs from.
    #[must_use]
    pub const fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Stops the server: sessions are ended, committed work is kept. Bounded: after `timeout` it
    /// is stopped the hard way, which costs a crash recovery at the next start.
    ///
    /// # Errors
    /// [`ClusterError::Program`] when it could not be stopped either way.
    pub async fn stop(mut self, timeout: Duration) -> Result<(), ClusterError> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let account = self.account.as_ref();
        server
            .stop(&self.layout, &self.binaries, account, timeout)
            .await
    }

    /// Leaves the server running without an owner, for the next [`Cluster::start`] to adopt.
    pub fn detach(mut self) {
        if let Some(server) = self.server.take() {
            server.detach();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.take().is_some() {
            server::ask_to_stop(&self.layout, &self.binaries, self.account.as_ref());
        }
    }
}

fn lock(layout: &Layout) -> Result<File, ClusterError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(layout.lock())
        .map_err(|error| ClusterError::io("open the lock file of the data directory", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ClusterError::InUse(layout.root().to_owned())),
        Err(TryLockError::Error(error)) => Err(ClusterError::io("lock the data directory", error)),
    }
}
