//! The fifth phase: sends an admitted request where its route leads.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bunbun_core::{config::gateway::RateLimitBy, task};
use bunbun_http::{Body, RequestContext, body::Embedded, slots::Shard};
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRAILER, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    response,
    uri::PathAndQuery,
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use rand::Rng;
use tokio::sync::Semaphore;

use crate::{
    body::{self, EdgeBody, Progress, SocketBody},
    headers,
    refusal::Refusal,
    route::{HostRule, Route, Target, X_FORWARDED_PREFIX},
    slot::Filling,
    tunnel,
    upstream::{
        Lease, SendOptions, Upstream, UpstreamBody,
        http1::{Answer, Connection},
        is_idempotent, replay,
    },
};

/// Largest body that is held for a retry or a mirror.
const MAX_REPLAY: u64 = 64 * 1024;

/// An admitted request.
pub(crate) struct Dispatch<'d> {
    pub(crate) route: &'d Arc<Route>,
    pub(crate) context: RequestContext,
    pub(crate) shard: usize,
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) tunnels: &'d tunnel::Ends,
    pub(crate) mirrors: &'d Arc<Semaphore>,
    pub(crate) body_timeout: Duration,
    /// What keeps the caller on one side of a split.
    pub(crate) sticky: Option<u64>,
}

/// A client that asked for another protocol.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    pub(crate) client: OnUpgrade,
}

impl Upgrade {
    /// Whether the upstream changes to one of the protocols that the client asked for.
    fn is_taken_up<B>(&self, response: &Response<B>) -> bool {
        let Some(chosen) = response.headers().get(UPGRADE) else {
            return false;
        };
        self.protocol
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|asked| asked.trim_ascii().eq_ignore_ascii_case(chosen.as_bytes()))
    }
}

/// An answer, and how long the service took to begin it.
pub(crate) struct Dispatched {
    pub(crate) response: Response<EdgeBody>,
    pub(crate) upstream: Option<Duration>,
}

