//! Slots: a service by name, filled by an embedded service, by URLs, or by nothing. Whoever calls
//! a slot does not know which.

use std::{sync::Arc, time::Duration};

use bunbun_http::{
    body::Embedded,
    slots::{SlotMode, SlotProbe, SlotProbes},
};
use futures_util::future::BoxFuture;

use crate::upstream::Upstream;

/// Longest wait for a sign of life.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a slot is filled with.
#[derive(Clone)]
pub enum Filling {
    /// A service in this process.
    Embedded(Arc<dyn Embedded>),
    /// The service at its URLs.
    Remote(Arc<Upstream>),
    /// Nothing: the route answers 503 and says what to set.
    Empty,
}

/// A service by name.
#[derive(Clone)]
pub struct Slot {
    /// Its name: `auth rest realtime storage functions analytics meta studio api`.
    pub name: Arc<str>,
    /// What it is filled with.
    pub filling: Filling,
    /// Whether the service behind it has the public paths, as another gateway does.
    pub public_paths: bool,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.mode())
    }
}

/// The names of all slots, in the order in which they are shown.
pub const NAMES: [&str; 9] = [
    "auth",
    "rest",
    "realtime",
    "storage",
    "functions",
    "analytics",
    "meta",
    "studio",
    "api",
];

impl Slot {
    /// `embedded`, `remote` or `not_configured`.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        match self.filling {
            Filling::Embedded(_) => "embedded",
            Filling::Remote(_) => "remote",
            Filling::Empty => "not_configured",
        }
    }

    /// A path of the service that answers without a credential.
    fn probe_path(&self) -> &'static str {
        match &*self.name {
            "auth" | "analytics" | "meta" => "/health",
            "storage" => "/status",
            "functions" => "/_internal/health",
            _ => "/",
        }
    }

    fn probe(&self) -> Option<(SlotMode, BoxFuture<'static, Result<(), String>>)> {
        match &self.filling {
            Filling::Embedded(_) => Some((SlotMode::Embedded, Box::pin(async { Ok(()) }))),
            Filling::Remote(upstream) => {
                let (upstream, path) = (Arc::clone(upstream), self.probe_path());
                let probing = async move {
                    upstream
                        .probe(path, PROBE_TIMEOUT)
                        .await
                        .map_err(|error| error.to_string())?;
                    Ok(())
                };
                Some((SlotMode::Remote, Box::pin(probing)))
            }
            Filling::Empty => None,
        }
    }
}

/// All slots.
#[derive(Debug, Clone, Default)]
pub struct Slots(pub Vec<Arc<Slot>>);

impl Slots {
    /// The slot of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Slot>> {
        self.0.iter().find(|slot| &*slot.name == name)
    }
}

impl SlotProbes for Slots {
    fn probes(&self) -> Vec<SlotProbe> {
        let services = self.0.iter().filter(|slot| &*slot.name != "api");
        services
            .map(|slot| SlotProbe {
                name: Arc::clone(&slot.name),
                filling: slot.probe(),
            })
            .collect()
    }
}
