//! Slots: a service by name, filled by an embedded service, by URLs, or by nothing. Whoever calls
//! a slot does not know which.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bunbun_http::{
    Body,
    body::{Embedded, Fault},
    slots::{CallError, Shard, SlotCall, SlotMode, SlotProbe, SlotProbes},
};
use futures_util::future::BoxFuture;
use http::{Request, Response, header::HOST};
use http_body::Body as _;

use crate::{
    body::{EdgeBody, Progress, Watched},
    dispatch,
    refusal::{Refusal, empty_slot},
    upstream::{SendError, SendOptions, Upstream},
};

/// Longest wait for a sign of life.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence in the body of an answer to the API.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

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

    /// The service's path as the gateway behind the slot has it.
    fn path<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match (&*self.name, self.public_paths) {
            (_, false) => path.into(),
            ("meta", true) => format!("/pg{path}").into(),
            (name, true) => format!("/{name}/v1{path}").into(),
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

impl SlotCall for Slots {
    fn call(
        &self,
        slot: &'static str,
        mut request: Request<Body>,
        first_byte_timeout: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, CallError>> {
        let found = self.find(slot).map(Arc::clone);
        Box::pin(async move {
            let filling = found.as_ref().map_or(&Filling::Empty, |slot| &slot.filling);
            let refusal = match filling {
                Filling::Empty => Err((Refusal::EmptySlot(slot.into()), None)),
                Filling::Embedded(service) => {
                    let progress = watch(&mut request);
                    dispatch::call(service, request, first_byte_timeout, progress.as_deref())
                        .await
                        .map_err(|refusal| (refusal, None))
                }
                Filling::Remote(upstream) => {
                    if let Some(slot) = &found {
                        readdress(&mut request, slot)?;
                    }
                    send(upstream, request, first_byte_timeout)
                        .await
                        .map_err(|error| (error.refusal, error.cause))
                }
            };
            refusal.map_err(|(refusal, cause)| call_error(slot, &refusal, cause))
        })
    }
}

/// Has a request's body report when it moves.
fn watch(request: &mut Request<Body>) -> Option<Arc<Progress>> {
    if request.body().is_end_stream() {
        return None;
    }
    let progress = Arc::<Progress>::default();
    let body = std::mem::replace(request.body_mut(), bunbun_http::body::empty());
    *request.body_mut() = Body::new(Watched {
        body,
        progress: Arc::clone(&progress),
    });
    Some(progress)
}

/// Gives the request the path that the service behind the slot has.
fn readdress(request: &mut Request<Body>, slot: &Slot) -> Result<(), CallError> {
    let uri = request.uri();
    let target = dispatch::target(&slot.path(uri.path()), uri.query())
        .map_err(|_| CallError::Body(Fault::BrokeOff))?;
    *request.uri_mut() = target.into();
    Ok(())
}

async fn send(
    upstream: &Arc<Upstream>,
    mut request: Request<Body>,
    first_byte_timeout: Duration,
) -> Result<Response<Body>, SendError> {
    let shard = request.extensions().get::<Shard>().copied();
    let progress = watch(&mut request);
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    parts.extensions = http::Extensions::new();
    let body = if progress.is_none() {
        // One that can be sent again.
        EdgeBody::Empty
    } else {
        EdgeBody::Boxed(body)
    };
    let options = SendOptions {
        shard: shard.unwrap_or_default().0,
        first_byte_timeout,
        retries: 0,
        upgrade: false,
        keep_host: false,
        progress,
    };
    let (response, lease) = upstream
        .send(Request::from_parts(parts, body), &options)
        .await?;
    let response =
        dispatch::answer(response, lease, IDLE_TIMEOUT).map_err(|refusal| SendError {
            refusal,
            cause: None,
        })?;
    Ok(response.map(EdgeBody::into_boxed))
}

fn call_error(
    slot: &'static str,
    refusal: &Refusal,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> CallError {
    match refusal {
        Refusal::EmptySlot(name) => CallError::Empty(empty_slot(name)),
        Refusal::UpstreamTimeout => CallError::Timeout { slot },
        Refusal::Internal => CallError::Failed { slot },
        Refusal::BodyTooLarge => CallError::Body(Fault::TooLarge(None)),
        Refusal::BadRequest(_) | Refusal::BodyTimeout => CallError::Body(Fault::BrokeOff),
        _ => CallError::Unavailable { slot, cause },
    }
}
