//! What `bunbun serve` asks of the configuration beyond its being well-formed.

use std::{collections::HashSet, path::Path};

use bunbun_core::config::{Config, Fault, Faults, Sources, TlsConfig, settings};
use bunbun_gateway::accept::tls::Tls;
use url::Url;

use crate::{failure::Failure, gateway};

/// Passwords that are published in examples and so are none.
const KNOWN_PASSWORDS: &[&str] = &[
    "this_password_is_insecure_and_should_be_updated",
    "this_password_is_insecure_and_must_be_changed",
    "password",
    "postgres",
    "bunbun",
    "supabase",
];
const GENERATE: &str = "`bunbun keys generate` makes a complete set";

/// Reads the configuration for production.
///
/// # Errors
/// Every fault at once.
pub(crate) fn load(sources: &Sources) -> Result<Config, Faults> {
    let (config, mut found) = Config::read(sources);
    found.extend(faults(sources));
    // Also of what is there beside the faults, so that everything is told at once.
    let mut further = gateway_faults(&config);
    further.retain(|fault| !found.iter().any(|known| known.at == fault.at));
    found.append(&mut further);
    if found.is_empty() {
        Ok(config)
    } else {
        Err(Faults(found))
    }
}

/// What shows only when the route table is built.
fn gateway_faults(config: &Config) -> Vec<Fault> {
    match gateway::check(config) {
        Ok(()) => Vec::new(),
        Err(Failure::Configuration(Faults(faults))) => faults,
        Err(Failure::Failed { problem, hint }) => {
            vec![Fault {
                at: "gateway".to_owned(),
                problem,
                hint,
            }]
        }
    }
}

fn faults(sources: &Sources) -> Vec<Fault> {
    let mut faults = Vec::new();
    if sources.get("database.url").is_none() {
        let hint = "write postgres://user:password@host:5432/database; it need not be up yet";
        faults.push(fault("database.url", "is not set", hint));
    }
    if let Some(secret) = sources.get("keys.jwt_secret")
        && secret.len() >= 32
        && is_monotonous(&secret)
    {
        faults.push(fault(
            "keys.jwt_secret",
            "repeats a few characters",
            GENERATE,
        ));
    }
    match sources.get("dashboard.password") {
        None => faults.push(fault("dashboard.password", "is not set", GENERATE)),
        Some(password) if password.len() < 12 => {
            faults.push(fault(
                "dashboard.password",
                "is shorter than 12 characters",
                GENERATE,
            ));
        }
        Some(password) if KNOWN_PASSWORDS.contains(&password.as_str()) => {
            faults.push(fault(
                "dashboard.password",
                "is a published example",
                GENERATE,
            ));
        }
        Some(_) => {}
    }
    if let Some(filter) = sources.get("telemetry.log")
        && let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>()
    {
        let hint = "for example info, or warn,bunbun_gateway=debug";
        faults.push(fault(
            "telemetry.log",
            format!("is no log filter: {error}"),
            hint,
        ));
    }
    faults.extend(tls_fault(sources));
    faults.extend(backups_fault(sources));
    faults
}

/// Certificate and key are read, and have to belong together.
fn tls_fault(sources: &Sources) -> Option<Fault> {
    let files = TlsConfig {
        cert_file: sources.get("server.tls_cert_file")?,
        key_file: sources.get("server.tls_key_file")?,
    };
    let error = Tls::new(&files).err()?;
    let hint = "TLS_CERT_FILE is the PEM file of the whole chain, its own certificate first; \
                TLS_KEY_FILE that of its private key; the user that runs BunBun must be able to \
                read both";
    Some(fault("server.tls_cert_file", error.to_string(), hint))
}

/// The place of backups, as far as it can be judged without creating or asking anything.
fn backups_fault(sources: &Sources) -> Option<Fault> {
    let place = sources.get("backups.url")?;
    let hint = "write a directory, file:///var/backups/bunbun or s3://bucket/prefix; credentials \
                go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    let problem = match Url::parse(&place) {
        _ if !place.contains("://") => directory_problem(place.as_ref()),
        Ok(url) if place.starts_with("file://") => match url.to_file_path() {
            Ok(path) => directory_problem(&path),
            Err(()) => Some("is no file:// URL of an absolute path"),
        },
        Ok(url) if place.starts_with("s3://") => {
            if url.password().is_some() || !url.username().is_empty() {
                Some("holds credentials")
            } else if url.host_str().is_none_or(str::is_empty) {
                Some("names no bucket")
            } else {
                None
            }
        }
        Ok(_) | Err(_) => Some("is neither a directory nor a file:// or s3:// URL"),
    };
    problem.map(|problem| fault("backups.url", problem, hint))
}

