//! The operating-system account that PostgreSQL runs as. PostgreSQL refuses to run as root, so a
//! root BunBun starts it as `postgres`, or `nobody` where that account does not exist.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, fchown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::ClusterError;

/// An account to run a child as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account to run as; `None` when we are not root and the child runs as we do.
    pub(super) fn for_server() -> Result<Option<Self>, ClusterError> {
        if effective_uid()? != 0 {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")
            .map_err(|error| ClusterError::io("read the list of accounts", error))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::parse(&accounts, name))
            .map(Some)
            .ok_or(ClusterError::NoAccount)
    }

    fn parse(accounts: &str, name: &str) -> Option<Self> {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then(|| Self {
                name: name.to_owned(),
                uid,
                gid,
            })
        })
    }

    /// Whether this account can search a directory and all its parents; the first that it cannot.
    pub(super) fn blocked_by(&self, directory: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<&Path> = directory.ancestors().collect();
        ancestors.reverse();
        ancestors
            .into_iter()
            .find(|ancestor| {
                fs::metadata(ancestor).is_ok_and(|metadata| {
                    let bit = if metadata.uid() == self.uid {
                        0o100
                    } else if metadata.gid() == self.gid {
                        0o010
                    } else {
                        0o001
                    };
                    metadata.mode() & bit == 0
                })
            })
            .map(Path::to_owned)
    }
}

/// Makes a directory that only the server's account can use.
pub(super) fn private_directory(path: &Path, account: Option<&Account>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    give(path, account)
}

/// Makes an open file one that only the server's account (and root) can read.
pub(super) fn keep_private(file: &fs::File, account: Option<&Account>) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    account.map_or(Ok(()), |account| {
        fchown(file, Some(account.uid), Some(account.gid))
    })
}

/// Hands a file or directory to the server's account.
pub(super) fn give(path: &Path, account: Option<&Account>) -> io::Result<()> {
    account.map_or(Ok(()), |account| {
        chown(path, Some(account.uid), Some(account.gid))
    })
}

/// A command that runs as the server's account, apart from our terminal's signals, with nothing of
/// our environment but the search path.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    if let Some(account) = account {
        // std drops the supplementary groups when a uid is set by root.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// std has no `geteuid`; a file of our own tells.
fn effective_uid() -> Result<u32, ClusterError> {
    if let Ok(metadata) = fs::metadata("/proc/self") {
        return Ok(metadata.uid());
    }
    let output = Command::new("id")
        .arg("-u")
        .output()
        .map_err(|error| ClusterError::io("run `id -u`", error))?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| ClusterError::NoAccount)
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn an_account_is_read_and_root_never_serves() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104::/var/lib:/bin/sh\nnobody:x:0:0::/:/bin/false\n";
        let account = Account::parse(accounts, "postgres").expect("it is there");
        assert_eq!((account.uid, account.gid), (101, 104));
        assert_eq!(Account::parse(accounts, "nobody"), None);
        assert_eq!(Account::parse(accounts, "post"), None);
    }
}
