//! Everything in one process: listener, edge, gateway and API. The composition root.

use std::{
    io::IsTerminal as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bunbun_api::{
    ApiState,
    backups::{Backups, BackupsParts},
    connections::Connections,
    state::{ApiParts, Databases, DevMailbox, SingleDatabase},
};
use bunbun_auth::mail::mailbox::Mailbox;
use bunbun_core::{
    config::{Config, LogFormat, Sources},
    id::ProjectRef,
    shutdown::Shutdown,
    task,
};
use bunbun_databases::postgres::pool::{Pool, PoolConfig};
use bunbun_gateway::{
    BasicCredentials, Edge, EdgeConfig, Server, ServerOptions,
    accept::tls::Tls,
    access_log::{AccessLog, Format},
    rate_limit::Limits,
    slot::Slots,
    upstream::Registry,
};
use bunbun_http::{
    Body, RequestContext, embed,
    explain::{Explain, Explanation},
    slots::{CallError, SlotCall, SlotMode, SlotProbe, SlotProbes},
};
use bunbun_postgres::{ProjectDatabases, SingleDatabase as ServiceDatabase};
use bunbun_store::Store;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    failure::Failure,
    gateway::{self, EmbeddedServices},
    reload::Reload,
    services::Auth,
};

/// What a server needs to start.
pub(crate) struct Start<'r> {
    /// The configuration.
    pub(crate) config: Config,
    /// What it was read from, for a reload: only the file's part is read again.
    pub(crate) sources: Sources,
    /// The file that a reload reads again; it need not exist.
    pub(crate) config_file: PathBuf,
    /// Where the process may keep files of its own, backups for example.
    pub(crate) data_dir: PathBuf,
    /// Whether PostgreSQL is our own child or somebody else's.
    pub(crate) postgres_mode: SlotMode,
    /// Whether this is `bunbun dev`, whose mails stay in a mailbox.
    pub(crate) is_dev: bool,
    /// Begins the drain.
    pub(crate) shutdown: Shutdown,
    /// Called once, with the address that is listened on.
    pub(crate) ready: Box<dyn FnOnce(SocketAddr) + 'r>,
}

/// Serves until `shutdown` begins, then drains.
///
/// # Errors
/// When the address cannot be listened on, or the route table cannot be built.
pub(crate) async fn run(start: Start<'_>) -> Result<(), Failure> {
    let Start {
        config,
        sources,
        config_file,
        data_dir,
        postgres_mode,
        is_dev,
        shutdown,
        ready,
    } = start;
    let metrics = metrics_recorder()?;
    let registry = Arc::new(Registry::default());
    let auth = Auth::new(&config, service_databases(&config, "auth")?, is_dev)?;
    let store = store(&config)?;
    Box::pin(crate::connections::check_master_keys(&config, &store)).await?;
    let api = Api::new(ApiStart {
        config: &config,
        store,
        data_dir: &data_dir,
        postgres_mode,
        is_dev,
        shutdown: &shutdown,
        metrics,
        mailbox: auth.mailbox.clone(),
    })?;
    let storage = crate::storage::service(&config, &data_dir)?;
    let services = EmbeddedServices {
        storage: storage
            .as_ref()
            .map(bunbun_storage::StorageService::embedded),
        ..api.services(&auth)
    };
    let slots = gateway::slots(&config, &registry, &services)?;
    let environment = gateway::environment(&config, slots.clone(), &registry)?;
    let tls = tls(&config)?;
    let projects = Arc::new(gateway::project(&config)?);
    if let Some(storage) = &storage {
        let project = Arc::clone(&projects.0);
        crate::storage::start_sweeper(storage, project, &config, &shutdown);
    }
    let edge = Arc::new(Edge::new(
        gateway::snapshot(&config, &environment)?,
        EdgeConfig {
            projects,
            basic: BasicCredentials::new(
                config.dashboard.username.clone(),
                config.dashboard.password.clone(),
            ),
            trusted_proxies: config.server.trusted_proxies.clone(),
            base_domain: config.server.base_domain.clone(),
            body_timeout: config.server.body_timeout,
            log: access_log(&config)?,
            traces: crate::telemetry::request_traces(&config.telemetry),
            shutdown: shutdown.clone(),
        },
    ));
    api.connect(&edge, slots, &registry);
    let server = listen(&config, tls.clone(), &edge, &shutdown)?;
    task::spawn(
        "upstreams",
        bunbun_gateway::upstream::health::run(registry, shutdown.clone()),
    );
    task::spawn(
        "rate limits",
        sweep(Arc::clone(&environment.limits), shutdown.clone()),
    );
    let reload = Reload {
        sources,
        file: config_file,
        edge,
        environment,
        tls,
        shutdown: shutdown.clone(),
    };
    task::spawn("reload", reload.run());
    if let Some(backups) = &api.backups {
        backups.start();
    }
    if let Some(connections) = &api.connections {
        let pools = connections.registry().clone();
        task::spawn("database pools", pools.run(shutdown.clone()));
        let follow = connections.clone().follow(shutdown.clone());
        task::spawn("changed connections", follow);
    }
    auth.listening(server.address(), config.server.tls.is_some());
    ready(server.address());
    shutdown.begun().await;
    // The workers' threads end when their requests have.
    let _ = tokio::task::spawn_blocking(|| server.join()).await;
    if let Some(backups) = &api.backups {
        backups.stopped().await;
    }
    if let Some(connections) = &api.connections {
        connections.registry().close().await;
    }
    Ok(())
}

