//! Finding `pg_dump` and `pg_restore` on this machine.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{super::cluster::directories, error::Error};

/// `pg_dump` and `pg_restore` of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    directory: PathBuf,
    major: u32,
}

impl Tools {
    /// The tools for a server of the given major version: its own, or the next newer ones. Older
    /// ones refuse; much newer ones write settings that the server may not know.
    ///
    /// # Errors
    /// [`Error::ToolsMissing`], [`Error::ToolsTooOld`].
    pub async fn find(server: u32) -> Result<Self, Error> {
        Self::find_in(directories(), server).await
    }

    async fn find_in(directories: Vec<PathBuf>, server: u32) -> Result<Self, Error> {
        let (mut best, mut newest): (Option<Self>, Option<u32>) = (None, None);
        for directory in directories {
            let Some(major) = version(&directory).await else {
                continue;
            };
            newest = newest.max(Some(major));
            if major >= server && best.as_ref().is_none_or(|best| major < best.major) {
                best = Some(Self { directory, major });
            }
        }
        best.ok_or(match newest {
            Some(tools) => Error::ToolsTooOld { server, tools },
            None => Error::ToolsMissing,
        })
    }

    /// Their major version.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// The path of `pg_dump`, `pg_restore`, or another program beside them.
    #[must_use]
    pub fn path(&self, tool: &str) -> PathBuf {
        self.directory.join(tool)
    }
}

/// Asks `pg_dump --version`; a name in a path may lie.
async fn version(directory: &Path) -> Option<u32> {
    let program = directory.join("pg_dump");
    // Debian's wrapper in /usr/bin picks a version of its own, by its own configuration.
    let real = std::fs::canonicalize(&program).ok()?;
    if real.ends_with("pg_wrapper") || !directory.join("pg_restore").is_file() {
        return None;
    }
    let output = Command::new(&program)
        .arg("--version")
        .env_clear()
        .output()
        .await
        .ok()?;
    major(&String::from_utf8_lossy(&output.stdout))
}

/// `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 18beta1`.
fn major(text: &str) -> Option<u32> {
    let number = text.split(") ").nth(1)?.trim();
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Error, Tools, directories, major};

    #[test]
    fn versions_are_read() {
        assert_eq!(
            major("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("pg_dump (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("bash: pg_dump: command not found"), None);
    }

    #[tokio::test]
    async fn a_server_newer_than_the_tools_is_told_as_such() {
        assert!(matches!(
            Tools::find_in(directories(), 999).await,
            Err(Error::ToolsTooOld {
                server: 999,
                tools: 13..
            })
        ));
        assert!(matches!(
            Tools::find_in(Vec::new(), 15).await,
            Err(Error::ToolsMissing)
        ));
    }
}
