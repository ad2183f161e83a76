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
fn what_has_no_counterpart_is_listed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    // The second service would take both paths' requests of the route that is left out.
    let file = "
_format_version: '2.1'
consumers:
  - username: admin
    keyauth_credentials: [{key: $SUPABASE_SERVICE_KEY}]
    basicauth_credentials: [{username: u, password: p}]
acls:
  - {consumer: admin, group: admin}
services:
  - name: guarded
    url: http://a/
    routes: [{name: rx, paths: ['~/re/(\\d+)$']}]
    plugins: [{name: key-auth}, {name: acl, config: {allow: [admin]}}, {name: oauth2}]
  - name: basic
    url: http://b/
    routes: [{name: b, paths: [/b/, /b2]}]
    plugins: [{name: basic-auth}]
";
    std::fs::write(folder.path().join("kong.yml"), file).expect("written");
    let arguments = ["import", "kong", "kong.yml", "--json"];
    let object = run_in(folder.path(), &arguments, &[]).json();
    let list = object["untranslated"].as_array().expect("a list");
    for (index, entry) in list.iter().enumerate() {
        assert!(!list[..index].contains(entry), "{entry} is listed twice");
    }
    let of_route = |entry: &&serde_json::Value| entry["path"] == "services[basic].routes[b]";
    assert!(list.iter().any(|entry| of_route(&entry)), "{list:?}");
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