/// A directory that is not there yet is made later, unless a file is in its way.
fn directory_problem(path: &Path) -> Option<&'static str> {
    let there = path.ancestors().find(|path| path.exists())?;
    (!there.is_dir()).then_some("is no directory, or lies below a file")
}

fn fault(path: &str, problem: impl Into<String>, hint: &str) -> Fault {
    let at = settings::find(path).map_or_else(
        || path.to_owned(),
        |setting| format!("{} ({})", setting.path, setting.env),
    );
    Fault {
        at,
        problem: problem.into(),
        hint: hint.to_owned(),
    }
}

fn is_monotonous(secret: &str) -> bool {
    secret.chars().collect::<HashSet<_>>().len() < 10
}

#[cfg(test)]
mod tests {
    use bunbun_core::config::Sources;

    use super::load;

    fn sources(env: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (name, value) in env {
            sources.env.insert((*name).to_owned(), (*value).to_owned());
        }
        sources
    }

    const GOOD: &[(&str, &str)] = &[
        ("DATABASE_URL", "postgres://app:app@db/app"),
        ("JWT_SECRET", "N8m2hVw0cQ4tYk7sLr1bXz6pJd3fGa9e"),
        ("DASHBOARD_PASSWORD", "correct-horse-battery"),
    ];

    #[test]
    fn a_complete_configuration_is_accepted() {
        assert!(load(&sources(GOOD)).is_ok());
    }

    #[test]
    fn weak_and_missing_secrets_are_refused_together() {
        let weak = [
            ("JWT_SECRET", "abababababababababababababababababab"),
            (
                "DASHBOARD_PASSWORD",
                "this_password_is_insecure_and_should_be_updated",
            ),
            ("DATABASE_ENCRYPTION_KEY", "too short"),
            ("LOG", "no=such=filter"),
        ];
        let text = load(&sources(&weak)).unwrap_err().to_string();
        for part in [
            "database.url (DATABASE_URL): is not set",
            "repeats a few characters",
            "is a published example",
            "is not 32 bytes",
            "is no log filter",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn places_of_backups_that_serve_refuses_are_faults() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let below_file = file.join("backups").display().to_string();
        let new = folder.path().join("new/backups").display().to_string();
        for (place, is_good) in [
            ("ftp://x", false),
            ("file://relative", false),
            ("s3://key:hunter2@bucket", false),
            ("s3:///prefix", false),
            (below_file.as_str(), false),
            (new.as_str(), true),
            (&format!("file://{new}"), true),
            ("s3://bucket/prefix", true),
        ] {
            let mut sources = sources(GOOD);
            let env = &mut sources.env;
            env.insert("BACKUPS_URL".to_owned(), place.to_owned());
            let loaded = load(&sources);
            assert_eq!(loaded.is_ok(), is_good, "{place}");
            if let Err(faults) = loaded {
                let text = faults.to_string();
                assert!(text.contains("backups.url (BACKUPS_URL)"), "{text}");
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
        assert!(!folder.path().join("new").exists(), "nothing is created");
    }

    #[test]
    fn tls_files_that_serve_refuses_are_faults() {
        let folder = tempfile::tempdir().expect("a folder");
        let junk = folder.path().join("junk.pem").display().to_string();
        std::fs::write(&junk, "no PEM").expect("written");
        for file in [junk.as_str(), "/nowhere/cert.pem"] {
            let mut sources = sources(GOOD);
            for name in ["TLS_CERT_FILE", "TLS_KEY_FILE"] {
                sources.env.insert(name.to_owned(), file.to_owned());
            }
            let text = load(&sources).expect_err("a fault").to_string();
            assert!(
                text.contains("server.tls_cert_file") && text.contains(file),
                "{text}"
            );
        }
    }

    #[test]
    fn faults_of_the_route_table_name_the_route_and_what_to_write() {
        let mut sources = sources(GOOD);
        sources.file = "
            [[gateway.routes]]
            name = 'good'
            path = '/good'
            respond = { status = 200 }
            [[gateway.routes]]
            name = 'blog'
            path = 'blog'
            upstream = 'nowhere'
            rate_limit = 'none'
        "
        .parse()
        .expect("TOML");
        let text = load(&sources).expect_err("faults").to_string();
        assert_eq!(
            text.matches("gateway.routes[1] 'blog': ").count(),
            3,
            "{text}"
        );
        for part in ["[gateway.upstreams.nowhere]", "[gateway.rate_limits.none]"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
