//! The service: its parts, its projects' databases, and its place in a slot.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::response::IntoResponse as _;
use bunbun_core::{clock::Clock, config::AuthConfig, id::ProjectRef};
use bunbun_http::{
    RequestContext, RequestId,
    body::{Body, Embedded},
};
use bunbun_postgres::{Client, Pool, ProjectDatabases};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tower::ServiceExt as _;
use url::Url;

use crate::{
    error::{AuthError, Result, Unrendered},
    hooks::{
        Hooks,
        room::{Calls, HookedClient, Room},
    },
    mail::{Mailer, Texts, outbox::Outbox},
    migrations,
    oauth::Providers,
    password::{Rules, pool::HashPool},
    rate_limit::RateLimits,
    redirect::Redirects,
    routes,
    token::{
        refresh::{Chain, Storage},
        signer::Signer,
    },
};

/// How many refreshes of different tokens may run beside one another; those of one token take
/// turns before they take a connection.
const REFRESH_LANES: usize = 1024;

/// Longest wait for an answer of a provider, a hook or a template's host.
const OUTBOUND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the service is made of.
pub struct AuthParts {
    /// Finds a project's database.
    pub databases: Arc<dyn ProjectDatabases>,
    /// Its settings.
    pub config: AuthConfig,
    /// The project's secret.
    pub jwt_secret: SecretString,
    /// Signs tokens.
    pub signer: Arc<Signer>,
    /// The service's URL as clients see it, known at the latest when the server listens.
    pub external_url: Arc<OnceLock<Url>>,
    /// Delivers mails.
    pub mailer: Arc<dyn Mailer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// BunBun's version.
    pub version: &'static str,
}

/// The embedded auth service.
#[derive(Clone)]
pub struct AuthService(pub(crate) Arc<Inner>);

/// What its handlers use.
pub(crate) struct Inner {
    databases: Arc<dyn ProjectDatabases>,
    pub(crate) config: AuthConfig,
    pub(crate) redirects: Redirects,
    pub(crate) signer: Arc<Signer>,
    pub(crate) chain: Chain,
    pub(crate) jwt_secret: SecretString,
    pub(crate) passwords: HashPool,
    pub(crate) password_rules: Rules,
    pub(crate) limits: RateLimits,
    pub(crate) texts: Texts,
    pub(crate) outbox: Outbox,
    pub(crate) hooks: Hooks,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: &'static str,
    external_url: Arc<OnceLock<Url>>,
    prepared: RwLock<HashMap<ProjectRef, Arc<OnceCell<Prepared>>>>,
    refresh_lanes: Vec<Mutex<()>>,
}

/// What is known of a project's database once it is prepared.
#[derive(Debug, Clone)]
struct Prepared {
    storage: Storage,
    is_adopted: bool,
    hook_room: Room,
}

/// A project's database, prepared.
pub(crate) struct Database {
    pool: Pool,
    /// How it keeps refresh tokens.
    pub(crate) storage: Storage,
    /// Its schema is not ours to change.
    pub(crate) is_adopted: bool,
    hook_room: Room,
}

impl Database {
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(self.pool.get().await?)
    }

    /// A connection for a request that may call hooks: they keep only some of them busy.
    pub(crate) async fn hooked_client(&self, hooks: &Hooks, calls: Calls) -> Result<HookedClient> {
        let turn = self.hook_room.enter(hooks, calls).await?;
        Ok(HookedClient::new(self.client().await?, turn))
    }
}

impl std::fmt::Debug for AuthService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthService").finish_non_exhaustive()
    }
}

