//! `bunbun config check`

use insta::assert_snapshot;

use crate::binary::{run, run_in};

#[test]
fn every_fault_is_told_at_once_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "[server]\nporrt = 1\n[gateway]\ndialect = 'nginx'\n";
    std::fs::write(folder.path().join("bunbun.toml"), file).expect("written");
    let env = [
        ("PORT", "x"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("JWT_SECRET", "hunter2"),
        ("DASHBOARD_PASSWORD", "hunter2"),
        ("ALLOWED_ORIGINS", "*"),
    ];
    let outcome = run_in(folder.path(), &["config", "check"], &env);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    assert_snapshot!(outcome.stderr);

    let json = run_in(folder.path(), &["config", "check", "--json"], &env);
    let object: serde_json::Value = serde_json::from_str(&json.stderr).expect("JSON");
    let faults = object["error"]["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), outcome.stderr.matches("hint:").count());
    assert!(
        faults
            .iter()
            .all(|fault| !fault["hint"].as_str().unwrap_or_default().is_empty())
    );
}

#[test]
fn faults_of_form_do_not_hide_those_of_meaning() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "[gateway.upstreams.slow]\nurls = ['http://a']\nconnect_timeout = 'soon'\n\
        [[gateway.routes]]\nname = 'a'\npath = '/a'\nupstream = 'slow'\naccess = 'q'\n\
        [[gateway.routes]]\nname = 'b'\npath = '/b'\n\
        [[gateway.routes]]\nname = 'c'\npath = '/c'\nupstream = 'missing'\naccess = 'open'\n\
        [[gateway.routes]]\nname = 'd'\npath = '/d'\nupstream = 'slow'\naccess = 'open'\n";
    std::fs::write(folder.path().join("bunbun.toml"), file).expect("written");
    let outcome = run_in(folder.path(), &["config", "check"], &[]);
    let told = |text: &str| outcome.stderr.contains(text);
    assert!(
        told("connect_timeout") && told("'a'.access"),
        "{}",
        outcome.stderr
    );
    assert!(told("'b'") && told("missing"), "{}", outcome.stderr);
    assert!(!told("'d'"), "{}", outcome.stderr);
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    for (arguments, env) in [
        (vec!["config", "check", "--config", "nothing.toml"], vec![]),
        (
            vec!["config", "check"],
            vec![("BUNBUN_CONFIG", "nothing.toml")],
        ),
    ] {
        let outcome = run(&arguments, &env);
        assert_eq!(outcome.code, Some(1));
        assert!(
            outcome.stderr.contains("nothing.toml"),
            "{}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("hint:"), "{}", outcome.stderr);
    }
}

#[test]
fn a_file_that_is_no_toml_is_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bunbun.toml"), "[server\n").expect("written");
    let outcome = run_in(folder.path(), &["config", "check"], &[]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("bunbun.toml"), "{}", outcome.stderr);
}
