//! The life of a request: accept → normalise → identify → admit → dispatch → finish.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bunbun_core::{
    config::Dialect,
    id::write_hex,
    project::{KeyRole, ProjectResolver},
    shutdown::Shutdown,
};
use bunbun_http::{ApiError, RequestContext, RequestId, security_headers};
use http::{
    HeaderName, HeaderValue, Request, Response, Uri,
    header::{AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER},
    request::Parts,
};
use hyper::body::{Body as _, Incoming};
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::{
    accept::io::Wire,
    access_log::AccessLog,
    admit::Admission,
    basic::{self, BasicCredentials},
    body::EdgeBody,
    cache::ResponseCache,
    cors::{Cors, Grant},
    dialect::{self, Asked},
    dispatch::{self, Dispatch, Dispatched, Upgrade},
    explain::{Refusals, Refused},
    finish::{FinishBody, Record},
    headers::{self, Forwarding, TRACEPARENT},
    identify::{self, Key},
    path,
    rate_limit::Decision,
    refusal::Refusal,
    route::{Route, RouteTable},
    tunnel,
};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Most mirrored requests under way at once.
const MAX_MIRRORS: usize = 256;

/// What is swapped as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Snapshot {
    /// The routes.
    pub table: RouteTable,
    /// Whose answers to imitate.
    pub dialect: Dialect,
    /// Cross-origin rules.
    pub cors: Cors,
}

/// What an edge is made of, beside its routes.
pub struct EdgeConfig {
    /// Finds projects.
    pub projects: Arc<dyn ProjectResolver>,
    /// The dashboard's credentials.
    pub basic: BasicCredentials,
    /// Networks whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Domain whose labels are project references.
    pub base_domain: Option<String>,
    /// Longest silence in a request's body.
    pub body_timeout: Duration,
    /// Where requests are logged.
    pub log: Option<Arc<AccessLog>>,
    /// Makes a span for each request, where traces are exported.
    pub traces: Option<Arc<dyn RequestTraces>>,
    /// Ends tunnels.
    pub shutdown: Shutdown,
}

/// Makes the spans of requests. Implemented where the exporter is known.
pub trait RequestTraces: Send + Sync + 'static {
    /// A span, below the client's context where it sent one, with the empty fields `http.route`,
    /// `url.path` and `http.response.status_code`; and the context for the upstream.
    fn begin(
        &self,
        method: &http::Method,
        client: Option<&HeaderValue>,
    ) -> (tracing::Span, Option<HeaderValue>);
}

/// The edge: one per process, shared by all workers.
pub struct Edge {
    snapshot: ArcSwap<Snapshot>,
    /// What does not change while it runs.
    pub config: EdgeConfig,
    cache: ResponseCache,
    mirrors: Arc<Semaphore>,
    pub(crate) tunnels: tunnel::Ends,
    /// What was refused lately, for `explain`.
    pub refusals: Refusals,
}

/// One client connection.
#[derive(Debug)]
pub struct Peer {
    /// The peer's address.
    pub ip: IpAddr,
    /// The same as a header value.
    pub ip_header: HeaderValue,
    /// Whether its `X-Forwarded-*` are believed.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The port it connected to.
    pub local_port: u16,
    /// Which worker serves it.
    pub shard: usize,
    /// What the head check says; `None` for HTTP/2.
    pub wire: Option<Arc<Wire>>,
}

