//! `bunbun keys generate` and `bunbun keys rotate`

use std::{collections::HashMap, fs, path::Path};

use bunbun_core::jwt::Verifier;
use bunbun_databases::postgres::cluster::Binaries;
use serde_json::json;

use crate::{
    binary::{command, run},
    running::Running,
};

#[test]
fn the_set_is_complete_and_its_keys_fit_its_secret() {
    let outcome = run(&["keys", "generate"], &[]);
    assert_eq!(outcome.code, Some(0));
    let set: HashMap<_, _> = outcome
        .stdout
        .lines()
        .map(|line| line.split_once('=').expect("NAME=value"))
        .collect();
    let verifier = Verifier::new(set["JWT_SECRET"]);
    for (name, role) in [("ANON_KEY", "anon"), ("SERVICE_ROLE_KEY", "service_role")] {
        assert_eq!(verifier.verify(set[name]).expect("valid").role, role);
    }
    assert!(set["SUPABASE_PUBLISHABLE_KEY"].starts_with("sb_publishable_"));
    assert!(set["SUPABASE_SECRET_KEY"].starts_with("sb_secret_"));
    assert_eq!(set["DATABASE_ENCRYPTION_KEY"].len(), 64);

    // What it makes is what `serve` asks for.
    let mut env: Vec<_> = set.into_iter().collect();
    env.push(("DATABASE_URL", "postgres://app:app@127.0.0.1/app"));
    let check = run(&["config", "check"], &env);
    assert_eq!(
        (check.code, check.stdout.as_str()),
        (Some(0), "OK\n"),
        "{}",
        check.stderr
    );
}

#[test]
fn no_two_sets_are_alike_and_json_has_the_same_names() {
    let (first, second) = (
        run(&["keys", "generate", "--json"], &[]),
        run(&["keys", "generate"], &[]),
    );
    let object = first.json();
    for line in second.stdout.lines() {
        let (name, value) = line.split_once('=').expect("NAME=value");
        assert!(object[name].is_string(), "{name} is missing");
        assert!(
            name == "DASHBOARD_USERNAME" || object[name] != value,
            "{name} is the same"
        );
    }
    assert_eq!(first.stderr, "");
}

const NEW_KEY: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff101112131415161718191a1b1c1d1e1f";
const STRANGE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CONNECTIONS: &str = "/api/platform/postgres/default/connections";

fn dev(folder: &Path, env: &[(&str, &str)]) -> Running {
    let quiet = [("LOG", "error"), ("ACCESS_LOG", "false")];
    let env = [&quiet, env].concat();
    Running::start(command(folder, &["dev", "--port", "0", "--json"], &env))
}

/// Whether the stored connection works.
fn works(server: &Running, id: &str) -> bool {
    let key = server.text("service_role_key");
    let path = format!("{CONNECTIONS}/{id}/test");
    let (status, answer) = server.call("POST", &path, Some(key), "");
    assert_eq!(status, 200, "{answer}");
    answer["ok"] == true
}

#[test]
fn the_master_key_is_changed_while_servers_run_and_a_wrong_one_is_refused() {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = dev(folder.path(), &[]);
    let secrets = fs::read_to_string(server.text("secrets_file")).expect("readable");
    let secret = |name: &str| {
        let mut lines = secrets
            .lines()
            .rev()
            .filter_map(|line| line.split_once('='));
        let found = lines.find(|(own, _)| *own == name);
        found.expect(name).1.trim_matches(['\'', '"']).to_owned()
    };
    let (url, platform) = (secret("DATABASE_URL"), secret("PLATFORM_DATABASE_URL"));
    let old_key = secret("DATABASE_ENCRYPTION_KEY");
    let body = json!({ "identifier": "main", "url": url }).to_string();
    let key = server.text("service_role_key");
    let (status, made) = server.call("POST", CONNECTIONS, Some(key), &body);
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(works(&server, &id));

    // A second server, with a key that wrapped nothing here.
    let production = [
        ("DATABASE_URL", url.as_str()),
        ("PLATFORM_DATABASE_URL", platform.as_str()),
        ("JWT_SECRET", "N8m2hVw0cQ4tYk7sLr1bXz6pJd3fGa9e"),
        ("DASHBOARD_PASSWORD", "correct-horse-battery"),
        ("HOST", "127.0.0.1"),
        ("DATABASE_ENCRYPTION_KEY", STRANGE_KEY),
    ];
    let refused = run(&["serve", "--port", "0"], &production);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("another DATABASE_ENCRYPTION_KEY"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains(STRANGE_KEY) && !refused.stderr.contains(&old_key));

    let rotate = |current: &str, previous: &str| {
        let env = [
            ("DATABASE_URL", url.as_str()),
            ("PLATFORM_DATABASE_URL", platform.as_str()),
            ("DATABASE_ENCRYPTION_KEY", current),
            ("DATABASE_ENCRYPTION_KEY_PREVIOUS", previous),
        ];
        run(&["keys", "rotate", "--json"], &env)
    };
    let wrong = rotate(NEW_KEY, STRANGE_KEY);
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    assert!(works(&server, &id), "nothing was changed");
    let done = rotate(NEW_KEY, &old_key);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.json()["rewrapped"], 1);
    assert_eq!(rotate(NEW_KEY, &old_key).json()["rewrapped"], 0, "once");
    assert!(works(&server, &id), "the running server");
    server.stop();

    let server = dev(folder.path(), &[("DATABASE_ENCRYPTION_KEY", NEW_KEY)]);
    assert!(works(&server, &id), "with the new key");
    server.stop();
}
