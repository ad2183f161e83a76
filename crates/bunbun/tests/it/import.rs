//! `bunbun import kong`

use crate::binary::{run, run_in};

const KONG: &str = "
_format_version: '1.1'
services:
  - name: blog
    url: http://blog:8080/
    routes:
      - name: blog-all
        strip_path: true
        paths: [/blog/]
    plugins:
      - name: cors
      - name: something-else
";

#[test]
fn a_kong_file_becomes_a_section_that_can_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("kong.yml"), KONG).expect("written");
    let outcome = run_in(folder.path(), &["import", "kong", "kong.yml"], &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("something-else"),
        "{}",
        outcome.stdout
    );
    std::fs::write(folder.path().join("bunbun.toml"), &outcome.stdout).expect("written");
    let routes = run_in(folder.path(), &["routes"], &[]);
    assert!(
        routes.stdout.contains("/blog"),
        "{}{}",
        routes.stdout,
        routes.stderr
    );

    let object = run_in(
        folder.path(),
        &["import", "kong", "kong.yml", "--json"],
        &[],
    )
    .json();
    assert!(
        object["untranslated"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    );
}

#[test]
fn a_file_that_is_missing_or_no_kong_file_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("other.yml"), "a: 1\n").expect("written");
    for name in ["nothing.yml", "other.yml"] {
        let outcome = run_in(folder.path(), &["import", "kong", name], &[]);
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.stderr.contains("hint:"), "{}", outcome.stderr);
    }
    assert_eq!(run(&["import", "kong"], &[]).code, Some(2));
}