/// What is found out about a request on its way.
struct Exchange<'e> {
    edge: &'e Edge,
    snapshot: &'e Snapshot,
    peer: &'e Peer,
    record: &'e mut Record,
    grant: Grant,
    decision: Option<Decision>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Edge {
    /// An edge.
    #[must_use]
    pub fn new(snapshot: Snapshot, config: EdgeConfig) -> Self {
        let tunnels = tunnel::Ends {
            shutdown: config.shutdown.clone(),
            open: TaskTracker::default(),
        };
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            config,
            tunnels,
            cache: ResponseCache::default(),
            mirrors: Arc::new(Semaphore::new(MAX_MIRRORS)),
            refusals: Refusals::default(),
        }
    }

    /// Puts another snapshot in place; requests under way keep theirs.
    pub fn swap(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.cache.clear();
    }

    /// The snapshot in use.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn is_trusted(&self, ip: IpAddr) -> bool {
        self.config
            .trusted_proxies
            .iter()
            .any(|net| net.contains(&ip))
    }

    /// Handles one request.
    pub async fn handle(&self, peer: &Peer, request: Request<Incoming>) -> Response<FinishBody> {
        let snapshot = self.snapshot.load_full();
        let mut record = Box::new(self.record(peer, &request));
        let span = self.config.traces.as_ref().map(|traces| {
            let client = request
                .headers()
                .get(TRACEPARENT)
                .filter(|v| is_traceparent(v));
            let (span, context) = traces.begin(&record.method, client);
            if let Some(context) = context {
                record.traceparent = context;
            }
            span
        });
        let asked = Asked::of(&request, peer.scheme);
        let mut exchange = Exchange {
            edge: self,
            snapshot: &snapshot,
            peer,
            record: &mut record,
            grant: Grant::Silent,
            decision: None,
            cause: None,
        };
        let outcome = match &span {
            Some(span) => Box::pin(exchange.run(request).instrument(span.clone())).await,
            None => exchange.run(request).await,
        };
        let mut response = match outcome {
            Ok(response) => response,
            Err(refusal) => exchange.refuse(&refusal, &asked),
        };
        exchange.mark(&mut response);
        if let Some(wire) = &peer.wire {
            wire.decide_upgrade(response.status() == http::StatusCode::SWITCHING_PROTOCOLS);
        }
        record.status = response.status().as_u16();
        if let Some(span) = span {
            span.record("http.response.status_code", record.status);
            span.record("url.path", record.path.as_str());
            span.record(
                "http.route",
                record.route.as_ref().map_or("none", |route| &*route.name),
            );
        }
        response.map(|body| FinishBody::new(body, record))
    }

    fn record(&self, peer: &Peer, request: &Request<Incoming>) -> Record {
        let headers = request.headers();
        let request_id = RequestId::from_client(headers.get(RequestId::HEADER));
        Record {
            started: Instant::now(),
            method: request.method().clone(),
            path: String::new(),
            traceparent: traceparent(headers.get(TRACEPARENT)),
            request_id,
            client_ip: headers::client_ip(headers, peer.ip, |ip| self.is_trusted(ip)),
            project: None,
            route: None,
            key: None,
            refusal: None,
            upstream: None,
            status: 0,
            bytes: 0,
            log: self.config.log.clone(),
        }
    }
}

