//! What `bunbun serve` asks of the configuration beyond its being well-formed.

use std::collections::HashSet;

use bunbun_core::config::{Config, Fault, Faults, Sources, settings};

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
    let mut faults = faults(sources);
    match Config::load(sources) {
        Ok(config) => {
            faults.extend(gateway_faults(&config));
            if faults.is_empty() {
                Ok(config)
            } else {
                Err(Faults(faults))
            }
        }
        Err(Faults(mut found)) => {
            found.append(&mut faults);
            Err(Faults(found))
        }
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
    if let Some(key) = sources.get("keys.database_encryption")
        && !is_encryption_key(&key)
    {
        let problem = "is not 32 bytes in base64 or hexadecimal";
        faults.push(fault("keys.database_encryption", problem, GENERATE));
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
    faults
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

/// 32 bytes: 64 hexadecimal digits, or 43 or 44 characters of base64 in either alphabet.
fn is_encryption_key(text: &str) -> bool {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = text.strip_suffix('=').unwrap_or(text);
    let is_base64 = digits.len() == 43
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte));
    is_hex || is_base64
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
}