/// BunBun's own API and what it needs of the rest, which exists only after it.
struct Api {
    state: Arc<ApiState>,
    backups: Option<Backups>,
    connections: Option<Connections>,
    late: Arc<Late>,
}

/// The gateway's side of the API's seams: filled once the edge is there.
#[derive(Default)]
struct Late(OnceLock<(Arc<Edge>, Slots, Arc<Registry>)>);

impl Explain for Late {
    fn explain(
        &self,
        method: &http::Method,
        path: &str,
        context: &RequestContext,
    ) -> Result<Explanation, String> {
        let (edge, ..) = self.0.get().ok_or("The gateway is starting.")?;
        edge.explain(method, path, context)
    }

    fn refused(&self, request_id: &str, context: &RequestContext) -> Option<Explanation> {
        self.0
            .get()
            .and_then(|(edge, ..)| edge.refused(request_id, context))
    }
}

impl SlotProbes for Late {
    fn probes(&self) -> Vec<SlotProbe> {
        self.0
            .get()
            .map(|(_, slots, _)| slots.probes())
            .unwrap_or_default()
    }
}

impl SlotCall for Late {
    fn call(
        &self,
        slot: &'static str,
        request: http::Request<Body>,
        first_byte_timeout: Duration,
    ) -> BoxFuture<'static, Result<http::Response<Body>, CallError>> {
        match self.0.get() {
            Some((_, slots, _)) => slots.call(slot, request, first_byte_timeout),
            None => Box::pin(async move { Err(CallError::Unavailable { slot, cause: None }) }),
        }
    }
}

/// What the API starts with.
struct ApiStart<'s> {
    config: &'s Config,
    store: Store,
    data_dir: &'s Path,
    postgres_mode: SlotMode,
    is_dev: bool,
    shutdown: &'s Shutdown,
    metrics: PrometheusHandle,
    mailbox: Option<Mailbox>,
}

impl Api {
    fn new(start: ApiStart<'_>) -> Result<Self, Failure> {
        let ApiStart {
            config,
            store,
            data_dir,
            postgres_mode,
            is_dev,
            shutdown,
            metrics,
            mailbox,
        } = start;
        let pool = pool(config)?;
        let databases: Arc<dyn Databases> = Arc::new(SingleDatabase(pool.clone()));
        let connections = crate::connections::new(config, &store, &databases, is_dev)?;
        let backups = Backups::new(BackupsParts {
            store,
            databases: Arc::clone(&databases),
            url: config.backups_url.as_deref(),
            data_directory: data_dir,
            shutdown: shutdown.clone(),
        });
        // Without a place for backups everything else works: a dependency takes its own endpoints
        // with it, not the start.
        let backups = backups
            .inspect_err(|error| {
                let error = bunbun_core::error::chain(error);
                tracing::error!(error, "backups are not available: check BACKUPS_URL");
            })
            .ok();
        let late = Arc::new(Late::default());
        let for_metrics = Arc::clone(&late);
        let pools = connections.as_ref().map(|c| c.registry().clone());
        let render = move || {
            if let Some((_, _, registry)) = for_metrics.0.get() {
                for upstream in registry.all() {
                    bunbun_gateway::metrics::publish_upstream(upstream.name(), upstream.load());
                }
            }
            if let Some(pool) = &pool {
                publish_pool(pool);
            }
            if let Some(pools) = &pools {
                pools.publish();
            }
            metrics.run_upkeep();
            metrics.render()
        };
        let state = ApiState::new(ApiParts {
            version: env!("CARGO_PKG_VERSION"),
            databases,
            database_limits: (&config.database).into(),
            postgres_mode,
            slots: Arc::<Late>::clone(&late),
            calls: Arc::<Late>::clone(&late),
            public_url: config.server.public_url.clone(),
            file_size_limit: config.storage.file_size_limit,
            spool_directory: data_dir.join("spool"),
            metrics: Arc::new(render),
            metrics_open: config.telemetry.metrics_open,
            explain: Arc::<Late>::clone(&late),
            backups: backups.clone(),
            connections: connections.clone(),
            mailbox: mailbox.map(|mailbox| {
                let shown = move || json!({ "mails": mailbox.mails() });
                Arc::new(shown) as Arc<dyn DevMailbox>
            }),
            shutdown: shutdown.clone(),
        });
        Ok(Self {
            state,
            backups,
            connections,
            late,
        })
    }

    fn services(&self, auth: &Auth) -> EmbeddedServices {
        let (router, _) = bunbun_api::router(Arc::clone(&self.state));
        EmbeddedServices {
            api: embed::router(router),
            dashboard: embed::router(bunbun_api::dashboard::router(Arc::clone(&self.state))),
            auth: auth.service.embedded(),
            storage: None,
        }
    }

