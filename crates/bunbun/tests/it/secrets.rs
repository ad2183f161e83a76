//! Passwords of stored connections are in no log line, however much is logged.

use std::fs::{self, File};

use bunbun_databases::postgres::cluster::Binaries;
use serde_json::json;

use crate::{binary::command, running::Running};

const CONNECTIONS: &str = "/api/platform/postgres/default/connections";

#[test]
fn no_log_line_has_a_password_even_when_everything_is_logged() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let env = [("LOG", "trace"), ("LOG_FORMAT", "json")];
    let mut start = command(folder.path(), &["dev", "--port", "0", "--json"], &env);
    start.stderr(File::create(&log).expect("a file"));
    let server = Running::start(start);
    let key = server.text("service_role_key").to_owned();
    let secrets = fs::read_to_string(server.text("secrets_file")).expect("readable");
    let urls = secrets
        .lines()
        .filter_map(|line| line.strip_prefix("DATABASE_URL="));
    let url = urls.last().expect("the project's database");
    let url = url.trim_matches(['\'', '"']).to_owned();
    let (_, rest) = url.split_once("://").expect("a URL");
    let (login, place) = rest.split_once('@').expect("a login");
    let (_, password) = login.split_once(':').expect("a password");
    let (host, port) = (
        "127.0.0.1",
        place.split([':', '/', '?']).nth(1).expect("a port"),
    );
    assert!(password.len() > 10, "a real password");
    let call = |method: &str, path: &str, body: serde_json::Value| {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = server.call(method, path, Some(&key), &body);
        assert!(!answer.to_string().contains(password), "{path}: {answer}");
        (status, answer)
    };
    let (status, made) = call(
        "POST",
        CONNECTIONS,
        json!({ "identifier": "a", "url": url }),
    );
    assert_eq!(status, 201, "{made}");
    let place = format!("{CONNECTIONS}/{}", made["id"].as_str().expect("an id"));
    let use_it = "/api/platform/postgres/default/schemas?connection=a";
    call("POST", &format!("{place}/test"), json!(null));
    assert_eq!(call("GET", use_it, json!(null)).0, 200);
    let wrong = format!("{password}-wrong");
    let (status, _) = call("PATCH", &place, json!({ "password": wrong }));
    assert_eq!(status, 200);
    assert_eq!(call("GET", use_it, json!(null)).0, 502);
    for body in [
        json!({ "url": url.replace(port, "1") }),
        json!({ "url": url.replace(host, "169.254.169.254") }),
        json!({ "url": format!("{url}?&sslrootcert=/etc/passwd") }),
        json!({ "url": url, "password": password }),
        json!({ "password": { "is": password } }),
    ] {
        call("POST", &format!("{CONNECTIONS}/test"), body.clone());
        call("PUT", &place, body);
    }
    server.stop();
    let text = fs::read_to_string(&log).expect("readable");
    assert!(
        text.contains("/api/platform/postgres"),
        "the log has something"
    );
    let line = text.lines().find(|line| line.contains(password));
    assert!(line.is_none(), "{}", line.unwrap_or_default());
}