impl AuthService {
    /// Starts its hashing threads; nothing connects yet.
    ///
    /// # Errors
    /// When the system gives no threads or the certificates of the outside world cannot be read.
    pub fn new(parts: AuthParts) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config = parts.config;
        let http = reqwest::Client::builder()
            .timeout(OUTBOUND_TIMEOUT)
            // A provider that redirects its own endpoints is asked to say so in its discovery.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bunbun/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let jwt_secret = parts.jwt_secret;
        Ok(Self(Arc::new(Inner {
            databases: parts.databases,
            redirects: Redirects::new(&config.site_url, &config.uri_allow_list),
            signer: parts.signer,
            chain: Chain::new(jwt_secret.expose_secret()),
            passwords: HashPool::start(config.hash_workers)?,
            password_rules: Rules {
                min_length: config.password_min_length,
                required_characters: config.password_required_characters.clone(),
            },
            limits: RateLimits::new(
                Arc::clone(&parts.clock),
                config.rate_limits,
                config.smtp_max_frequency,
            ),
            texts: Texts::new(&config.mails, http.clone()),
            outbox: Outbox::new(parts.mailer),
            hooks: Hooks::new(&config, http.clone(), Arc::clone(&parts.clock)),
            providers: Providers::new(&config.providers, http, Arc::clone(&parts.clock)),
            clock: parts.clock,
            version: parts.version,
            jwt_secret,
            external_url: parts.external_url,
            prepared: RwLock::default(),
            refresh_lanes: (0..REFRESH_LANES).map(|_| Mutex::new(())).collect(),
            config,
        })))
    }

    /// The service for its slot.
    #[must_use]
    pub fn embedded(&self) -> Arc<dyn Embedded> {
        Arc::new(InSlot(routes::router(self.clone())))
    }

    /// The public keys of tokens, a JSON Web Key Set.
    #[must_use]
    pub fn public_keys(&self) -> String {
        self.0.signer.public_keys().to_string()
    }

    /// How many password hashes were computed so far.
    #[must_use]
    pub fn hashes_computed(&self) -> usize {
        self.0.passwords.computed()
    }
}

impl Inner {
    /// The database of a project; its first use prepares it.
    pub(crate) async fn database(&self, project: &ProjectRef) -> Result<Database> {
        let pool = self.databases.pool(project)?;
        let known = self.prepared.read().get(project).cloned();
        let cell = known.unwrap_or_else(|| {
            Arc::clone(self.prepared.write().entry(project.clone()).or_default())
        });
        let prepared = cell.get_or_try_init(|| prepare(&pool)).await?;
        Ok(Database {
            pool,
            storage: prepared.storage,
            is_adopted: prepared.is_adopted,
            hook_room: prepared.hook_room.clone(),
        })
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        // PostgreSQL keeps microseconds: what is compared later must not have more.
        let now = self.clock.now();
        now.replace_nanosecond(now.microsecond() * 1_000)
            .unwrap_or(now)
    }

    /// The service's URL as clients see it.
    pub(crate) fn external_url(&self) -> &str {
        self.external_url
            .get()
            .map_or("http://localhost:3000/auth/v1", |url| {
                url.as_str().trim_end_matches('/')
            })
    }

    /// The claim `iss`.
    pub(crate) fn issuer(&self) -> &str {
        self.config
            .jwt_issuer
            .as_deref()
            .unwrap_or_else(|| self.external_url())
    }

    /// Waits for the turn of a refresh token without holding a connection.
    pub(crate) async fn refresh_lane(&self, digest: &str) -> MutexGuard<'_, ()> {
        let key = digest.bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        self.refresh_lanes[key % REFRESH_LANES].lock().await
    }
}

async fn prepare(pool: &Pool) -> Result<Prepared> {
    let report = migrations::migrate(pool).await?;
    let client = pool.get().await?;
    let row = client
        .query_one("select to_regclass('auth.schema_migrations') is null", &[])
        .await?;
    let storage = if row.try_get(0)? {
        Storage::Digest
    } else {
        Storage::Clear
    };
    Ok(Prepared {
        storage,
        is_adopted: report.adopted,
        hook_room: Room::of(pool.status().size),
    })
}

/// The router as an embedded service: errors get their shape here, where the request's headers are
/// at hand.
struct InSlot(axum::Router);

impl Embedded for InSlot {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let router = self.0.clone();
        Box::pin(async move {
            let request_id = request
                .extensions()
                .get::<RequestContext>()
                .map_or_else(RequestId::generate, |context| context.request_id.clone());
            let headers = request.headers().clone();
            let Ok(response) = router.oneshot(request.map(axum::body::Body::new)).await;
            let mut response = match response.extensions().get::<Unrendered>() {
                Some(Unrendered(error)) => error.render(&headers, &request_id),
                None => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            };
            let headers = response.headers_mut();
            for (name, value) in [
                (header::CACHE_CONTROL, "no-store"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::REFERRER_POLICY, "no-referrer"),
            ] {
                headers
                    .entry(name)
                    .or_insert(HeaderValue::from_static(value));
            }
            response
        })
    }
}

/// A JSON answer.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<axum::response::Response> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| AuthError::internal("The answer could not be written", error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
