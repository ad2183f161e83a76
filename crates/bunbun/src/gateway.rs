//! Builds the gateway's parts from the configuration: slots, project, route table.

use std::sync::Arc;

use bunbun_core::{
    config::{Config, Faults, ServicesConfig},
    id::ProjectRef,
    jwt::Verifier,
    project::{KeyRole, OpaqueKey, Project, ProjectKeys, SingleProject},
    secret,
};
use bunbun_gateway::{
    Snapshot,
    cors::Cors,
    rate_limit::Limits,
    route::{self, Environment},
    slot::{Filling, Slot, Slots},
    upstream::{Registry, Settings},
};
use bunbun_http::body::Embedded;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{failure::Failure, services};

/// The services inside this process.
pub(crate) struct EmbeddedServices {
    /// BunBun's own API.
    pub(crate) api: Arc<dyn Embedded>,
    /// The built-in dashboard page.
    pub(crate) dashboard: Arc<dyn Embedded>,
    /// Auth.
    pub(crate) auth: Arc<dyn Embedded>,
    /// Storage; `None` where the place of its files cannot be used.
    pub(crate) storage: Option<Arc<dyn Embedded>>,
}

/// The project of a single-project installation.
pub(crate) fn project(config: &Config) -> Result<SingleProject, Failure> {
    let keys = &config.keys;
    let mut verifier = Verifier::new(keys.jwt_secret.expose_secret());
    if let Some(jwks) = &keys.jwks {
        verifier = verifier.with_jwks(jwks).map_err(|error| {
            Failure::because(
                "JWT_JWKS cannot be used",
                &error,
                "a JSON object with an array `keys`",
            )
        })?;
    }
    // Tokens of the embedded auth service.
    let signer = services::signer(config)?;
    verifier = verifier
        .with_jwks(&signer.public_keys().to_string())
        .map_err(|error| {
            let hint = "a JSON Web Key Set of RSA and P-256 keys";
            Failure::because("JWT_KEYS cannot be used", &error, hint)
        })?;
    let opaque = |pair: &Option<(SecretString, SecretString)>, role| {
        pair.as_ref().map(|(key, token)| OpaqueKey {
            digest: secret::digest(key.expose_secret().as_bytes()),
            role,
            token: token.clone(),
        })
    };
    let opaque_keys = [
        opaque(&keys.publishable, KeyRole::Anon),
        opaque(&keys.secret, KeyRole::ServiceRole),
    ];
    Ok(SingleProject(Arc::new(Project {
        reference: ProjectRef::default_project(),
        keys: ProjectKeys {
            anon: keys.anon.clone(),
            service_role: keys.service_role.clone(),
            opaque: opaque_keys.into_iter().flatten().collect(),
        },
        verifier,
    })))
}

/// How many threads serve requests.
pub(crate) fn workers(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// Fills each slot: with the service at its URL, the embedded one, the gateway at `KONG_URL`, or
/// nothing.
pub(crate) fn slots(
    config: &Config,
    registry: &Registry,
    embedded: &EmbeddedServices,
) -> Result<Slots, Failure> {
    let services = &config.services;
    let shards = workers(config);
    let remote = |name: &str, urls: &[Url]| {
        registry
            .get(Settings::of_service(name, urls), shards)
            .map(Filling::Remote)
            .map_err(|error| {
                Failure::because(
                    "a service URL cannot be used",
                    &error,
                    "use http://, https:// or h2c://",
                )
            })
    };
    let mut filled = Vec::new();
    for name in bunbun_gateway::slot::NAMES {
        let urls = urls(services, name);
        let (filling, public_paths) = match name {
            "api" => (Filling::Embedded(Arc::clone(&embedded.api)), false),
            _ if !urls.is_empty() => (remote(name, urls)?, false),
            "studio" => (Filling::Embedded(Arc::clone(&embedded.dashboard)), false),
            _ if !services.kong.is_empty() => (remote(name, &services.kong)?, true),
            "auth" => (Filling::Embedded(Arc::clone(&embedded.auth)), false),
            "storage" => match &embedded.storage {
                Some(storage) => (Filling::Embedded(Arc::clone(storage)), false),
                None => (Filling::Empty, false),
            },
            _ => (Filling::Empty, false),
        };
        filled.push(Arc::new(Slot {
            name: name.into(),
            filling,
            public_paths,
        }));
    }
    Ok(Slots(filled))
}

fn urls<'s>(services: &'s ServicesConfig, slot: &str) -> &'s [Url] {
    match slot {
        "auth" => &services.auth,
        "rest" => &services.rest,
        "realtime" => &services.realtime,
        "storage" => &services.storage,
        "functions" => &services.functions,
        "analytics" => &services.analytics,
        "meta" => &services.meta,
        "studio" => &services.studio,
        _ => &[],
    }
}

/// What routes refer to.
pub(crate) fn environment(
    config: &Config,
    slots: Slots,
    registry: &Arc<Registry>,
) -> Result<Environment, Failure> {
    let redis_url = config
        .redis_url
        .as_ref()
        .map(secrecy::ExposeSecret::expose_secret);
    let limits = Limits::new(redis_url)
        .map_err(|problem| Failure::new(problem, "write redis://[:password@]host:6379/0"))?;
    Ok(Environment {
        slots,
        registry: Arc::clone(registry),
        limits: Arc::new(limits),
        shards: workers(config),
        realtime_host: config.services.realtime_host.clone(),
        max_api_body_bytes: config.server.max_api_body_bytes,
        file_size_limit: config.storage.file_size_limit,
    })
}

/// The route table of a configuration and what goes with it.
pub(crate) fn snapshot(config: &Config, environment: &Environment) -> Result<Snapshot, Faults> {
    let dialect = config.gateway.dialect;
    Ok(Snapshot {
        table: route::compile(&config.gateway, environment)?,
        dialect,
        cors: Cors::new(&config.server.allowed_origins, dialect),
    })
}

/// Whether the gateway's part of a configuration can be used, without starting anything.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    struct Nothing;
    impl Embedded for Nothing {
        fn call(
            &self,
            _request: http::Request<bunbun_http::Body>,
        ) -> futures_util::future::BoxFuture<'static, http::Response<bunbun_http::Body>> {
            Box::pin(async { http::Response::new(bunbun_http::body::empty()) })
        }
    }
    let embedded = EmbeddedServices {
        api: Arc::new(Nothing),
        dashboard: Arc::new(Nothing),
        auth: Arc::new(Nothing),
        storage: Some(Arc::new(Nothing)),
    };
    project(config)?;
    let registry = Arc::new(Registry::default());
    let slots = slots(config, &registry, &embedded)?;
    snapshot(config, &environment(config, slots, &registry)?)?;
    Ok(())
}