impl Exchange<'_> {
    async fn run(&mut self, mut request: Request<Incoming>) -> Result<Response<EdgeBody>, Refusal> {
        // Accept.
        if let Some(fault) = self.peer.wire.as_ref().and_then(|wire| wire.next_request()) {
            return Err(Refusal::Head(fault));
        }
        let upgrade = self.upgrade(&mut request);
        let (mut parts, incoming) = request.into_parts();
        let bad = Refusal::BadRequest;
        let host = headers::host(&parts).map_err(bad)?.to_owned();
        if parts.method == http::Method::CONNECT {
            return Err(bad("CONNECT is for forward proxies"));
        }
        if parts.method == http::Method::TRACE {
            return Err(bad("TRACE would show what the gateway adds"));
        }
        headers::remove_hop_by_hop(&mut parts.headers).map_err(bad)?;
        if parts.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Err(bad("two Authorization headers"));
        }

        // Normalise.
        let raw = parts.uri.path().to_owned();
        let of_server = raw == "*" && parts.method == http::Method::OPTIONS;
        let path = path::normalise(if of_server { "/" } else { &raw }).map_err(|e| bad(e.0))?;

        // Identify.
        let edge = self.edge;
        let (project, path) = identify::project(&edge.config, &host, path)?;
        self.record.project = Some(project.reference.clone());
        self.record.path = path.clone().into_owned();
        let route = self
            .snapshot
            .table
            .find(&host, &path, &parts.method)
            .ok_or(Refusal::NoRoute)?;
        self.record.route = Some(Arc::clone(route));
        let key = Key::find(&project, &parts.headers, parts.uri.query());
        self.record.key = key.log_name();

        // Admit.
        let mut admission =
            Admission::new(route, &project, &key, &parts.headers, self.record.client_ip);
        admission.check_address()?;
        self.grant = self.snapshot.cors.grant(route.cors, &parts.headers);
        if let Some(preflight) =
            self.snapshot
                .cors
                .preflight(&self.grant, &parts.method, &parts.headers)
        {
            return Ok(preflight.map(EdgeBody::Boxed));
        }
        admission.check_credential(&edge.config.basic)?;
        self.decision = admission.count().await;
        if self
            .decision
            .as_ref()
            .is_some_and(|decision| !decision.allowed)
        {
            return Err(Refusal::RateLimited);
        }
        let caller = admission.caller.take();

        // Dispatch.
        let role = key.role().map(KeyRole::as_str);
        let context = RequestContext {
            request_id: self.record.request_id.clone(),
            project: Arc::clone(&project),
            client_ip: self.record.client_ip,
            caller,
        };
        let cached = ResponseCache::key(route, &parts, project.reference.as_str(), &host, role);
        if let Some(hit) = cached.as_ref().and_then(|key| edge.cache.get(key)) {
            return Ok(hit);
        }
        self.prepare(route, &key, &path, &mut parts)?;
        let dispatch = Dispatch {
            route,
            sticky: dispatch::sticky_hash(route.sticky, &context, role),
            context,
            shard: self.peer.shard,
            upgrade,
            tunnels: &edge.tunnels,
            mirrors: &edge.mirrors,
            body_timeout: edge.config.body_timeout,
        };
        let dispatched = dispatch.run(Request::from_parts(parts, incoming)).await;
        let Dispatched {
            mut response,
            upstream,
        } = dispatched.map_err(|(refusal, cause)| {
            self.cause = cause;
            refusal
        })?;
        self.record.upstream = upstream;
        route.response_rules.apply(response.headers_mut());
        if let (Some(key), Some(ttl)) = (cached, route.cache_ttl) {
            response = Box::pin(edge.cache.keep(key, ttl, response)).await;
        }
        Ok(response)
    }

    /// A client's wish for another protocol; only HTTP/1 requests without a body can have it.
    fn upgrade(&self, request: &mut Request<Incoming>) -> Option<Upgrade> {
        self.peer.wire.as_ref()?;
        // RFC 9110 §7.8: HTTP/1.0 knows no upgrade.
        if request.version() != http::Version::HTTP_11 {
            return None;
        }
        let protocol = headers::upgrade_protocol(request.headers())?;
        request.body().is_end_stream().then(|| Upgrade {
            protocol,
            client: hyper::upgrade::on(request),
        })
    }

    /// Makes the request the upstream's: path, keys, and what it is told of the client.
    fn prepare(
        &self,
        route: &Route,
        key: &Key<'_>,
        path: &str,
        parts: &mut Parts,
    ) -> Result<(), Refusal> {
        let query = parts
            .uri
            .query()
            .map(|query| key.translate_query(route.keys, query));
        // Room for what the upstream is told, at once.
        parts.headers.reserve(12);
        let target = dispatch::target(&route.upstream_path(path), query.as_deref())?;
        let host = match parts.headers.get(HOST) {
            Some(host) => Some(host.clone()),
            None => parts
                .uri
                .authority()
                .and_then(|a| HeaderValue::try_from(a.as_str()).ok()),
        };
        parts.uri = Uri::from(target);
        headers::remove_claims(&mut parts.headers, route.own);
        key.translate(route.keys, &mut parts.headers);
        if route.access == bunbun_core::config::gateway::Access::Basic {
            parts.headers.remove(AUTHORIZATION);
        }
        if let (true, Some(host)) = (!parts.headers.contains_key(HOST), &host) {
            parts.headers.insert(HOST, host.clone());
        }
        headers::forward(
            &mut parts.headers,
            &Forwarding {
                client_ip: self.record.client_ip,
                peer: &self.peer.ip_header,
                trusted: self.peer.trusted,
                scheme: self.peer.scheme,
                port: self.peer.local_port,
                host: host.as_ref(),
                request_id: &self.record.request_id,
                traceparent: &self.record.traceparent,
            },
        );
        if self.snapshot.dialect == Dialect::Kong3 {
            parts.headers.insert(
                dialect::X_KONG_REQUEST_ID,
                self.record.request_id.as_header().clone(),
            );
        }
        Ok(())
    }

    /// Renders a refusal in the dialect, or in our own envelope on our own routes.
    fn refuse(&mut self, refusal: &Refusal, asked: &Asked) -> Response<EdgeBody> {
        self.record.refusal = Some(refusal.label());
        crate::metrics::count_refusal(refusal.label());
        let cause = self.cause.take();
        if refusal.source() == crate::refusal::Source::Upstream {
            let error = cause
                .as_deref()
                .map(|cause| bunbun_core::error::chain(cause));
            let route = self
                .record
                .route
                .as_ref()
                .map(|route| route.name.to_string());
            tracing::warn!(request_id = %self.record.request_id, route, reason = refusal.label(), error, "upstream failed");
        }
        // Projects are a notion of ours: no other gateway has an answer for unknown ones.
        let own = *refusal == Refusal::UnknownProject
            || self.record.route.as_ref().is_some_and(|route| route.own);
        let mut response = if own {
            let message = refusal.explanation().into_owned();
            let error = ApiError::new(refusal.code(), message);
            let mut response = error.render(&self.record.request_id);
            *response.status_mut() = refusal.status();
            security_headers::apply(response.headers_mut());
            response
        } else {
            dialect::render(
                self.snapshot.dialect,
                refusal,
                asked,
                &self.record.request_id,
            )
        };
        if *refusal == Refusal::TooManyGuesses {
            let pause = HeaderValue::from(basic::PAUSE.as_secs());
            response.headers_mut().insert(RETRY_AFTER, pause);
        }
        self.edge.refusals.remember(Refused {
            request_id: self.record.request_id.as_str().to_owned(),
            method: self.record.method.to_string(),
            path: match self.record.path.as_str() {
                "" => asked.uri.path().to_owned(),
                path => path.to_owned(),
            },
            project: self
                .record
                .project
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            route: self
                .record
                .route
                .as_ref()
                .map(|route| route.name.to_string()),
            status: response.status().as_u16(),
            refusal: refusal.clone(),
        });
        response.map(EdgeBody::Boxed)
    }

    /// The headers that every answer gets.
    fn mark(&self, response: &mut Response<EdgeBody>) {
        let total = self.record.started.elapsed();
        let upstream = self.record.upstream;
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(
            RequestId::HEADER,
            self.record.request_id.as_header().clone(),
        );
        self.snapshot.cors.mark(&self.grant, headers);
        if let Some(decision) = &self.decision {
            decision.write(headers);
        }
        if status == http::StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        if self.peer.wire.is_some() && self.edge.config.shutdown.has_begun() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let own = self.record.route.as_ref().is_some_and(|route| route.own);
        let gateway = total.saturating_sub(upstream.unwrap_or_default());
        if let (Some(upstream), false) = (upstream, own) {
            let millis =
                |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            dialect::mark_proxied(
                self.snapshot.dialect,
                headers,
                &self.record.request_id,
                millis(upstream),
                millis(gateway),
            );
        }
        headers.append(SERVER_TIMING, server_timing(gateway, upstream));
    }
}

