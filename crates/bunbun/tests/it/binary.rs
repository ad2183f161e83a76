//! Starts the binary in an empty environment and folder.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// What the binary did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}\n{}", self.stdout, self.stderr))
    }
}

/// The binary in a folder, with nothing of this process's environment but the search path.
pub(crate) fn command(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunbun"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs the binary to its end in an empty folder.
pub(crate) fn run(arguments: &[&str], env: &[(&str, &str)]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(folder.path(), arguments, env)
}

/// Runs the binary to its end.
pub(crate) fn run_in(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Outcome {
    let output = command(folder, arguments, env)
        .output()
        .expect("the binary starts");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}
