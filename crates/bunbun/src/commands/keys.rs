//! `bunbun keys generate`: a complete set of secrets.

use std::fmt::Write as _;

use bunbun_core::{
    clock::{Clock as _, SystemClock},
    jwt::{self, Claims},
    secret,
};
use serde_json::{Map, Value};

use crate::printer::Printer;

/// Prints a new set.
pub(crate) fn generate(printer: &Printer) {
    let set = complete(&[]);
    let object: Map<String, Value> = set
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect();
    printer.result(&object, || {
        set.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}");
            text
        })
    });
    printer.say("Keep these secret; ANON_KEY and SUPABASE_PUBLISHABLE_KEY may be public.");
}

/// A whole set of secrets: those given, and new ones for the rest. The application keys belong to
/// the set's `JWT_SECRET`, so they are made anew where that is new.
pub(crate) fn complete(given: &[(String, String)]) -> Vec<(&'static str, String)> {
    let find = |name: &str| {
        let found = given
            .iter()
            .find(|(given, value)| given == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let known_secret = find("JWT_SECRET");
    let is_new = known_secret.is_none();
    let jwt_secret = known_secret.unwrap_or_else(|| secret::random_text(48));
    let now = SystemClock.unix_seconds();
    let key = |name: &str, role: &str| {
        find(name)
            .filter(|_| !is_new)
            .unwrap_or_else(|| jwt::application_key(&jwt_secret, role, now))
    };
    let or_random = |name: &str, length| find(name).unwrap_or_else(|| secret::random_text(length));
    let opaque = |name: &str, kind: &str| {
        find(name).unwrap_or_else(|| {
            let random = secret::random_text(32);
            let sum = secret::fingerprint(random.as_bytes());
            format!("sb_{kind}_{random}_{sum}")
        })
    };
    let encryption = find("DATABASE_ENCRYPTION_KEY")
        .unwrap_or_else(|| secret::hex(&secret::random_bytes::<32>()));
    vec![
        ("ANON_KEY", key("ANON_KEY", Claims::ANON)),
        (
            "SERVICE_ROLE_KEY",
            key("SERVICE_ROLE_KEY", Claims::SERVICE_ROLE),
        ),
        (
            "SUPABASE_PUBLISHABLE_KEY",
            opaque("SUPABASE_PUBLISHABLE_KEY", "publishable"),
        ),
        (
            "SUPABASE_SECRET_KEY",
            opaque("SUPABASE_SECRET_KEY", "secret"),
        ),
        ("DATABASE_ENCRYPTION_KEY", encryption),
        (
            "DASHBOARD_USERNAME",
            find("DASHBOARD_USERNAME").unwrap_or_else(|| "bunbun".to_owned()),
        ),
        ("DASHBOARD_PASSWORD", or_random("DASHBOARD_PASSWORD", 24)),
        ("JWT_SECRET", jwt_secret),
    ]
}
