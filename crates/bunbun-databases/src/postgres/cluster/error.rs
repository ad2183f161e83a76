//! Why a private cluster cannot be started. Read by the operator, never by a client.

use std::{io, path::PathBuf};

/// A private cluster cannot be found, made, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No server binaries.
    #[error(
        "PostgreSQL's server programs are not installed; install them (Debian, Ubuntu: apt-get \
         install postgresql; Fedora: dnf install postgresql-server; Alpine: apk add postgresql; \
         macOS: brew install postgresql@17) or set DATABASE_URL to a PostgreSQL that runs already"
    )]
    NotInstalled,
    /// The data directory was made by a version that is not installed.
    #[error(
        "the data directory belongs to PostgreSQL {wanted}, but the newest one installed is \
         {found}; install postgresql-{wanted}, or choose another data directory"
    )]
    WrongVersion {
        /// The version that made the data.
        wanted: u32,
        /// The newest version that is installed.
        found: u32,
    },
    /// Root has no account to give the server to.
    #[error(
        "PostgreSQL does not run as root and there is no account `postgres` or `nobody` to run it \
         as; create one (useradd --system postgres)"
    )]
    NoAccount,
    /// The server's account cannot reach the data directory.
    #[error(
        "the account `{account}` cannot enter {blocked}, above the data directory; choose another \
         data directory, or allow it with chmod o+x"
    )]
    Unreachable {
        /// The account.
        account: String,
        /// The directory that it cannot enter.
        blocked: PathBuf,
    },
    /// Another process uses this data directory.
    #[error("another BunBun uses the data directory {0}; stop it, or choose another --data-dir")]
    InUse(PathBuf),
    /// A server runs on the data directory and does not let us in.
    #[error("a PostgreSQL (process {pid}) runs on {data_dir} but cannot be used: {reason}")]
    Foreign {
        /// Its process.
        pid: u32,
        /// The data directory.
        data_dir: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// `initdb`, `postgres` or `pg_ctl` failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Which one.
        program: &'static str,
        /// The last lines that it wrote.
        output: String,
    },
    /// The server did not become ready or did not stop in time.
    #[error("PostgreSQL did not {action} in time; its log is {log}")]
    TooSlow {
        /// What it was to do.
        action: &'static str,
        /// Its log file.
        log: PathBuf,
    },
    /// A file or process operation failed.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ClusterError {
    /// Whether the disk of the data directory has no room left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            // The programs run with `LC_ALL=C`.
            Self::Program { output, .. } => {
                output.contains("No space left on device") || output.contains("quota exceeded")
            }
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    pub(super) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            action: action.into(),
            source,
        }
    }
}