    fn connect(&self, edge: &Arc<Edge>, slots: Slots, registry: &Arc<Registry>) {
        let parts = (Arc::clone(edge), slots, Arc::clone(registry));
        let _ = self.late.0.set(parts);
    }
}

fn store(config: &Config) -> Result<Store, Failure> {
    Store::new(&config.database).map_err(|error| {
        Failure::because(
            "PLATFORM_DATABASE_URL cannot be used",
            &error,
            "postgres://user:password@host/database",
        )
    })
}

fn pool(config: &Config) -> Result<Option<Pool>, Failure> {
    let Some(url) = &config.database.url else {
        return Ok(None);
    };
    let config = PoolConfig {
        size: config.database.pool_size,
        statement_timeout: config.database.statement_timeout,
        ..PoolConfig::new(url.clone())
    };
    Pool::new(&config).map(Some).map_err(|error| {
        Failure::because(
            "DATABASE_URL cannot be used",
            &error,
            "postgres://user:password@host:5432/database",
        )
    })
}

/// The connections of one embedded service to the project's database.
fn service_databases(config: &Config, service: &str) -> Result<Arc<dyn ProjectDatabases>, Failure> {
    let pool = config.database.url.as_ref().map(|url| {
        let pool = bunbun_postgres::PoolConfig {
            size: config.database.pool_size,
            ..bunbun_postgres::PoolConfig::new(url.clone(), service)
        };
        bunbun_postgres::Pool::new(&pool).map_err(|error| {
            let hint = "postgres://user:password@host:5432/database";
            Failure::because("DATABASE_URL cannot be used", &error, hint)
        })
    });
    let project = ProjectRef::default_project();
    Ok(Arc::new(ServiceDatabase::new(project, pool.transpose()?)))
}

fn publish_pool(pool: &Pool) {
    let status = pool.status();
    for (state, count) in [
        ("in_use", status.in_use),
        ("idle", status.idle),
        ("waiting", status.waiting),
        ("size", status.size),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "a pool is small")]
        metrics::gauge!("bunbun_postgres_pool", "state" => state).set(count as f64);
    }
}

/// Seconds; from a tenth of a millisecond, as a proxied request takes, to a minute.
const BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0,
];

fn metrics_recorder() -> Result<PrometheusHandle, Failure> {
    let failed = |error: metrics_exporter_prometheus::BuildError| {
        Failure::because(
            "metrics cannot be collected",
            &error,
            "this is a fault of BunBun",
        )
    };
    let handle = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .map_err(failed)?
        .install_recorder()
        .map_err(failed)?;
    let for_upkeep = handle.clone();
    task::spawn("metrics", async move {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for_upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn access_log(config: &Config) -> Result<Option<Arc<AccessLog>>, Failure> {
    if !config.telemetry.access_log {
        return Ok(None);
    }
    let pretty = match config.telemetry.log_format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let format = if pretty { Format::Pretty } else { Format::Json };
    // Beside the log, not among the data on stdout.
    let log = AccessLog::new(format, std::io::stderr()).map_err(|error| {
        Failure::because("no thread for the access log", &error, "see ulimit -u")
    })?;
    Ok(Some(Arc::new(log)))
}

fn tls(config: &Config) -> Result<Option<Arc<Tls>>, Failure> {
    let Some(files) = &config.server.tls else {
        return Ok(None);
    };
    let tls = Tls::new(files).map_err(|error| {
        Failure::because(
            "TLS cannot be used",
            &error,
            "TLS_CERT_FILE and TLS_KEY_FILE are PEM files that belong together",
        )
    })?;
    Ok(Some(Arc::new(tls)))
}

fn listen(
    config: &Config,
    tls: Option<Arc<Tls>>,
    edge: &Arc<Edge>,
    shutdown: &Shutdown,
) -> Result<Server, Failure> {
    let server = &config.server;
    let address = SocketAddr::new(server.host, server.port);
    let failed = |error: std::io::Error| {
        Failure::because(
            format!("cannot listen on {address}"),
            &error,
            "PORT or --port takes another",
        )
    };
    let options = ServerOptions {
        workers: gateway::workers(config),
        header_timeout: server.header_timeout,
        keepalive_timeout: server.keepalive_timeout,
        drain_timeout: server.drain_timeout,
        max_connections: server.max_connections,
    };
    let listener = bind(address).map_err(failed)?;
    Server::start(listener, tls, edge, &options, shutdown).map_err(failed)
}

/// A listening socket with room for a burst of new connections.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)?.into_std()
}

/// Forgets callers whose quota is whole again.
async fn sweep(limits: Arc<Limits>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.begun() => return,
            () = tokio::time::sleep(Duration::from_secs(60)) => limits.sweep(),
        }
    }
}

/// Begins the shutdown at SIGTERM or SIGINT.
///
/// # Errors
/// When the system refuses to tell about signals.
pub(crate) fn stop_on_signals(shutdown: &Shutdown) -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::because(
                "signals cannot be received",
                &error,
                "this is a fault of the system",
            )
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    task::spawn("signals", async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "draining");
        shutdown.begin();
    });
    Ok(())
}
