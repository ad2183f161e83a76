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

#[test]
fn every_endpoint_of_the_api_is_listed() {
    let listed = run(&["routes", "--api", "--json"], &[]).json();
    let listed = listed.as_array().expect("a list");
    let document = run(&["openapi"], &[]).json();
    let paths = document["paths"].as_object().expect("paths").iter();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").keys();
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    let mut count = 0;
    for (method, path) in operations {
        assert!(
            listed
                .iter()
                .any(|one| one["method"] == *method && one["path"] == *path),
            "{method} {path}"
        );
        count += 1;
    }
    assert_eq!(count, listed.len());
    let text = run(&["routes", "--api"], &[]).stdout;
    assert_eq!(text.lines().count(), count);
    assert!(
        text.contains("POST   /api/platform/redis/{ref}/command "),
        "{text}"
    );
}