impl Dispatch<'_> {
    pub(crate) async fn run(
        self,
        request: Request<Incoming>,
    ) -> Result<Dispatched, (Refusal, Option<Box<dyn std::error::Error + Send + Sync>>)> {
        let upstream = match &self.route.target {
            Target::Respond {
                status,
                body,
                content_type,
            } => {
                let mut response = Response::new(EdgeBody::Full(Some(body.clone())));
                *response.status_mut() = *status;
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, content_type.clone());
                return Ok(Dispatched {
                    response,
                    upstream: None,
                });
            }
            Target::Slot(slot) => match &slot.filling {
                Filling::Embedded(service) => {
                    return Box::pin(self.call(service, request))
                        .await
                        .map_err(|r| (r, None));
                }
                Filling::Remote(upstream) => upstream,
                Filling::Empty => {
                    return Err((Refusal::EmptySlot(slot.name.to_string().into()), None));
                }
            },
            Target::Upstream(upstream) => upstream,
            Target::Split(sides) => self.side(sides),
        };
        let upstream = Arc::clone(upstream);
        self.proxy(&upstream, request).await
    }

    fn side<'s>(&self, sides: &'s [(u8, Arc<Upstream>)]) -> &'s Arc<Upstream> {
        let point = match self.sticky {
            Some(hash) => u8::try_from(hash % 100).unwrap_or(0),
            None => rand::rng().random_range(0..100),
        };
        let side = sides.iter().find(|(end, _)| point < *end).or(sides.last());
        &side
            .expect("a compiled split has sides that add up to 100")
            .1
    }

    /// Calls a service in this process.
    async fn call(
        self,
        service: &Arc<dyn Embedded>,
        request: Request<Incoming>,
    ) -> Result<Dispatched, Refusal> {
        let (mut parts, incoming) = request.into_parts();
        if let Some(prefix) = &self.route.forwarded_prefix {
            parts.headers.insert(X_FORWARDED_PREFIX, prefix.clone());
        }
        self.route.request_rules.apply(&mut parts.headers);
        let progress = (!incoming.is_end_stream()).then(Arc::<Progress>::default);
        let body = self.client_body(incoming, progress.clone())?;
        parts.extensions = http::Extensions::new();
        let asked = self.upgrade.inspect(|upgrade| {
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, upgrade.protocol.clone());
            // The service takes the connection over by itself, as it would from hyper.
            parts.extensions.insert(upgrade.client.clone());
            parts.extensions.insert(self.tunnels.lend());
        });
        parts.extensions.insert(self.context);
        parts.extensions.insert(Shard(self.shard));
        let request = Request::from_parts(parts, body.into_boxed());
        let started = Instant::now();
        let timeout = self.route.first_byte_timeout;
        let response = call(service, request, timeout, progress.as_deref()).await?;
        let response = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked, or for something else: the client would take it for an answer.
            if !asked.is_some_and(|upgrade| upgrade.is_taken_up(&response)) {
                return Err(Refusal::Internal);
            }
            response.map(|_| EdgeBody::Empty)
        } else {
            response.map(EdgeBody::Boxed)
        };
        Ok(Dispatched {
            response,
            upstream: Some(started.elapsed()),
        })
    }

    /// The client's body with its limits.
    fn client_body(
        &self,
        incoming: Incoming,
        progress: Option<Arc<Progress>>,
    ) -> Result<EdgeBody, Refusal> {
        if incoming.is_end_stream() {
            return Ok(EdgeBody::Empty);
        }
        let limit = self.route.max_body_bytes;
        if limit.is_some_and(|limit| incoming.size_hint().lower() > limit) {
            return Err(Refusal::BodyTooLarge);
        }
        let mut body = SocketBody::new(incoming, self.body_timeout)
            .with_limit(limit)
            .without_trailers();
        if let Some(progress) = progress {
            body = body.with_progress(progress);
        }
        Ok(EdgeBody::Socket(Box::new(body)))
    }

    /// Sends the request upstream.
    async fn proxy(
        mut self,
        upstream: &Arc<Upstream>,
        request: Request<Incoming>,
    ) -> Result<Dispatched, (Refusal, Option<Box<dyn std::error::Error + Send + Sync>>)> {
        let (mut parts, incoming) = request.into_parts();
        let progress = (!incoming.is_end_stream()).then(Arc::<Progress>::default);
        let body = self
            .client_body(incoming, progress.clone())
            .map_err(|refusal| (refusal, None))?;
        let body = self
            .hold_small(body, &parts)
            .await
            .map_err(|refusal| (refusal, None))?;
        let upgrade = self.upgrade.take();
        if let Some(upgrade) = &upgrade {
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, upgrade.protocol.clone());
        }
        if let HostRule::Fixed(host) = &self.route.host {
            parts.headers.insert(HOST, host.clone());
        } else if self.route.host == HostRule::Preserve
            && let Some(host) = parts
                .uri
                .authority()
                .and_then(|a| HeaderValue::try_from(a.as_str()).ok())
        {
            parts.headers.insert(HOST, host);
        }
        if let Some(prefix) = &self.route.forwarded_prefix {
            parts.headers.insert(X_FORWARDED_PREFIX, prefix.clone());
        }
        self.route.request_rules.apply(&mut parts.headers);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.headers_mut() = parts.headers;
        *request.uri_mut() = parts.uri;
        self.mirror(&request);
        let options = SendOptions {
            shard: self.shard,
            first_byte_timeout: self.route.first_byte_timeout,
            retries: self.route.retries,
            upgrade: upgrade.is_some(),
            keep_host: self.route.host != HostRule::Upstream,
            progress,
        };
        let started = Instant::now();
        let (response, lease) = upstream
            .send(request, &options)
            .await
            .map_err(|error| (error.refusal, error.cause))?;
        let took = started.elapsed();
        let response = match upgrade {
            Some(upgrade)
                if upgrade.is_taken_up(&response)
                    && matches!(response.body(), UpstreamBody::Http1(Answer::Upgraded(_))) =>
            {
                let (parts, body) = response.into_parts();
                let UpstreamBody::Http1(Answer::Upgraded(connection)) = body else {
                    return Err((Refusal::Internal, None));
                };
                self.switch(upgrade, parts, connection, lease)
            }
            _ => answer(response, lease, self.route.idle_timeout).map_err(|r| (r, None))?,
        };
        Ok(Dispatched {
            response,
            upstream: Some(took),
        })
    }

    /// Holds a small body whole where a retry or a mirror may need it again. An idempotent request
    /// is sent once more even without configured retries, when a reused connection turns out to be
    /// closed.
    async fn hold_small(&self, body: EdgeBody, parts: &Parts) -> Result<EdgeBody, Refusal> {
        let wanted =
            self.route.retries > 0 || self.route.mirror.is_some() || is_idempotent(&parts.method);
        let small = parts.headers.contains_key(CONTENT_LENGTH)
            && body
                .size_hint()
                .exact()
                .is_some_and(|length| length <= MAX_REPLAY);
        if !(wanted && small) || matches!(body, EdgeBody::Empty) {
            return Ok(body);
        }
        match body.collect().await {
            Ok(collected) => Ok(EdgeBody::Full(Some(collected.to_bytes()))),
            Err(error) if error.is::<body::Stalled>() => Err(Refusal::BodyTimeout),
            Err(_) => Err(Refusal::BadRequest("the body broke off")),
        }
    }

    /// Sends a copy to the mirror; nobody waits for it, and few are under way at once.
    fn mirror(&self, request: &Request<EdgeBody>) {
        let Some(mirror) = &self.route.mirror else {
            return;
        };
        let Some(mut copy) = replay(request) else {
            return;
        };
        let Ok(permit) = Arc::clone(self.mirrors).try_acquire_owned() else {
            return;
        };
        copy.headers_mut().remove(UPGRADE);
        copy.headers_mut().remove(CONNECTION);
        let (mirror, options) = (
            Arc::clone(mirror),
            SendOptions {
                shard: self.shard,
                first_byte_timeout: self.route.first_byte_timeout,
                retries: 0,
                upgrade: false,
                keep_host: self.route.host != HostRule::Upstream,
                progress: None,
            },
        );
        let idle_timeout = self.route.idle_timeout;
        task::spawn_quiet(async move {
            let _permit = permit;
            if let Ok((response, lease)) = mirror.send(copy, &options).await {
                let mut body = response.into_body().into_edge(lease, idle_timeout);
                while let Some(Ok(_)) = body.frame().await {}
            }
        });
    }

    /// Turns both connections into a tunnel.
    fn switch(
        &self,
        upgrade: Upgrade,
        mut parts: response::Parts,
        upstream: Box<Connection>,
        lease: Lease,
    ) -> Response<EdgeBody> {
        tunnel::open(
            upgrade.client,
            upstream,
            self.route.idle_timeout,
            self.tunnels.clone(),
            lease,
        );
        let protocol = parts.headers.remove(UPGRADE).unwrap_or(upgrade.protocol);
        strip_connection_headers(&mut parts.headers);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
        Response::from_parts(parts, EdgeBody::Empty)
    }
}

