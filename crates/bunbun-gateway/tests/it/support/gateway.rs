//! A whole gateway in this process: a real server on a free port.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use bunbun_core::{
    config::{Faults, GatewayConfig},
    project::{Project, ProjectResolver},
    shutdown::Shutdown,
};
use bunbun_gateway::{
    BasicCredentials, Edge, EdgeConfig, Server, ServerOptions, Snapshot,
    accept::tls::Tls,
    access_log::{AccessLog, Format},
    cors::Cors,
    rate_limit::Limits,
    route::{self, Environment},
    slot::{Filling, NAMES, Slot, Slots},
    upstream::{Registry, Resolve, Settings, health},
};
use bunbun_http::{
    Body, RequestContext, RequestId,
    body::{self, Embedded},
    explain::{Explain, Explanation},
};
use futures_util::future::BoxFuture;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use url::Url;

use super::{Answer, Client, Keys, Seen};

/// User name and password of the dashboard.
pub(crate) const BASIC: (&str, &str) = ("supabase", "this-is-only-a-test");

/// A gateway that is about to start.
pub(crate) struct Builder {
    /// The keys of the project `default`.
    pub(crate) keys: Keys,
    /// Limits of the client's side; a test changes what it needs.
    pub(crate) options: ServerOptions,
    /// Longest silence in a request's body.
    pub(crate) body_timeout: Duration,
    /// Largest body of a request to the slot `api`.
    pub(crate) max_api_body_bytes: u64,
    pub(crate) file_size_limit: u64,
    /// Public keys of the project `default`.
    pub(crate) jwks: Option<String>,
    /// Rate limits shared by nodes.
    pub(crate) redis_url: Option<String>,
    pub(crate) base_domain: Option<String>,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Finds the addresses of upstreams; the system's resolver where there is none.
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    /// What fills the slot `api` in place of the echo.
    pub(crate) embedded: Option<Arc<dyn Embedded>>,
    config: String,
    slots: BTreeMap<String, Vec<Url>>,
    kong: Option<Url>,
    projects: BTreeMap<String, Keys>,
}

/// A running gateway; it shuts down when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) keys: Keys,
    pub(crate) edge: Arc<Edge>,
    pub(crate) shutdown: Shutdown,
    pub(crate) registry: Arc<Registry>,
    /// What the service in the slot `api` saw.
    pub(crate) api: Arc<Echo>,
    /// What the service in the slot `studio` saw, where no URL fills it.
    pub(crate) studio: Arc<Echo>,
    /// The lines of the access log.
    pub(crate) log: Lines,
    environment: Environment,
    allowed_origins: Vec<String>,
    project: Arc<Project>,
    server: Option<Server>,
}

impl Gateway {
    /// A gateway with empty slots and no routes of its own.
    pub(crate) fn builder() -> Builder {
        Builder {
            keys: Keys::generate(),
            options: ServerOptions {
                workers: 2,
                header_timeout: Duration::from_secs(10),
                keepalive_timeout: Duration::from_secs(60),
                drain_timeout: Duration::from_secs(10),
                max_connections: 20_000,
            },
            body_timeout: Duration::from_secs(30),
            max_api_body_bytes: 1024 * 1024,
            file_size_limit: 1024 * 1024,
            jwks: None,
            redis_url: None,
            base_domain: None,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            tls: None,
            resolver: None,
            embedded: None,
            config: String::new(),
            slots: BTreeMap::new(),
            kong: None,
            projects: BTreeMap::new(),
        }
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends bytes on a connection of their own and reads until the gateway closes it.
    #[track_caller]
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.connect().send(bytes).rest()
    }

