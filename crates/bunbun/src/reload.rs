//! Reads the configuration again at SIGHUP or when `bunbun.toml` or a certificate changes. The new
//! route table takes the old one's place in one step; a faulty file leaves everything as it was
//! and says why.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bunbun_core::{
    config::{self, Config, Sources},
    shutdown::Shutdown,
};
use bunbun_gateway::{Edge, accept::tls::Tls, route::Environment};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{failure::Failure, gateway};

/// How often the files' times are looked at. Looking works over every kind of mount, where
/// notifications do not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a reload works with.
pub(crate) struct Reload {
    pub(crate) sources: Sources,
    pub(crate) file: PathBuf,
    pub(crate) edge: Arc<Edge>,
    pub(crate) environment: Environment,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) shutdown: Shutdown,
}

impl Reload {
    /// Watches until the shutdown. From this call on, not only from the first poll, SIGHUP does
    /// not end the process.
    pub(crate) fn run(self) -> impl Future<Output = ()> {
        let hangup = signal(SignalKind::hangup());
        if hangup.is_err() {
            tracing::warn!(
                "SIGHUP cannot be received; only changes of files reload the configuration"
            );
        }
        self.watch(hangup.ok())
    }

    async fn watch(self, mut hangup: Option<Signal>) {
        let mut seen = self.times();
        let mut changing = None;
        let mut had_content = !self.sources.file.is_empty();
        loop {
            let signalled = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shutdown.begun() => return,
                _ = signalled => seen = self.times(),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = self.times();
                    if now == seen {
                        changing = None;
                        continue;
                    }
                    // Half a file may be valid, too: it counts when it has stopped changing.
                    if changing.as_ref() != Some(&now) {
                        changing = Some(now);
                        continue;
                    }
                    seen = now;
                }
            }
            changing = None;
            match self.reload(had_content) {
                Ok((routes, has_content)) => {
                    had_content = has_content;
                    tracing::info!(routes, "configuration reloaded");
                }
                Err(failure) => {
                    tracing::error!(error = %failure, "the configuration was not reloaded; the old one stays");
                }
            }
        }
    }

    /// The number of routes now in force, and whether the file has any content.
    fn reload(&self, had_content: bool) -> Result<(usize, bool), Failure> {
        let file = self.read_file(had_content)?;
        let has_content = !file.is_empty();
        let sources = Sources {
            file,
            ..self.sources.clone()
        };
        if without_live_settings(&sources.file) != without_live_settings(&self.sources.file) {
            tracing::warn!(
                "settings outside [gateway] and server.allowed_origins changed: they wait for a restart"
            );
        }
        let config = Config::load(&sources)?;
        let snapshot = gateway::snapshot(&config, &self.environment)?;
        let routes = snapshot.table.routes().len();
        if let Some(tls) = &self.tls {
            tls.reload().map_err(|error| {
                Failure::because(
                    "the certificate cannot be used",
                    &error,
                    "the old one stays",
                )
            })?;
        }
        self.edge.swap(snapshot);
        Ok((routes, has_content))
    }

    /// The file. Where it had content, its being gone or empty is an accident (a volume that is
    /// not mounted, a copy that has just begun) and not the wish to have no routes.
    fn read_file(&self, had_content: bool) -> Result<toml::Table, Failure> {
        let name = self.file.display();
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !had_content => String::new(),
            Err(error) => {
                let hint = "put it back; to have no routes of your own, leave a comment in it";
                return Err(Failure::because(
                    format!("{name} cannot be read"),
                    &error,
                    hint,
                ));
            }
        };
        if had_content && text.trim().is_empty() {
            let hint = "to have no routes of your own, leave a comment in it";
            return Err(Failure::new(format!("{name} is empty"), hint));
        }
        Ok(config::parse_file(&self.file, &text)?)
    }

    fn times(&self) -> Vec<Option<(SystemTime, u64)>> {
        let of = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        let certificates = self.tls.iter().flat_map(|tls| tls.files());
        std::iter::once(self.file.clone())
            .chain(certificates)
            .map(|path| of(&path))
            .collect()
    }
}

/// The file without what a reload puts in force.
fn without_live_settings(file: &toml::Table) -> toml::Table {
    let mut rest = file.clone();
    rest.remove("gateway");
    if let Some(server) = rest.get_mut("server").and_then(toml::Value::as_table_mut) {
        server.remove("allowed_origins");
        if server.is_empty() {
            rest.remove("server");
        }
    }
    rest
}
