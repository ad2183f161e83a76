//! Configuration: built-in defaults < `bunbun.toml` < environment < flags, read once into typed
//! structs. All faults are reported together, each with a hint.

pub mod auth;
pub mod byte_size;
pub mod duration;
pub mod gateway;
mod gateway_reader;
mod reader;
pub mod settings;

use std::{net::IpAddr, path::Path, time::Duration};

pub use auth::AuthConfig;
pub use byte_size::ByteSize;
pub use duration::HumanDuration;
pub use gateway::{Dialect, GatewayConfig};
use ipnet::IpNet;
use reader::Reader;
pub use reader::{Fault, Faults, Sources};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    clock::{Clock, SystemClock},
    egress::EgressRule,
    encryption::MasterKeys,
    jwt,
};

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `redis.url`
    pub redis_url: Option<SecretString>,
    /// `[keys]`
    pub keys: KeysConfig,
    /// `egress.allow`: where stored connections may lead beside the public internet.
    pub egress_allow: Vec<EgressRule>,
    /// `[services]`
    pub services: ServicesConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[dashboard]`
    pub dashboard: DashboardConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `backups.url`
    pub backups_url: Option<String>,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// `[gateway]`
    pub gateway: GatewayConfig,
}

/// `[server]`: sockets and their limits.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// URL under which clients reach BunBun.
    pub public_url: Option<Url>,
    /// Domain whose labels are project references.
    pub base_domain: Option<String>,
    /// Threads that serve requests.
    pub workers: usize,
    /// Networks whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Longest wait for requests in flight at shutdown.
    pub drain_timeout: Duration,
    /// Longest time in which a request's head must arrive.
    pub header_timeout: Duration,
    /// Longest silence in a request's body.
    pub body_timeout: Duration,
    /// How long an idle client connection is kept.
    pub keepalive_timeout: Duration,
    /// Most client connections at once.
    pub max_connections: usize,
    /// Largest body of a request to BunBun's own API.
    pub max_api_body_bytes: u64,
    /// Certificate chain and private key, both PEM files.
    pub tls: Option<TlsConfig>,
    /// Origins whose pages may call BunBun.
    pub allowed_origins: Vec<String>,
}

/// Certificate chain and private key.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// PEM file with the chain.
    pub cert_file: String,
    /// PEM file with the key.
    pub key_file: String,
}

/// `[database]`: PostgreSQL.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The project `default`'s database.
    pub url: Option<SecretString>,
    /// The control plane's database.
    pub platform_url: Option<SecretString>,
    /// Most connections to the project's database.
    pub pool_size: usize,
    /// Longest run of one statement.
    pub statement_timeout: Duration,
    /// Most rows of one buffered answer.
    pub max_rows: usize,
}

/// `[keys]`: the credentials of the project `default`.
#[derive(Debug, Clone)]
pub struct KeysConfig {
    /// Signs and verifies HS256 tokens.
    pub jwt_secret: SecretString,
    /// The `anon` key.
    pub anon: SecretString,
    /// The `service_role` key.
    pub service_role: SecretString,
    /// A JSON Web Key Set.
    pub jwks: Option<String>,
    /// Opaque key that stands for `anon`, and the token that replaces it.
    pub publishable: Option<(SecretString, SecretString)>,
    /// Opaque key that stands for `service_role`, and the token that replaces it.
    pub secret: Option<(SecretString, SecretString)>,
    /// Master key for stored secrets.
    pub database_encryption: Option<SecretString>,
    /// The master key before.
    pub database_encryption_previous: Option<SecretString>,
}

/// `[services]`: where each slot leads; an empty list is an embedded or empty slot.
#[derive(Debug, Clone, Default)]
pub struct ServicesConfig {
    /// Auth.
    pub auth: Vec<Url>,
    /// PostgREST.
    pub rest: Vec<Url>,
    /// Realtime.
    pub realtime: Vec<Url>,
    /// Storage.
    pub storage: Vec<Url>,
    /// Edge functions.
    pub functions: Vec<Url>,
    /// Analytics.
    pub analytics: Vec<Url>,
    /// postgres-meta.
    pub meta: Vec<Url>,
    /// Studio.
    pub studio: Vec<Url>,
    /// A gateway in front of all of them.
    pub kong: Vec<Url>,
    /// The host from which realtime reads its tenant.
    pub realtime_host: String,
}

/// `[storage]`: the embedded storage.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Where files lie; `None`: below the data directory.
    pub backend: Option<String>,
    /// Largest file in bytes.
    pub file_size_limit: u64,
    /// Whether files are on the disk before they are said to be there.
    pub fsync: bool,
    /// How long a signed upload URL holds.
    pub upload_url_expiration: Duration,
    /// How long a resumable upload may take.
    pub resumable_expiration: Duration,
    /// Whether images are rendered.
    pub image_rendering: bool,
    /// Most pixels of an image that is rendered.
    pub image_max_pixels: u64,
    /// The S3 protocol's access key and its secret.
    pub s3_access_key: Option<(String, SecretString)>,
    /// The region that S3 clients are told.
    pub s3_region: String,
    /// How old bytes without a row must be before they are removed.
    pub sweep_grace: Duration,
    /// How often the sweeper runs; zero: never.
    pub sweep_interval: Duration,
}

/// `[dashboard]`: basic auth of everything that is no API.
#[derive(Debug, Clone)]
pub struct DashboardConfig {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Option<SecretString>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
    /// Pretty on a terminal, else JSON.
    Auto,
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            "auto" => Ok(Self::Auto),
            _ => Err(()),
        }
    }
}

/// `[telemetry]`: logs, metrics, traces, errors.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Log filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether each request gets a line.
    pub access_log: bool,
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// Where traces are sent.
    pub otlp_endpoint: Option<Url>,
    /// Where errors are reported.
    pub sentry_dsn: Option<SecretString>,
}

impl Config {
    /// Reads and validates all layers.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        match Self::read(sources) {
            (config, faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(Faults(faults)),
        }
    }

    /// Reads all layers, and every fault. What is faulty has its default, so that the rest can be
    /// looked at further; with a fault the whole is of no other use.
    #[must_use]
    pub fn read(sources: &Sources) -> (Self, Vec<Fault>) {
        let mut reader = Reader::new(sources);
        let config = Self {
            server: read_server(&mut reader),
            database: read_database(&mut reader),
            redis_url: reader.secret("redis.url"),
            keys: read_keys(&mut reader),
            egress_allow: reader.list("egress.allow"),
            services: read_services(&mut reader),
            storage: read_storage(&mut reader),
            dashboard: read_dashboard(&mut reader),
            auth: auth::read(&mut reader),
            backups_url: reader.text("backups.url"),
            telemetry: read_telemetry(&mut reader),
            gateway: gateway_reader::read(&mut reader, &sources.file),
        };
        (config, reader.faults)
    }
}

/// Parses `bunbun.toml`; a file that is not there is an empty one.
///
/// # Errors
/// One fault that says where the file is no TOML or cannot be read.
pub fn read_file(path: &Path) -> Result<toml::Table, Faults> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(toml::Table::new()),
        Err(error) => return Err(file_fault(path, error.to_string())),
    };
    parse_file(path, &text)
}

/// Parses the text of `bunbun.toml`; `path` is for messages.
///
/// # Errors
/// One fault that says where the text is no TOML.
pub fn parse_file(path: &Path, text: &str) -> Result<toml::Table, Faults> {
    text.parse().map_err(|error: toml::de::Error| {
        // The error's own text shows the line, which may hold a secret.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |text| text.matches('\n').count() + 1);
        let message = error.message().lines().next().unwrap_or_default();
        file_fault(path, format!("line {line}: {message}"))
    })
}

fn file_fault(path: &Path, problem: String) -> Faults {
    let hint = "write readable TOML: NAME = VALUE lines below [section] lines".to_owned();
    Faults(vec![Fault {
        at: path.display().to_string(),
        problem,
        hint,
    }])
}

fn read_server(r: &mut Reader<'_>) -> ServerConfig {
    let duration = |r: &mut Reader<'_>, path| r.or_default::<HumanDuration>(path).0;
    let tls = match (
        r.text("server.tls_cert_file"),
        r.text("server.tls_key_file"),
    ) {
        (Some(cert_file), Some(key_file)) => Some(TlsConfig {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        _ => {
            r.fault(
                "server.tls_cert_file",
                "certificate and key go together",
                "set both or neither",
            );
            None
        }
    };
    let allowed_origins = r.list::<String>("server.allowed_origins");
    for origin in &allowed_origins {
        if origin == "*" {
            r.fault(
                "server.allowed_origins",
                "'*' is no origin",
                "list the origins: https://app.example.com",
            );
        } else if !Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin)
        {
            let hint = "an origin is scheme://host[:port] without a path or trailing slash";
            r.fault(
                "server.allowed_origins",
                format!("'{}' is no origin", reader::shown(origin)),
                hint,
            );
        }
    }
    ServerConfig {
        host: r.or_default("server.host"),
        port: r.or_default("server.port"),
        public_url: r.value("server.public_url"),
        base_domain: r
            .text("server.base_domain")
            .map(|domain| domain.to_ascii_lowercase()),
        workers: r.or_default("server.workers"),
        trusted_proxies: r.list("server.trusted_proxies"),
        drain_timeout: duration(r, "server.drain_timeout"),
        header_timeout: duration(r, "server.header_timeout"),
        body_timeout: duration(r, "server.body_timeout"),
        keepalive_timeout: duration(r, "server.keepalive_timeout"),
        max_connections: r.or_default("server.max_connections"),
        max_api_body_bytes: r.or_default("server.max_api_body_bytes"),
        tls,
        allowed_origins,
    }
}

fn read_database(r: &mut Reader<'_>) -> DatabaseConfig {
    for path in ["database.url", "database.platform_url"] {
        if let Some(text) = r.text(path)
            && !Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        {
            r.fault(
                path,
                "is no PostgreSQL URL",
                "write postgres://user:password@host:5432/database",
            );
        }
    }
    DatabaseConfig {
        url: r.secret("database.url"),
        platform_url: r.secret("database.platform_url"),
        pool_size: r.or_default::<usize>("database.pool_size").max(1),
        statement_timeout: r
            .or_default::<HumanDuration>("database.statement_timeout")
            .0,
        max_rows: r.or_default("database.max_rows"),
    }
}

/// Secrets that are published in documentation and so are none.
const KNOWN_SECRETS: &[&str] = &[
    "your-super-secret-jwt-token-with-at-least-32-characters-long",
    "super-secret-jwt-token-with-at-least-32-characters-long",
];

fn read_keys(r: &mut Reader<'_>) -> KeysConfig {
    let jwt_secret = r.text("keys.jwt_secret").unwrap_or_default();
    let hint = "`bunbun keys generate` makes a complete set";
    if jwt_secret.is_empty() {
        r.fault("keys.jwt_secret", "is not set", hint);
    } else if jwt_secret.len() < 32 {
        r.fault("keys.jwt_secret", "is shorter than 32 characters", hint);
    } else if KNOWN_SECRETS.contains(&jwt_secret.as_str()) {
        r.fault("keys.jwt_secret", "is the published example", hint);
    }
    let verifier = jwt::Verifier::new(&jwt_secret);
    let application_key = |r: &mut Reader<'_>, path: &'static str, role: &str| match r.text(path) {
        Some(key) => {
            // Keys of another secret would be refused at every request: better to say so now.
            if !jwt_secret.is_empty()
                && !verifier
                    .verify(&key)
                    .is_ok_and(|claims| claims.role == role)
            {
                r.fault(
                    path,
                    format!("is no {role} token signed with JWT_SECRET"),
                    hint,
                );
            }
            SecretString::from(key)
        }
        None => jwt::application_key(&jwt_secret, role, SystemClock.unix_seconds()).into(),
    };
    let anon = application_key(r, "keys.anon", jwt::Claims::ANON);
    let service_role = application_key(r, "keys.service_role", jwt::Claims::SERVICE_ROLE);
    let opaque =
        |r: &mut Reader<'_>, key: &'static str, token: &'static str, fallback: &SecretString| {
            let value: SecretString = r.text(key)?.into();
            if !value.expose_secret().starts_with("sb_") {
                r.fault(key, "does not begin with sb_", hint);
            }
            Some((
                value,
                r.text(token)
                    .map_or_else(|| fallback.clone(), SecretString::from),
            ))
        };
    let publishable = opaque(r, "keys.publishable", "keys.anon_token", &anon);
    let secret = opaque(r, "keys.secret", "keys.service_role_token", &service_role);
    let jwks = r.text("keys.jwks").and_then(|text| read_jwks(r, text));
    KeysConfig {
        jwt_secret: jwt_secret.into(),
        anon,
        service_role,
        jwks,
        publishable,
        secret,
        database_encryption: master_key(r, "keys.database_encryption"),
        database_encryption_previous: master_key(r, "keys.database_encryption_previous"),
    }
}

/// A master key that is one.
fn master_key(r: &mut Reader<'_>, path: &'static str) -> Option<SecretString> {
    let key = r.secret(path)?;
    if MasterKeys::parse(&key, None).is_err() {
        let hint = "`bunbun keys generate` makes a complete set";
        r.fault(path, "is not 32 bytes in base64 or hexadecimal", hint);
    }
    Some(key)
}

fn read_jwks(r: &mut Reader<'_>, text: String) -> Option<String> {
    let text = if text.trim_start().starts_with('{') {
        text
    } else {
        match std::fs::read_to_string(&text) {
            Ok(text) => text,
            Err(error) => {
                r.fault(
                    "keys.jwks",
                    format!("'{text}' cannot be read: {error}"),
                    "give the path of a file that is there, or the JSON itself",
                );
                return None;
            }
        }
    };
    match jwt::Verifier::new("").with_jwks(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            r.fault(
                "keys.jwks",
                error.to_string(),
                "a JSON object with an array `keys`",
            );
            None
        }
    }
}

fn read_services(r: &mut Reader<'_>) -> ServicesConfig {
    let urls = |r: &mut Reader<'_>, path| {
        let urls = r.list::<Url>(path);
        for url in &urls {
            if !matches!(url.scheme(), "http" | "https" | "h2c") || !url.has_host() {
                r.fault(
                    path,
                    format!("'{}' is no service URL", reader::shown(url.as_str())),
                    "write for example http://10.0.0.5:8080, with http://, https:// or h2c://",
                );
            }
        }
        urls
    };
    ServicesConfig {
        auth: urls(r, "services.auth"),
        rest: urls(r, "services.rest"),
        realtime: urls(r, "services.realtime"),
        storage: urls(r, "services.storage"),
        functions: urls(r, "services.functions"),
        analytics: urls(r, "services.analytics"),
        meta: urls(r, "services.meta"),
        studio: urls(r, "services.studio"),
        kong: urls(r, "services.kong"),
        realtime_host: r.or_default("services.realtime_host"),
    }
}

fn read_storage(r: &mut Reader<'_>) -> StorageConfig {
    let duration = |r: &mut Reader<'_>, path| r.or_default::<HumanDuration>(path).0;
    let s3_access_key = match (
        r.text("storage.s3_access_key_id"),
        r.secret("storage.s3_access_key_secret"),
    ) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        _ => {
            r.fault(
                "storage.s3_access_key_id",
                "access key and secret go together",
                "set both or neither",
            );
            None
        }
    };
    StorageConfig {
        backend: r.text("storage.backend"),
        file_size_limit: r.or_default::<ByteSize>("storage.file_size_limit").0,
        fsync: r.or_default("storage.fsync"),
        upload_url_expiration: duration(r, "storage.upload_url_expiration"),
        resumable_expiration: duration(r, "storage.resumable_expiration"),
        image_rendering: r.or_default("storage.image_rendering"),
        image_max_pixels: r.or_default("storage.image_max_pixels"),
        s3_access_key,
        s3_region: r.or_default("storage.s3_region"),
        sweep_grace: duration(r, "storage.sweep_grace"),
        sweep_interval: duration(r, "storage.sweep_interval"),
    }
}

fn read_dashboard(r: &mut Reader<'_>) -> DashboardConfig {
    DashboardConfig {
        username: r
            .text("dashboard.username")
            .unwrap_or_else(|| "bunbun".to_owned()),
        password: r.secret("dashboard.password"),
    }
}

fn read_telemetry(r: &mut Reader<'_>) -> TelemetryConfig {
    TelemetryConfig {
        log: r.or_default("telemetry.log"),
        log_format: r.value("telemetry.log_format").unwrap_or(LogFormat::Auto),
        access_log: r.or_default("telemetry.access_log"),
        metrics_open: r.or_default("telemetry.metrics_open"),
        otlp_endpoint: r.value("telemetry.otlp_endpoint"),
        sentry_dsn: r.secret("telemetry.sentry_dsn"),
    }
}

#[cfg(test)]
mod tests;