    /// One request on a connection of its own. Without a `host` among the headers it gets one.
    #[track_caller]
    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has("host") {
            head += "host: gateway.test\r\n";
        }
        if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            head += &format!("content-length: {}\r\n", body.len());
        }
        if !has("connection") {
            head += "connection: close\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        self.connect()
            .send([head.as_bytes(), body].concat())
            .answer_to(method)
    }

    /// A `GET` on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", target, headers, b"")
    }

    /// What `explain` says of a refused request.
    pub(crate) fn refused(&self, request_id: &str) -> Option<Explanation> {
        self.edge.refused(request_id, &self.context())
    }

    /// What `explain` says of a path.
    pub(crate) fn explain(&self, path: &str) -> Result<Explanation, String> {
        self.edge.explain(&http::Method::GET, path, &self.context())
    }

    fn context(&self) -> RequestContext {
        RequestContext {
            request_id: RequestId::generate(),
            project: Arc::clone(&self.project),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            caller: None,
        }
    }

    /// Puts another `[gateway]` section in place, as a reload does.
    pub(crate) fn reload(&self, config: &str) -> Result<(), Faults> {
        let config: GatewayConfig = toml::from_str(config).expect("a section [gateway]");
        self.edge
            .swap(snapshot(&config, &self.environment, &self.allowed_origins)?);
        Ok(())
    }

    /// Begins the drain and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.shutdown.begin();
        if let Some(server) = self.server.take() {
            server.join();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn snapshot(
    config: &GatewayConfig,
    environment: &Environment,
    origins: &[String],
) -> Result<Snapshot, Faults> {
    Ok(Snapshot {
        table: route::compile(config, environment)?,
        dialect: config.dialect,
        cors: Cors::new(origins, config.dialect),
    })
}

impl Builder {
    /// The section `[gateway]`, without its name: `dialect = "kong2"`, `[[routes]]`, …
    pub(crate) fn config(mut self, toml: &str) -> Self {
        self.config = toml.to_owned();
        self
    }

    /// Fills a slot with the service at a URL.
    pub(crate) fn slot(mut self, name: &str, url: impl AsRef<str>) -> Self {
        let url = Url::parse(url.as_ref()).expect("a URL");
        self.slots.entry(name.to_owned()).or_default().push(url);
        self
    }

    /// Fills every slot of the original stack with the service at a URL.
    pub(crate) fn all_slots(mut self, url: impl AsRef<str>) -> Self {
        for name in NAMES.iter().filter(|name| **name != "api") {
            self = self.slot(name, url.as_ref());
        }
        self
    }

    /// Fills every slot of the original stack with one origin, which sees a slot's name as the
    /// first segment of its paths.
    pub(crate) fn named_slots(mut self, url: impl AsRef<str>) -> Self {
        for name in NAMES.iter().filter(|name| **name != "api") {
            self = self.slot(name, format!("{}/{name}", url.as_ref()));
        }
        self
    }

    /// A gateway behind this one, for every slot without a URL of its own.
    pub(crate) fn kong(mut self, url: &str) -> Self {
        self.kong = Some(Url::parse(url).expect("a URL"));
        self
    }

    /// Another project beside `default`.
    pub(crate) fn project(mut self, reference: &str, keys: &Keys) -> Self {
        self.projects.insert(reference.to_owned(), keys.clone());
        self
    }

    /// Changes a field.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Gateway {
        let registry = self
            .resolver
            .as_ref()
            .map_or_else(Registry::default, |resolver| {
                Registry::new(Arc::clone(resolver))
            });
        let registry = Arc::new(registry);
        let (api, studio) = (Arc::<Echo>::default(), Arc::<Echo>::default());
        let config: GatewayConfig = toml::from_str(&self.config).expect("a section [gateway]");
        let environment = Environment {
            slots: self.fill(&registry, &api, &studio),
            registry: Arc::clone(&registry),
            limits: Arc::new(Limits::new(self.redis_url.as_deref()).expect("a Redis URL")),
            shards: self.options.workers,
            realtime_host: "realtime-dev.supabase-realtime".to_owned(),
            max_api_body_bytes: self.max_api_body_bytes,
            file_size_limit: self.file_size_limit,
        };
        let snapshot = snapshot(&config, &environment, &self.allowed_origins)
            .unwrap_or_else(|faults| panic!("{faults}"));
        let shutdown = Shutdown::new();
        let project = self.keys.project("default", self.jwks.as_deref());
        let mut projects = BTreeMap::from([("default".to_owned(), Arc::clone(&project))]);
        for (reference, keys) in &self.projects {
            projects.insert(reference.clone(), keys.project(reference, None));
        }
        let log = Lines::default();
        let edge = Arc::new(Edge::new(
            snapshot,
            EdgeConfig {
                projects: Arc::new(Projects(projects)),
                basic: BasicCredentials::new(BASIC.0.to_owned(), Some(BASIC.1.into())),
                trusted_proxies: self
                    .trusted_proxies
                    .iter()
                    .map(|text| text.parse().expect("a network"))
                    .collect(),
                base_domain: self.base_domain.clone(),
                body_timeout: self.body_timeout,
                log: Some(Arc::new(
                    AccessLog::new(Format::Json, log.clone()).expect("a thread"),
                )),
                traces: None,
                shutdown: shutdown.clone(),
            },
        ));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Server::start(listener, self.tls, &edge, &self.options, &shutdown)
            .expect("a server starts");
        check_health(Arc::clone(&registry), shutdown.clone());
        Gateway {
            address: server.address(),
            keys: self.keys,
            edge,
            shutdown,
            registry,
            api,
            studio,
            log,
            environment,
            allowed_origins: self.allowed_origins,
            project,
            server: Some(server),
        }
    }

    /// As the binary fills them.
    fn fill(&self, registry: &Registry, api: &Arc<Echo>, studio: &Arc<Echo>) -> Slots {
        let remote = |name: &str, urls: &[Url]| {
            let settings = Settings::of_service(name, urls);
            Filling::Remote(
                registry
                    .get(settings, self.options.workers)
                    .expect("an upstream"),
            )
        };
        let slots = NAMES.map(|name| {
            let (filling, public_paths) = match (name, self.slots.get(name), &self.kong) {
                ("api", ..) => match &self.embedded {
                    Some(service) => (Filling::Embedded(Arc::clone(service)), false),
                    None => (Filling::Embedded(Arc::<Echo>::clone(api)), false),
                },
                (_, Some(urls), _) => (remote(name, urls), false),
                ("studio", ..) => (Filling::Embedded(Arc::<Echo>::clone(studio)), false),
                (_, None, Some(kong)) => (remote(name, std::slice::from_ref(kong)), true),
                _ => (Filling::Empty, false),
            };
            Arc::new(Slot {
                name: name.into(),
                filling,
                public_paths,
            })
        });
        Slots(slots.to_vec())
    }
}

