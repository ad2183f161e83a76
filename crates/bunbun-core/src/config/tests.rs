//! Layers, faults and secrets of the configuration.

use std::collections::HashMap;

use secrecy::ExposeSecret;

use super::{Config, Faults, Sources, settings::SETTINGS};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn sources(file: &str, env: &[(&str, &str)]) -> Sources {
    let mut env: HashMap<_, _> = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    env.entry("JWT_SECRET".to_owned())
        .or_insert_with(|| SECRET.to_owned());
    Sources {
        file: file.parse().expect("TOML"),
        env,
        flags: HashMap::new(),
    }
}

fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, Faults> {
    Config::load(&sources(file, env))
}

#[test]
fn defaults_hold_when_nothing_is_set() {
    let config = load("", &[]).expect("valid");
    assert_eq!(config.server.port, 3000);
    assert!(config.database.url.is_none());
    assert!(config.keys.anon.expose_secret().starts_with("eyJ"));
}

#[test]
fn each_layer_beats_the_one_below() {
    let file =
        "[server]\nport = 1111\nallowed_origins = [\"https://a.example\", \"https://b.example\"]";
    assert_eq!(load(file, &[]).unwrap().server.port, 1111);
    assert_eq!(load(file, &[]).unwrap().server.allowed_origins.len(), 2);
    let mut sources = sources(file, &[("PORT", "2222")]);
    assert_eq!(Config::load(&sources).unwrap().server.port, 2222);
    sources.flags.insert("server.port", "3333".to_owned());
    assert_eq!(Config::load(&sources).unwrap().server.port, 3333);
}

#[test]
fn empty_environment_values_count_as_unset() {
    assert_eq!(load("", &[("PORT", "")]).unwrap().server.port, 3000);
}

#[test]
fn all_faults_are_reported_together_without_secrets() {
    let file = "[server]\nporrt = 1\nport = 'x'\n[nonsense]\na = 1\n[gateway]\ndialect = 'nginx'";
    let env = [
        ("DATABASE_URL", "mysql://root:hunter2@db/x"),
        ("JWT_SECRET", "short-hunter2"),
        ("ALLOWED_ORIGINS", "*, https://a.example/"),
        ("AUTH_URL", "ftp://auth"),
        ("TLS_CERT_FILE", "cert.pem"),
    ];
    let faults = load(file, &env).expect_err("many faults");
    let text = faults.to_string();
    for part in [
        "server.porrt: is no setting",
        "did you mean server.port?",
        "'x' cannot be used",
        "nonsense.a",
        "gateway.dialect",
        "no PostgreSQL URL",
        "shorter than 32",
        "'*' is no origin",
        "'https://a.example/' is no origin",
        "ftp://auth",
        "set both or neither",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn keys_of_another_secret_are_a_fault() {
    let other =
        crate::jwt::application_key("fedcba9876543210fedcba9876543210", "anon", 1_700_000_000);
    let text = load("", &[("ANON_KEY", &other)])
        .expect_err("a fault")
        .to_string();
    assert!(
        text.contains("no anon token signed with JWT_SECRET"),
        "{text}"
    );
}

#[test]
fn published_secrets_are_refused() {
    let env = [(
        "JWT_SECRET",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
    )];
    assert!(
        load("", &env)
            .expect_err("a fault")
            .to_string()
            .contains("published example")
    );
}

#[test]
fn secrets_do_not_show_in_debug() {
    let config = load("", &[("DATABASE_URL", "postgres://u:hunter2@db/x")]).unwrap();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains(SECRET),
        "{shown}"
    );
}

#[test]
fn settings_are_unique() {
    for (i, a) in SETTINGS.iter().enumerate() {
        for b in &SETTINGS[i + 1..] {
            assert!(a.path != b.path && a.env != b.env, "{} {}", a.path, a.env);
        }
    }
}
