//! Finding PostgreSQL's server binaries on this machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::ClusterError;

/// A directory with `postgres`, `initdb` and `pg_ctl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// The newest PostgreSQL on this machine: in the usual places of the distributions, then in
    /// `PATH`.
    ///
    /// # Errors
    /// [`ClusterError::NotInstalled`], which says what to install.
    pub fn find() -> Result<Self, ClusterError> {
        Self::all()
            .into_iter()
            .next()
            .ok_or(ClusterError::NotInstalled)
    }

    /// The binaries of one major version: a data directory belongs to the version that made it.
    ///
    /// # Errors
    /// [`ClusterError::WrongVersion`] when that version is not installed.
    pub fn find_major(major: u32) -> Result<Self, ClusterError> {
        let all = Self::all();
        let newest = all.first().map(|binaries| binaries.major);
        all.into_iter()
            .find(|binaries| binaries.major == major)
            .ok_or(match newest {
                Some(found) => ClusterError::WrongVersion {
                    wanted: major,
                    found,
                },
                None => ClusterError::NotInstalled,
            })
    }

    /// A program of this installation, for example `pg_dump`.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// The major version, for example 15.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// Every installation, the newest first; those of `PATH` win among equals.
    fn all() -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for directory in directories() {
            let complete = ["postgres", "initdb", "pg_ctl"]
                .iter()
                .all(|name| directory.join(name).is_file());
            if complete
                && !found.iter().any(|known| known.directory == directory)
                && let Some(major) = version(&directory)
            {
                found.push(Self { directory, major });
            }
        }
        // Stable, so that the order above decides among equal versions.
        found.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
        found
    }
}

/// The directories in which PostgreSQL's programs may be: those of `PATH`, then the usual places of
/// the distributions.
pub(in crate::postgres) fn directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    for (parent, prefix, suffix) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ] {
        directories.extend(children(Path::new(parent), prefix).map(|dir| dir.join(suffix)));
    }
    directories.extend(["/usr/local/pgsql/bin", "/usr/local/bin"].map(PathBuf::from));
    directories
}

fn children(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}

/// Asks `postgres --version`; a name in a path may lie.
fn version(directory: &Path) -> Option<u32> {
    let output = Command::new(directory.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 18beta1`.
    let number = text.split(") ").nth(1)?;
    let digits = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..digits].parse().ok()
}
