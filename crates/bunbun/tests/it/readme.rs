//! The README's five minutes, as they stand there. Their JavaScript is run by `compat/`.

use std::{
    process::{Command, Stdio},
    thread,
};

use bunbun_databases::postgres::cluster::Binaries;

use crate::{binary::command, running::Running};

const README: &str = include_str!("../../../../README.md");
const URL: &str = "http://127.0.0.1:3000";

/// The blocks of shell in the section, in their order.
fn blocks() -> Vec<&'static str> {
    let (_, section) = README
        .split_once("\n## The first five minutes\n")
        .expect("the section");
    let section = section.split("\n## ").next().expect("its text");
    let blocks: Vec<_> = section.split("```sh\n").skip(1).collect();
    blocks
        .into_iter()
        .map(|block| block.split("```").next().expect("its end"))
        .collect()
}

#[test]
fn the_five_minutes_do_what_they_say() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let has_curl = Command::new("curl").arg("--version").output();
    if has_curl.is_err() {
        bunbun_test::skip("no curl");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let env = [("LOG", "error"), ("ACCESS_LOG", "false")];
    let start = command(folder.path(), &["dev", "--port", "0", "--json"], &env);
    let dev = Running::start(start);

    let commands = blocks().join("\n");
    assert!(commands.contains(URL), "the commands name the server");
    let commands = commands.replace(URL, &format!("http://{}", dev.address));
    // What curl would only show must end the script.
    let script = format!("set -eu\ncurl() {{ command curl -fsS \"$@\"; echo; }}\n{commands}");
    let mut shell = Command::new("sh")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = shell.stdin.take().expect("piped");
    let writing = thread::spawn(move || {
        use std::io::Write as _;
        let _ = stdin.write_all(script.as_bytes());
    });
    let output = shell.wait_with_output().expect("it ends");
    writing.join().expect("written");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    for expected in [
        "read the docs",
        "\"key\":\"photos/",
        "Hello from curl",
        "\"next_cursor\":null",
    ] {
        assert!(out.contains(expected), "no {expected} in {out}\n{err}");
    }
    dev.stop();
}
