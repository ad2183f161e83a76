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

fn faults(file: &str, env: &[(&str, &str)]) -> String {
    load(file, env).expect_err("faults").to_string()
}

#[test]
fn hints_say_what_to_write() {
    let env = [
        ("PORT", "99999"),
        ("DRAIN_TIMEOUT", "soon"),
        ("TRUSTED_PROXIES", "10.0.0.0/99"),
        ("PUBLIC_URL", "nowhere"),
        ("ACCESS_LOG", "maybe"),
    ];
    let text = faults("", &env);
    for part in [
        "from 0 to 65535",
        "500ms, 30s, 5m or 2h",
        "10.0.0.0/8",
        "http://10.0.0.5:8080",
        "true or false",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn passwords_in_urls_are_never_shown() {
    for url in [
        "http://user:hunter2@h:99999",
        "http://user:hunter2,x@h",
        "http://user:x,hunter2@h",
        "ftp://user:hunter2@h",
        "user:hunter2@h",
        "http://h:99999?password=hunter2",
    ] {
        let file = format!("[gateway.upstreams.a]\nurls = ['{url}']\n");
        let wrong = format!("[gateway.upstreams.a]\nurls = '{url}'\n");
        let env = [
            ("POSTGREST_URL", url),
            ("PUBLIC_URL", "http://user:hunter2@h:99999"),
            ("ALLOWED_ORIGINS", url),
        ];
        for file in [file, wrong] {
            let text = faults(&file, &env);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_by_line_without_its_content() {
    let text = super::parse_file("b.toml".as_ref(), "[keys]\njwt_secret = 'hunter2\n")
        .expect_err("a fault")
        .to_string();
    assert!(text.contains("b.toml: line 2: "), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

const FAULTY: &str = "
[gateway]
dialect = 'nginx'
rooutes = 1
[gateway.rate_limits.a]
limit = 'many'
window = 'soon'
[gateway.upstreams.b]
url = ['http://a']
[gateway.upstreams.c]
urls = ['a:b']
[[gateway.routes]]
name = 'one'
path = 1
acess = 'open'
access = 'all'
first_byte_timeout = 'soon'
allow_ips = ['x']
[[gateway.routes]]
path = '/two'
respond = { status = 'x' }
[[gateway.routes]]
name = 'one'
path = '/three'
";

#[test]
fn every_fault_of_the_gateway_is_told_at_its_place() {
    let text = faults(FAULTY, &[]);
    for part in [
        "gateway.dialect: unknown variant `nginx`\n    hint: write one of: kong2, kong3, envoy",
        "gateway.rooutes: is no setting\n    hint: did you mean gateway.routes?",
        "gateway.rate_limits.a.limit: ",
        "gateway.rate_limits.a.window: is no duration\n    hint: write window = \"30s\"",
        "gateway.upstreams.b.url: is no setting\n    hint: did you mean urls?",
        "gateway.upstreams.c.urls[0]: ",
        "gateway.routes[0] 'one'.path: invalid type",
        "gateway.routes[0] 'one'.acess: is no setting\n    hint: did you mean access?",
        "gateway.routes[0] 'one'.access: unknown variant `all`\n    hint: write one of: open, ",
        "gateway.routes[0] 'one'.first_byte_timeout: is no duration",
        "gateway.routes[0] 'one'.allow_ips[0]: ",
        "gateway.routes[1].respond.status: ",
        "gateway.routes[1]: has no name\n    hint: write name = \"blog\"",
        "gateway.routes[2] 'one': another route has this name: gateway.routes[0]",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("docs/"), "{text}");
}
