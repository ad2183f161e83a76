//! Reads the configuration again at SIGHUP or when `bunbun.toml` or a certificate changes. The new
//! route table takes the old one's place in one step; a faulty file leaves everything as it was
//! and says why.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bunbun_core::{
    config::{self, Config, Sources},
    shutdown::Shutdown,
};
use bunbun_gateway::{Edge, accept::tls::Tls, route::Environment};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Watches until the shutdown.
    pub(crate) async fn run(self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            tracing::warn!(
                "SIGHUP cannot be received; only changes of files reload the configuration"
            );
            return;
        };
        let mut seen = self.times();
        loop {
            tokio::select! {
                () = self.shutdown.begun() => return,
                _ = hangup.recv() => seen = self.times(),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let now = self.times();
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
            }
            match self.reload() {
                Ok(routes) => tracing::info!(routes, "configuration reloaded"),
                Err(failure) => {
                    tracing::error!(error = %failure, "the configuration was not reloaded; the old one stays");
                }
            }
        }
    }

    fn reload(&self) -> Result<usize, Failure> {
        let sources = Sources {
            file: config::read_file(&self.file)?,
            ..self.sources.clone()
        };
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
        Ok(routes)
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
