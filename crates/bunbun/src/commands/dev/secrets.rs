//! `DATA_DIR/bunbun.env`: the secrets that `bunbun dev` generates once and keeps.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use bunbun_core::config::{Sources, settings::SETTINGS};

use crate::{commands::keys, failure::Failure};

/// The file's name in the data directory.
pub(super) const FILE: &str = "bunbun.env";

const HEAD: &str = "\
# Made by `bunbun dev` and read at its every start. Keep it secret: whoever has SERVICE_ROLE_KEY or
# JWT_SECRET owns all data. A variable of the process beats the line here; lines of yours are kept.
";

/// The file's content.
#[derive(Debug)]
pub(super) struct Secrets {
    path: PathBuf,
    text: String,
    changed: bool,
}

impl Secrets {
    /// Reads the file; one that is not there is empty.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
            Err(error) => return Err(failed(path, "read", &error)),
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            changed: false,
        })
    }

    /// The value of a line.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.entries()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.to_owned())
            .filter(|value| !value.is_empty())
    }

    /// Generates what neither the process nor the file has, writes the file, and adds everything
    /// to the environment layer.
    pub(super) fn complete(
        mut self,
        sources: &mut Sources,
        own_cluster: bool,
    ) -> Result<Self, Failure> {
        let own = |name: &str| sources.get(path_of(name)?);
        // Keys in the file belong to the file's JWT_SECRET.
        let foreign_secret =
            own("JWT_SECRET").is_some_and(|secret| self.get("JWT_SECRET") != Some(secret));
        let stored = |name: &str| match name {
            "ANON_KEY" | "SERVICE_ROLE_KEY" if foreign_secret => None,
            _ => self.get(name),
        };
        let names: Vec<_> = keys::complete(&[])
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let given: Vec<(String, String)> = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), own(name).or_else(|| stored(name))?)))
            .collect();
        let set = keys::complete(&given);
        let ours: Vec<_> = set
            .into_iter()
            .filter(|(name, _)| own(name).is_none())
            .collect();
        for (name, value) in ours {
            if !(foreign_secret && matches!(name, "ANON_KEY" | "SERVICE_ROLE_KEY")) {
                self.remember(name, &value);
            }
            sources.env.insert(name.to_owned(), value);
        }
        for (name, value) in self.entries() {
            // How the private cluster is reached is known when it runs.
            let is_cluster = matches!(name, "DATABASE_URL" | "PLATFORM_DATABASE_URL");
            if !is_cluster {
                let known = sources.env.entry(name.to_owned()).or_default();
                if known.is_empty() {
                    value.clone_into(known);
                }
            }
        }
        if own_cluster {
            // An empty variable counts as unset, but would stand in the way of ours.
            sources
                .env
                .retain(|name, value| name != "PLATFORM_DATABASE_URL" || !value.is_empty());
        }
        self.save()?;
        Ok(self)
    }

    /// Sets a line, in place where it exists.
    pub(super) fn remember(&mut self, name: &str, value: &str) {
        if self.get(name).as_deref() == Some(value) {
            return;
        }
        let line = format!("{name}={value}");
        let mut found = false;
        let mut lines: Vec<String> = self
            .text
            .lines()
            .map(|old| match parse(old) {
                Some((other, _)) if other == name => {
                    found = true;
                    line.clone()
                }
                _ => old.to_owned(),
            })
            .collect();
        if !found {
            lines.push(line);
        }
        self.text = lines.join("\n");
        self.text.push('\n');
        self.changed = true;
    }

    /// Writes the file if something changed: whole or not at all, readable for us only.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        if !self.changed {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(folder)?;
            file.write_all(self.text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().map_err(|error| failed(&self.path, "written", &error))?;
        self.changed = false;
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.lines().filter_map(parse)
    }
}

/// `NAME=value`, also with `export` before it and quotes around the value.
fn parse(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line
        .strip_prefix("export ")
        .unwrap_or(line)
        .split_once('=')?;
    let value = value.trim();
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    Some((name.trim(), unquoted))
}

/// The path of the setting that a name of the generated set belongs to.
fn path_of(name: &str) -> Option<&'static str> {
    let env = if name == "SERVICE_ROLE_KEY" {
        "SUPABASE_SERVICE_KEY"
    } else {
        name
    };
    SETTINGS
        .iter()
        .find(|setting| setting.env == env)
        .map(|setting| setting.path)
}

fn failed(path: &Path, done: &str, error: &io::Error) -> Failure {
    let problem = format!("{} cannot be {done}", path.display());
    Failure::because(
        problem,
        error,
        "it must be a text file that only you can read and write",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bunbun_core::config::{Config, Sources};

    use super::{Secrets, parse};

    fn complete(path: &std::path::Path, env: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (name, value) in env {
            sources.env.insert((*name).to_owned(), (*value).to_owned());
        }
        Secrets::load(path)
            .unwrap()
            .complete(&mut sources, true)
            .unwrap();
        sources
    }

    #[test]
    fn secrets_are_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bunbun.env");
        let first = complete(&path, &[]);
        assert!(Config::load(&first).is_ok());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(complete(&path, &[]).env, first.env);
    }

    #[test]
    fn missing_lines_are_added_and_lines_of_the_user_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bunbun.env");
        let text = "# mine\nexport AUTH_URL=\"http://auth:9999\"\nDASHBOARD_PASSWORD=mine\n";
        std::fs::write(&path, text).unwrap();
        let sources = complete(&path, &[]);
        assert_eq!(
            sources.get("services.auth").as_deref(),
            Some("http://auth:9999")
        );
        assert_eq!(sources.get("dashboard.password").as_deref(), Some("mine"));
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(
            written.starts_with(text) && written.contains("\nJWT_SECRET="),
            "{written}"
        );
    }

    #[test]
    fn the_process_beats_the_file_and_gets_keys_of_its_own_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bunbun.env");
        let first = complete(&path, &[]);
        let text = std::fs::read_to_string(&path).unwrap();
        let env = [("JWT_SECRET", "another-secret-of-the-process-0123456789")];
        let second = complete(&path, &env);
        assert!(
            Config::load(&second).is_ok(),
            "the keys fit the process's secret"
        );
        assert_ne!(first.get("keys.anon"), second.get("keys.anon"));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text,
            "the file stays"
        );
    }

    #[test]
    fn lines_are_read_as_shells_and_compose_do() {
        assert_eq!(parse("A=b=c"), Some(("A", "b=c")));
        assert_eq!(parse(" export A = 'b c' "), Some(("A", "b c")));
        assert_eq!(parse("# A=b"), None);
        assert_eq!(parse("A"), None);
    }
}
