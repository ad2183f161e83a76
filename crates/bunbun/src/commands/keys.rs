//! `bunbun keys generate`: a complete set of secrets. `bunbun keys rotate`: another master key.

use std::fmt::Write as _;

use bunbun_core::{
    clock::{Clock as _, SystemClock},
    config::Config,
    encryption::MasterKeys,
    jwt::{self, Claims},
    secret,
};
use bunbun_store::{Store, data_keys};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{cli::Global, failure::Failure, printer::Printer, sources};

/// Data keys that are read at once.
const BATCH: u32 = 100;

/// What a rotation did.
#[derive(Debug, Serialize)]
struct Rotation {
    /// Names the master key that wraps everything now.
    master_key_id: String,
    /// Data keys that were wrapped anew.
    rewrapped: u64,
}

/// Wraps every data key with the current master key, while servers run: they read both. A run that
/// was interrupted is completed by the next.
pub(crate) fn rotate(global: &Global, printer: &Printer) -> Result<(), Failure> {
    let sources = sources::with_master_keys_only(sources::read(global, None)?);
    let config = Config::load(&sources)?;
    let master = crate::connections::master_keys(&config.keys)?.ok_or_else(|| {
        let hint = "set DATABASE_ENCRYPTION_KEY to the new key and \
                    DATABASE_ENCRYPTION_KEY_PREVIOUS to the old one";
        Failure::new("there is no master key", hint)
    })?;
    let rotation = super::small_runtime()?.block_on(rewrap(&config, &master))?;
    printer.result(&rotation, || {
        let Rotation {
            master_key_id,
            rewrapped,
        } = &rotation;
        format!("{rewrapped} data keys re-wrapped; all are wrapped by {master_key_id}\n")
    });
    printer.say("DATABASE_ENCRYPTION_KEY_PREVIOUS is no longer needed.");
    Ok(())
}

async fn rewrap(config: &Config, master: &MasterKeys) -> Result<Rotation, Failure> {
    let failed = |error: bunbun_store::Error| {
        let hint = "PLATFORM_DATABASE_URL or DATABASE_URL must be reachable";
        Failure::because("the data keys cannot be read or written", &error, hint)
    };
    let store = Store::new(&config.database).map_err(failed)?;
    let client = store.client().await.map_err(failed)?;
    let name = master.current_id().to_string();
    let mut rewrapped = 0;
    loop {
        let found = data_keys::list_not_wrapped_by(&client, &name, BATCH);
        let found = found.await.map_err(failed)?;
        if found.is_empty() {
            return Ok(Rotation {
                master_key_id: name,
                rewrapped,
            });
        }
        for (project, key) in found {
            let opened = master.unwrap(&project, key.id, &key.wrapped_key);
            let opened = opened.map_err(|error| {
                let problem = format!("the data key of project '{project}' cannot be unwrapped");
                let hint = "DATABASE_ENCRYPTION_KEY_PREVIOUS must be the key that wrapped it; \
                            what was re-wrapped so far stays so";
                Failure::because(problem, &error, hint)
            })?;
            let after = master.wrap(&project, &opened);
            let before = &key.wrapped_key;
            let updated =
                data_keys::update_wrapping(&client, &project, key.id, before, &after, &name);
            rewrapped += u64::from(updated.await.map_err(failed)?);
        }
    }
}

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
