//! Where settings come from: the file, the process's environment, the flags. The only place that
//! reads the environment.

use std::{collections::HashMap, path::Path};

use bunbun_core::{
    config::{self, Sources, settings::SETTINGS},
    secret,
};

use crate::{
    cli::{Global, ListenArguments},
    failure::Failure,
};

const DEFAULT_FILE: &str = "bunbun.toml";

/// All layers.
pub(crate) fn read(global: &Global, listen: Option<&ListenArguments>) -> Result<Sources, Failure> {
    let file = match &global.config {
        // A file that was asked for has to be there.
        Some(path) if !path.exists() => {
            return Err(Failure::new(
                format!("there is no configuration file {}", path.display()),
                "--config and BUNBUN_CONFIG name a file that exists",
            ));
        }
        Some(path) => config::read_file(path)?,
        None => config::read_file(Path::new(DEFAULT_FILE))?,
    };
    Ok(Sources {
        file,
        env: environment(),
        flags: listen.map(flags).unwrap_or_default(),
    })
}

/// For commands that use no key: a missing one is no fault then.
pub(crate) fn without_keys(mut sources: Sources) -> Sources {
    sources.file.remove("keys");
    for setting in SETTINGS
        .iter()
        .filter(|setting| setting.path.starts_with("keys."))
    {
        sources.env.remove(setting.env);
    }
    sources.env.remove("SERVICE_ROLE_KEY");
    sources
        .flags
        .insert("keys.jwt_secret", secret::random_text(48));
    sources
}

/// For commands that use the master keys and no other key.
pub(crate) fn with_master_keys_only(sources: Sources) -> Sources {
    const PATHS: [&str; 2] = [
        "keys.database_encryption",
        "keys.database_encryption_previous",
    ];
    let found = PATHS.map(|path| sources.get(path).map(|value| (path, value)));
    let mut sources = without_keys(sources);
    sources.flags.extend(found.into_iter().flatten());
    sources
}

/// The file that a reload reads again.
pub(crate) fn file(global: &Global) -> std::path::PathBuf {
    global.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
}

/// The process's environment. What is no UTF-8 cannot be a setting of ours.
fn environment() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn flags(listen: &ListenArguments) -> HashMap<&'static str, String> {
    let host = listen.host.map(|host| ("server.host", host.to_string()));
    let port = listen.port.map(|port| ("server.port", port.to_string()));
    host.into_iter().chain(port).collect()
}
