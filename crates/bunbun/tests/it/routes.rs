//! `bunbun routes`

use crate::binary::{run, run_in};

#[test]
fn built_in_routes_and_those_of_the_file_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "[[gateway.routes]]\nname = 'blog'\npath = '/blog/'\nupstream = 'blog'\n\
                [gateway.upstreams.blog]\nurls = ['http://127.0.0.1:8080']\n";
    std::fs::write(folder.path().join("bunbun.toml"), file).expect("written");
    let outcome = run_in(folder.path(), &["routes"], &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let shown: toml::Table = outcome.stdout.parse().expect("TOML");
    let routes = shown["gateway"]["routes"].as_array().expect("a list");
    let named = |name: &str| {
        routes
            .iter()
            .any(|route| route["name"].as_str() == Some(name))
    };
    assert!(
        named("blog") && named("rest") && named("auth"),
        "{}",
        outcome.stdout
    );

    // What is shown can be used.
    let copy = tempfile::tempdir().expect("a folder");
    std::fs::write(copy.path().join("bunbun.toml"), &outcome.stdout).expect("written");
    assert_eq!(run_in(copy.path(), &["routes"], &[]).stdout, outcome.stdout);
}

#[test]
fn json_has_the_same_routes() {
    let object = run(&["routes", "--json"], &[]).json();
    assert!(
        object["gateway"]["routes"]
            .as_array()
            .is_some_and(|routes| routes.len() > 10)
    );
}
