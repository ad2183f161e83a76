//! The embedded storage in the running binary: killed in the middle of uploads, swept, and the
//! examples of `docs/storage.md`.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bunbun_databases::postgres::cluster::Binaries;
use serde_json::json;

use crate::{binary::command, running::Running};

fn start(folder: &Path) -> Running {
    let env = [
        ("LOG", "error"),
        ("ACCESS_LOG", "false"),
        ("STORAGE_SWEEP_GRACE", "1s"),
        ("STORAGE_SWEEP_INTERVAL", "1s"),
        ("S3_PROTOCOL_ACCESS_KEY_ID", "example-key"),
        ("S3_PROTOCOL_ACCESS_KEY_SECRET", "example-secret"),
    ];
    Running::start(command(folder, &["dev", "--port", "0", "--json"], &env))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Waits until something holds; only a fault reaches the end.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends an upload's head and some of its bytes.
fn begin_upload(dev: &Running, method: &str, name: &str, bytes: usize) -> TcpStream {
    let key = dev.text("service_role_key");
    let mut stream = TcpStream::connect(&dev.address).expect("it listens");
    write!(
        stream,
        "{method} /storage/v1/object/b/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: text/plain\r\nContent-Length: 40000000\r\n\r\n"
    )
    .expect("it reads");
    stream.write_all(&vec![b'x'; bytes]).expect("it reads");
    stream
}

#[test]
fn killed_in_the_middle_of_uploads_it_has_neither_rows_without_bytes_nor_bytes_without_rows() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join(".bunbun/storage");
    let dev = start(folder.path());
    let key = dev.text("service_role_key").to_owned();
    let bucket = json!({ "name": "b" }).to_string();
    let call = |dev: &Running, method: &str, path: &str, body: &str| {
        dev.call(method, &format!("/storage/v1{path}"), Some(&key), body)
    };
    assert_eq!(call(&dev, "POST", "/bucket", &bucket).0, 200);
    assert_eq!(
        call(&dev, "POST", "/object/b/kept", "{\"is\": \"kept\"}").0,
        200
    );
    let uploads = [
        begin_upload(&dev, "POST", "new", 3_000_000),
        begin_upload(&dev, "PUT", "kept", 3_000_000),
    ];
    wait_until("the uploads reach the disk", || {
        files(&storage.join("tmp")).len() == 2
    });
    dev.kill();
    drop(uploads);
    // What a crash after the last byte and before the commit leaves.
    let kept = files(&storage.join("data")).pop().expect("the object");
    let orphan = kept.with_file_name("0b8e7a5e-0000-4000-8000-000000000000");
    fs::write(&orphan, "lost").expect("writable");

    let dev = start(folder.path());
    assert_eq!(
        call(&dev, "GET", "/object/b/kept", "").1,
        json!({ "is": "kept" })
    );
    let (status, answer) = call(&dev, "GET", "/object/b/new", "");
    assert_eq!((status, &answer["statusCode"]), (400, &json!("404")));
    wait_until("the sweeper removes what is left", || {
        files(&storage).len() == 1 && !orphan.exists()
    });
    assert_eq!(
        call(&dev, "GET", "/object/b/kept", "").1,
        json!({ "is": "kept" })
    );
    assert_eq!(
        dev.query("select count(*) as n from storage.objects")[0]["n"],
        1
    );
    dev.stop();
}

/// The shell examples of a document, and the output that stands below each.
fn examples(text: &str) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut blocks = text.split("\n```");
    blocks.next();
    for block in blocks {
        let (kind, body) = block.split_once('\n').unwrap_or((block, ""));
        match kind {
            "sh" => found.push((body.to_owned(), None)),
            "output" => {
                if let Some(last) = found.last_mut() {
                    last.1 = Some(body.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether a text is as expected; `…` stands for anything.
fn is_like(text: &str, expected: &str) -> bool {
    let mut rest = text.trim();
    let mut parts = expected.trim().split('…');
    let Some(after) = parts.next().and_then(|first| rest.strip_prefix(first)) else {
        return false;
    };
    rest = after;
    let mut open = false;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        open = part.is_empty();
    }
    open || rest.is_empty()
}

#[test]
fn the_examples_of_the_documentation_do_what_they_say() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/storage.md");
    let examples = examples(&fs::read_to_string(document).expect("it is there"));
    assert!(examples.len() > 8, "the examples are found");
    let folder = tempfile::tempdir().expect("a folder");
    let dev = start(folder.path());
    let work = tempfile::tempdir().expect("a folder");
    let state = work.path().join(".state");
    fs::write(&state, "").expect("writable");
    for (script, expected) in examples {
        // Variables live on from one example to the next, as in a reader's shell.
        let text = format!(
            "set -euo pipefail; . '{0}'\n{script}\ndeclare -p > '{0}.new' 2>/dev/null; grep -E '^declare -- [a-z_]+=' '{0}.new' > '{0}' || true",
            state.display()
        );
        let run = Command::new("bash")
            .arg("-c")
            .arg(text)
            .current_dir(work.path())
            .env("URL", format!("http://{}", dev.address))
            .env("KEY", dev.text("service_role_key"))
            .env("ANON", dev.text("anon_key"))
            .output()
            .expect("bash runs");
        let shown = String::from_utf8_lossy(&run.stdout);
        let faults = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{script}\n{shown}\n{faults}");
        if let Some(expected) = expected {
            assert!(
                is_like(&shown, &expected),
                "{script}\nshows\n{shown}\ninstead of\n{expected}"
            );
        }
    }
    dev.stop();
}