/// Calls a service in this process. A panic costs its own request, not the connection with all the
/// others on it.
pub(crate) async fn call(
    service: &Arc<dyn Embedded>,
    request: Request<Body>,
    first_byte_timeout: Duration,
    progress: Option<&Progress>,
) -> Result<Response<Body>, Refusal> {
    let answering = AssertUnwindSafe(async { service.call(request).await }).catch_unwind();
    body::answered(answering, first_byte_timeout, progress)
        .await
        .ok_or(Refusal::UpstreamTimeout)?
        .map_err(|_| Refusal::Internal)
}

/// Passes on an answer whose connection goes back when its body has ended.
pub(crate) fn answer(
    response: Response<UpstreamBody>,
    lease: Lease,
    idle_timeout: Duration,
) -> Result<Response<EdgeBody>, Refusal> {
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refusal::UpstreamMalformed);
    }
    // RFC 9112 §2.3: our own version, not the upstream's.
    parts.version = Version::HTTP_11;
    // RFC 9112 §6.3: chunks override the length, and RFC 9110 §8.6: 204 has none.
    if parts.headers.contains_key(TRANSFER_ENCODING) || parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let trailer = parts.headers.remove(TRAILER);
    strip_connection_headers(&mut parts.headers);
    if let Some(trailer) = trailer {
        parts.headers.insert(TRAILER, trailer);
    }
    Ok(Response::from_parts(
        parts,
        body.into_edge(lease, idle_timeout),
    ))
}

/// Removes the answer's hop-by-hop headers; what the upstream nominates goes without complaint,
/// except the body's length.
fn strip_connection_headers(headers: &mut HeaderMap) {
    if let Some(value) = headers.remove(CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if let Ok(name) = HeaderName::try_from(name)
                && !matches!(name.as_str(), "content-length" | "close" | "keep-alive")
            {
                headers.remove(name);
            }
        }
    }
    let _ = headers::remove_hop_by_hop(headers);
}

/// The target of a request, rewritten.
pub(crate) fn target(path: &str, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let target = match query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    target.map_err(|_| Refusal::BadRequest("the path cannot be sent"))
}

/// What keeps a caller on one side of a split.
pub(crate) fn sticky_hash(
    by: Option<RateLimitBy>,
    context: &RequestContext,
    key: Option<&str>,
) -> Option<u64> {
    let value = match by? {
        RateLimitBy::User => context
            .caller
            .as_ref()
            .and_then(|caller| caller.user().map(str::to_owned)),
        RateLimitBy::Key => key.map(str::to_owned),
        RateLimitBy::Ip => None,
    };
    let value = value.unwrap_or_else(|| context.client_ip.to_string());
    let digest = bunbun_core::secret::digest(value.as_bytes());
    Some(u64::from_be_bytes(
        digest[..8].try_into().unwrap_or_default(),
    ))
}
