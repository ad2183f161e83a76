//! Where the parts of a private cluster lie.

use std::{
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use bunbun_core::secret;
use secrecy::{ExposeSecret, SecretString};

use super::{
    ClusterError,
    account::{self, Account},
};

/// Below this a root-owned cluster lies whose own place the server's account cannot reach.
const REACHABLE: &str = "/var/lib/bunbun";

/// Longest path of a Unix socket, of which `/.s.PGSQL.65535` is the end.
const SOCKET_PATH_LIMIT: usize = 107;

/// The directories and files of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    socket: PathBuf,
}

impl Layout {
    /// Makes the directories and sees to it that the server's account can reach them.
    pub(super) fn prepare(
        directory: &Path,
        account: Option<&Account>,
    ) -> Result<Self, ClusterError> {
        make(directory)?;
        let wanted = fs::canonicalize(directory)
            .map_err(|error| ClusterError::io("resolve the data directory", error))?;
        let root = reachable_root(&wanted, account)?;
        let socket = socket_directory(&root);
        account::private_directory(&socket, account)
            .map_err(|error| ClusterError::io("make the socket directory", error))?;
        Ok(Self { root, socket })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.root.join("data.unfinished")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("owner.lock")
    }

    /// The major version that made the data; `None` when there is none yet.
    pub(super) fn data_version(&self) -> Result<Option<u32>, ClusterError> {
        match fs::read_to_string(self.data().join("PG_VERSION")) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ClusterError::io(
                "read the version of the data directory",
                error,
            )),
        }
    }

    /// The superuser's password, made at the first call.
    pub(super) fn password(&self) -> Result<SecretString, ClusterError> {
        let path = self.root.join("superuser.password");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ClusterError::io("read the superuser's password", error));
            }
            _ => {}
        }
        let password: SecretString = secret::random_text(32).into();
        write_private(&path, password.expose_secret())
            .map_err(|error| ClusterError::io("write the superuser's password", error))?;
        Ok(password)
    }

    pub(super) fn last_port(&self) -> Option<u16> {
        fs::read_to_string(self.root.join("port"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(super) fn remember_port(&self, port: u16) -> Result<(), ClusterError> {
        fs::write(self.root.join("port"), format!("{port}\n"))
            .map_err(|error| ClusterError::io("write the port file", error))
    }
}

/// Writes a file that only we can read, from its first moment on.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn make(directory: &Path) -> Result<(), ClusterError> {
    // The server's account has to pass through; nobody has to look around.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(directory)
        .map_err(|error| {
            ClusterError::io(format!("make the directory {}", directory.display()), error)
        })
}

/// The wanted place, or, where the server's account cannot enter it, a place that it can.
fn reachable_root(wanted: &Path, account: Option<&Account>) -> Result<PathBuf, ClusterError> {
    let Some(account) = account else {
        return Ok(wanted.to_owned());
    };
    let blocked = |directory: &Path| account.blocked_by(directory);
    let exists_here = wanted.join("data").exists();
    let Some(obstacle) = blocked(wanted) else {
        return Ok(wanted.to_owned());
    };
    if exists_here {
        return Err(ClusterError::Unreachable {
            account: account.name.clone(),
            blocked: obstacle,
        });
    }
    let name = secret::fingerprint(wanted.as_os_str().as_bytes());
    let elsewhere = Path::new(REACHABLE).join(name);
    make(&elsewhere)?;
    if let Some(blocked) = blocked(&elsewhere) {
        return Err(ClusterError::Unreachable {
            account: account.name.clone(),
            blocked,
        });
    }
    fs::write(
        wanted.join("location"),
        format!("{}\n", elsewhere.display()),
    )
    .map_err(|error| ClusterError::io("note where the data lies", error))?;
    Ok(elsewhere)
}

/// A directory whose socket path the operating system accepts.
fn socket_directory(root: &Path) -> PathBuf {
    let own = root.join("socket");
    if own.as_os_str().len() + "/.s.PGSQL.65535".len() <= SOCKET_PATH_LIMIT {
        return own;
    }
    let name = secret::fingerprint(root.as_os_str().as_bytes());
    Path::new("/tmp").join(format!("bunbun-{name}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::socket_directory;

    #[test]
    fn a_socket_path_is_never_too_long() {
        assert_eq!(
            socket_directory(Path::new("/a/b")),
            Path::new("/a/b/socket")
        );
        let long = format!("/{}", "x".repeat(200));
        assert!(socket_directory(Path::new(&long)).as_os_str().len() < 60);
    }
}