/// Runs the active checks on a thread of its own, as the binary's main runtime does.
fn check_health(registry: Arc<Registry>, shutdown: Shutdown) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    std::thread::spawn(move || runtime.block_on(health::run(registry, shutdown)));
}

struct Projects(BTreeMap<String, Arc<Project>>);

impl ProjectResolver for Projects {
    fn find(&self, reference: &str) -> Option<Arc<Project>> {
        self.0.get(reference).cloned()
    }

    fn default_project(&self) -> Arc<Project> {
        Arc::clone(&self.0["default"])
    }
}

/// A service inside the process that records its requests and repeats them.
#[derive(Default)]
pub(crate) struct Echo {
    seen: Mutex<Vec<(Seen, Option<RequestContext>)>>,
}

impl Echo {
    /// All requests since the last call, with the context that the edge gave them.
    pub(crate) fn take(&self) -> Vec<(Seen, Option<RequestContext>)> {
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }

    fn record(&self, seen: Seen, context: Option<RequestContext>) {
        self.seen.lock().expect("no panic").push((seen, context));
    }
}

impl Embedded for Echo {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let (parts, body) = request.into_parts();
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let seen = Seen {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts
                .headers
                .iter()
                .map(|(n, v)| (n.to_string(), text(v)))
                .collect(),
            ..Seen::default()
        };
        let answer = super::origin::echoed(&seen);
        self.record(seen, parts.extensions.get::<RequestContext>().cloned());
        Box::pin(async move {
            let read = body.collect().await;
            let mut response = match read {
                Ok(_) => Response::new(body::full(answer)),
                Err(error) => {
                    let mut response = Response::new(body::full(error.to_string()));
                    *response.status_mut() = if error.is::<body::BodyTooLarge>() {
                        http::StatusCode::PAYLOAD_TOO_LARGE
                    } else {
                        http::StatusCode::BAD_REQUEST
                    };
                    response
                }
            };
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        })
    }
}

/// Log lines, shared with the writer.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// The log so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