fn server_timing(gateway: Duration, upstream: Option<Duration>) -> HeaderValue {
    let mut text = Vec::with_capacity(64);
    text.extend_from_slice(b"gateway;dur=");
    write_millis(gateway, &mut text);
    if let Some(upstream) = upstream {
        text.extend_from_slice(b", upstream;dur=");
        write_millis(upstream, &mut text);
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .expect("digits and letters are a header value")
}

/// Appends milliseconds with two decimals.
fn write_millis(duration: Duration, text: &mut Vec<u8>) {
    let hundredths = duration.as_micros() / 10;
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(digits.format(hundredths / 100).as_bytes());
    // The leading digit keeps the zeros, and becomes the point.
    let start = text.len();
    text.extend_from_slice(digits.format(100 + hundredths % 100).as_bytes());
    text[start] = b'.';
}

fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        bytes[range.clone()]
            .iter()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && bytes[range].iter().any(|b| *b != b'0')
    };
    bytes.len() == 55
        && bytes.starts_with(b"00-")
        && bytes[35] == b'-'
        && bytes[52] == b'-'
        && hex(3..35)
        && hex(36..52)
        && bytes[53..].iter().all(u8::is_ascii_hexdigit)
}

/// The client's trace context where it is well-formed, else a new one.
fn traceparent(given: Option<&HeaderValue>) -> HeaderValue {
    if let Some(value) = given.filter(|value| is_traceparent(value)) {
        return value.clone();
    }
    // 00-TRACE-SPAN-00, with 16 and 8 random bytes.
    let mut text = [b'-'; 55];
    write_hex(&[0], &mut text[..2]);
    write_hex(&rand::random::<[u8; 16]>(), &mut text[3..35]);
    write_hex(&rand::random::<[u8; 8]>(), &mut text[36..52]);
    write_hex(&[0], &mut text[53..]);
    HeaderValue::from_bytes(&text).expect("hexadecimal is a header value")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{is_traceparent, server_timing, traceparent};

    #[test]
    fn a_new_trace_context_is_well_formed_and_new() {
        let (first, second) = (traceparent(None), traceparent(None));
        assert!(is_traceparent(&first) && is_traceparent(&second));
        assert!(first.as_bytes().ends_with(b"-00"));
        assert_ne!(first, second);
        assert_eq!(traceparent(Some(&first)), first);
    }

    #[test]
    fn server_timing_is_in_milliseconds() {
        let micros = Duration::from_micros;
        assert_eq!(server_timing(micros(59), None), "gateway;dur=0.05");
        assert_eq!(
            server_timing(micros(1_009), Some(micros(61_230_999))),
            "gateway;dur=1.00, upstream;dur=61230.99"
        );
    }
}
