//! Which node this is: a name that outlives the process, so that a node that starts again knows
//! what it was at when it was killed, and need not wait until that is taken for dead.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    path::Path,
};

use uuid::Uuid;

/// The file below the data directory.
const FILE: &str = "node";

/// This node's name, and the lock that keeps another process from using it at the same time.
pub(super) struct Node {
    name: String,
    #[expect(dead_code, reason = "locked, not read")]
    lock: Option<File>,
}

impl Node {
    /// Takes the name that the data directory holds. Where another process has it, or nothing can
    /// be kept there, the name is a new one: then only silence tells that this node is dead.
    pub(super) fn claim(data_directory: &Path) -> Self {
        match Self::kept(data_directory) {
            Ok((name, file)) => Self {
                name,
                lock: Some(file),
            },
            Err(error) => {
                tracing::debug!(%error, "this node has no lasting name");
                Self {
                    name: Uuid::new_v4().to_string(),
                    lock: None,
                }
            }
        }
    }

    fn kept(data_directory: &Path) -> std::io::Result<(String, File)> {
        fs::create_dir_all(data_directory)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(data_directory.join(FILE))?;
        file.try_lock()?;
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(100)
            .read_to_string(&mut text)?;
        if let Ok(name) = text.trim().parse::<Uuid>() {
            return Ok((name.to_string(), file));
        }
        let name = Uuid::new_v4().to_string();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(name.as_bytes())?;
        file.sync_all()?;
        Ok((name, file))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_name_lasts_and_is_used_by_one_process_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Node::claim(directory.path());
        let beside = Node::claim(directory.path());
        assert_ne!(first.name(), beside.name());
        let name = first.name().to_owned();
        drop(first);
        assert_eq!(Node::claim(directory.path()).name(), name);
    }

    #[test]
    fn a_node_without_a_directory_still_has_a_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(!Node::claim(file.path()).name().is_empty());
    }
}
