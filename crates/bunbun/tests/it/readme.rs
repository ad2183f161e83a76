//! The examples of the README and of the documentation, as they stand there. The README's
//! JavaScript is run by `compat/`.

use std::{
    fs::File,
    process::{Command, Stdio},
    thread,
};

use bunbun_databases::postgres::cluster::Binaries;

use crate::{binary::command, running::Running};

const README: &str = include_str!("../../../../README.md");
const AUTH: &str = include_str!("../../../../docs/auth.md");
const DATABASES: &str = include_str!("../../../../docs/databases.md");
const URL: &str = "http://127.0.0.1:3000";

/// The blocks of shell in a section, in their order.
fn blocks(text: &'static str, section: &str) -> Vec<&'static str> {
    let (_, section) = text
        .split_once(&format!("\n## {section}\n"))
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
    run(
        &blocks(README, "The first five minutes"),
        &[
            "read the docs",
            "\"key\":\"photos/",
            "Hello from curl",
            "\"next_cursor\":null",
        ],
    );
}

#[test]
fn the_examples_of_auth_do_what_they_say() {
    run(
        &blocks(AUTH, "Try it"),
        &[
            "\"name\":\"Ada\"",
            "\"access_token\":",
            "bob@example.org",
            "\"banned_until\":\"",
        ],
    );
}

#[test]
fn the_examples_of_connections_do_what_they_say() {
    run(
        &blocks(DATABASES, "Connections"),
        &[
            "\"ok\":true",
            "\"has_password\":true",
            "\"identifier\":\"shop\"",
            "\"schemas\":[",
        ],
    );
}

#[test]
fn the_examples_of_postgresql_do_what_they_say() {
    run(
        &blocks(DATABASES, "PostgreSQL"),
        &[
            "\"hello\":\"world 2\"",
            "\"already_applied\":false",
            "\"title\":\"Feed the cat\",\"done\":true",
            "\"Node Type\": \"ModifyTable\"",
        ],
    );
}

#[test]
fn the_examples_of_redis_do_what_they_say() {
    let Some(server) = bunbun_test::TestRedis::start() else {
        return;
    };
    let blocks: Vec<_> = blocks(DATABASES, "Redis")
        .into_iter()
        .map(|block| block.replace("redis://127.0.0.1:6379", &server.url()))
        .collect();
    let blocks: Vec<_> = blocks.iter().map(String::as_str).collect();
    run(
        &blocks,
        &[
            "{\"field\":\"age\",\"value\":\"30\"}",
            "\"key\":\"user:1\"",
            "event: progress",
            "\"result\":\"Ann\"",
            "\"deleted\":1",
        ],
    );
    assert_eq!(server.command(&["DBSIZE"]), ":0");
    assert_eq!(server.command(&["SET", "user:1", "Ann"]), "+OK");
    let readme =
        blocks_with_url("Other databases").replace("redis://127.0.0.1:6379", &server.url());
    run(
        &[&readme],
        &["\"identifier\":\"cache\"", "\"key\":\"user:1\""],
    );
}

/// A section of the README that goes on where the first five minutes ended.
fn blocks_with_url(section: &str) -> String {
    let blocks = blocks(README, section).join("\n");
    format!(". .bunbun/bunbun.env; URL={URL}\n{blocks}")
}

#[tokio::test]
async fn the_examples_of_mongodb_do_what_they_say() {
    let Some(server) = bunbun_test::MongodbServer::ferretdb().await else {
        return;
    };
    let blocks: Vec<_> = blocks(DATABASES, "MongoDB")
        .into_iter()
        .map(|block| block.replace("mongodb://127.0.0.1:27017", server.uri()))
        .collect();
    let work = move || {
        let blocks: Vec<_> = blocks.iter().map(String::as_str).collect();
        run(
            &blocks,
            &[
                "\"inserted\":2",
                "\"items\":[\"cup\",\"tea\"]",
                "{\"$date\":{\"$numberLong\":\"1795600800000\"}}",
                "\"items\":[\"tea\",\"milk\"]",
                "{\"_id\":\"tea\",\"sold\":2}",
                "\"customer_1\"",
                "\"document\":{\"_id\":2,\"customer\":\"Bob\"",
            ],
        );
    };
    tokio::task::spawn_blocking(work).await.expect("it ends");
}

/// Runs commands beside a `bunbun dev`; their output has what is expected.
fn run(blocks: &[&str], expected: &[&str]) {
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
    let mut start = command(folder.path(), &["dev", "--port", "0", "--json"], &env);
    let log = folder.path().join("log");
    start.stderr(File::create(&log).expect("a file"));
    let dev = Running::start(start);

    let commands = blocks.join("\n");
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
    for expected in expected {
        assert!(out.contains(expected), "no {expected} in {out}\n{err}");
    }
    dev.stop();
    let log = std::fs::read_to_string(log).expect("the log");
    assert!(!log.contains("panicked"), "{log}");
}
