//! `bunbun serve`

use std::io::Write as _;

use crate::{
    binary::{command, run},
    running::Running,
};

const ENV: [(&str, &str); 5] = [
    // Nothing listens there.
    ("DATABASE_URL", "postgres://app:hunter2@127.0.0.1:1/app"),
    ("JWT_SECRET", "N8m2hVw0cQ4tYk7sLr1bXz6pJd3fGa9e"),
    ("DASHBOARD_PASSWORD", "correct-horse-battery"),
    ("ACCESS_LOG", "false"),
    ("HOST", "127.0.0.1"),
];

#[test]
fn nothing_is_generated_in_production() {
    let outcome = run(&["serve"], &[]);
    assert_eq!(outcome.code, Some(2));
    for name in ["DATABASE_URL", "JWT_SECRET", "DASHBOARD_PASSWORD"] {
        assert!(
            outcome.stderr.contains(name),
            "{name} is missing in\n{}",
            outcome.stderr
        );
    }
    assert!(
        outcome.stderr.contains("bunbun keys generate"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_database_that_is_down_does_not_prevent_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(command(
        folder.path(),
        &["serve", "--port", "0", "--json"],
        &ENV,
    ));
    assert_eq!(server.call("GET", "/health", None, "").0, 200);
    let (status, answer) = server.call("GET", "/readyz", None, "");
    assert_eq!(
        (status, answer["error"]["code"].as_str()),
        (503, Some("DATABASE_UNAVAILABLE"))
    );
    let (status, answer) = server.call("GET", "/api/health/services", None, "");
    assert_eq!(
        (status, answer["services"]["postgres"]["status"].as_str()),
        (200, Some("down"))
    );
    server.stop();
}

#[test]
fn a_file_that_cannot_be_used_is_refused_before_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = std::fs::File::create(folder.path().join("bunbun.toml")).expect("a file");
    writeln!(
        file,
        "[[gateway.routes]]\nname = 'x'\npath = '/x'\nupstream = 'nowhere'"
    )
    .expect("written");
    let outcome = crate::binary::run_in(folder.path(), &["serve", "--port", "0"], &ENV);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("nowhere"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
}
