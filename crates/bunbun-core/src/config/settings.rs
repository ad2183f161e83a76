//! The registry of settings: every name that `bunbun.toml` and the environment may set, once.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its path in `bunbun.toml`.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// The value that holds when nothing is set; empty: none.
    pub default: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    /// What it is, with unit.
    pub doc: &'static str,
}

const fn plain(
    path: &'static str,
    env: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        path,
        env,
        default,
        secret: false,
        doc,
    }
}

const fn secret(path: &'static str, env: &'static str, doc: &'static str) -> Setting {
    Setting {
        path,
        env,
        default: "",
        secret: true,
        doc,
    }
}

/// Every setting, in the order of the documentation.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    plain("server.host", "HOST", "0.0.0.0", "Address to listen on"),
    plain("server.port", "PORT", "3000", "Port to listen on; 0 picks a free one"),
    plain("server.public_url", "PUBLIC_URL", "", "URL under which clients reach BunBun"),
    plain("server.base_domain", "BASE_DOMAIN", "", "Requests to {ref}.BASE_DOMAIN belong to project {ref}"),
    plain("server.workers", "WORKERS", "0", "Threads that serve requests; 0: one per core"),
    plain("server.trusted_proxies", "TRUSTED_PROXIES", "", "Networks whose X-Forwarded-* headers are believed, comma separated CIDR"),
    plain("server.drain_timeout", "DRAIN_TIMEOUT", "30s", "Longest wait for requests in flight at shutdown"),
    plain("server.header_timeout", "HEADER_TIMEOUT", "10s", "Longest time in which a request's head must arrive"),
    plain("server.body_timeout", "BODY_TIMEOUT", "60s", "Longest silence in a request's body"),
    plain("server.keepalive_timeout", "KEEPALIVE_TIMEOUT", "75s", "How long an idle client connection is kept"),
    plain("server.max_connections", "MAX_CONNECTIONS", "50000", "Most client connections at once"),
    plain("server.max_api_body_bytes", "MAX_API_BODY_BYTES", "10485760", "Largest body of a request to BunBun's own API"),
    plain("server.tls_cert_file", "TLS_CERT_FILE", "", "PEM file with the certificate chain; turns TLS on"),
    plain("server.tls_key_file", "TLS_KEY_FILE", "", "PEM file with the private key"),
    plain("server.allowed_origins", "ALLOWED_ORIGINS", "", "Origins whose pages may call BunBun, comma separated"),
    secret("database.url", "DATABASE_URL", "PostgreSQL of the project `default`"),
    secret("database.platform_url", "PLATFORM_DATABASE_URL", "PostgreSQL of the control plane; default: database `bunbun` on the server of DATABASE_URL"),
    plain("database.pool_size", "DATABASE_POOL_SIZE", "10", "Most connections to the project's database"),
    plain("database.statement_timeout", "DATABASE_STATEMENT_TIMEOUT", "30s", "Longest run of one statement of /api/db/query"),
    plain("database.max_rows", "DATABASE_MAX_ROWS", "10000", "Most rows of one buffered answer of /api/db/query"),
    secret("redis.url", "REDIS_URL", "Redis that nodes share for rate limits and caches"),
    secret("keys.jwt_secret", "JWT_SECRET", "Signs and verifies HS256 tokens; at least 32 characters"),
    secret("keys.anon", "ANON_KEY", "The `anon` key; made from JWT_SECRET when unset"),
    secret("keys.service_role", "SUPABASE_SERVICE_KEY", "The `service_role` key, also read from SERVICE_ROLE_KEY; made from JWT_SECRET when unset"),
    plain("keys.jwks", "JWT_JWKS", "", "Public keys for ES256 and RS256: a JSON Web Key Set or the path of one"),
    secret("keys.publishable", "SUPABASE_PUBLISHABLE_KEY", "Opaque key that stands for `anon`"),
    secret("keys.secret", "SUPABASE_SECRET_KEY", "Opaque key that stands for `service_role`"),
    secret("keys.anon_token", "ANON_KEY_ASYMMETRIC", "Token that replaces the publishable key upstream; default: the anon key"),
    secret("keys.service_role_token", "SERVICE_ROLE_KEY_ASYMMETRIC", "Token that replaces the secret key upstream; default: the service_role key"),
    secret("keys.database_encryption", "DATABASE_ENCRYPTION_KEY", "Master key for stored secrets: 32 bytes in base64 or hex"),
    plain("services.auth", "AUTH_URL", "", "URL of the auth service; several, comma separated, are balanced"),
    plain("services.rest", "POSTGREST_URL", "", "URL of the REST service"),
    plain("services.realtime", "REALTIME_URL", "", "URL of the realtime service"),
    plain("services.storage", "STORAGE_URL", "", "URL of the storage service"),
    plain("services.functions", "FUNCTIONS_URL", "", "URL of the functions service"),
    plain("services.analytics", "ANALYTICS_URL", "", "URL of the analytics service"),
    plain("services.meta", "META_URL", "", "URL of postgres-meta"),
    plain("services.studio", "STUDIO_URL", "", "URL of the dashboard; unset: the built-in page"),
    plain("services.realtime_host", "REALTIME_TENANT_HOST", "realtime-dev.supabase-realtime", "Host from which realtime reads its tenant"),
    plain("services.kong", "KONG_URL", "", "A gateway in front of all services: used for every service without a URL of its own, paths kept"),
    plain("dashboard.username", "DASHBOARD_USERNAME", "", "User of the dashboard"),
    secret("dashboard.password", "DASHBOARD_PASSWORD", "Password of the dashboard"),
    plain("storage.file_size_limit", "FILE_SIZE_LIMIT", "52428800", "Largest file of an upload, in bytes; buckets may set less"),
    plain("backups.url", "BACKUPS_URL", "", "Where backups lie: a directory, file:// or s3:// URL; default: DATA_DIR/backups"),
    plain("telemetry.log", "LOG", "info", "Log filter, as of tracing's EnvFilter"),
    plain("telemetry.log_format", "LOG_FORMAT", "auto", "json, pretty, or auto: pretty on a terminal"),
    plain("telemetry.access_log", "ACCESS_LOG", "true", "Whether each request gets a line"),
    plain("telemetry.metrics_open", "METRICS_OPEN", "false", "Whether /metrics needs no key"),
    plain("telemetry.otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "", "Where traces are sent (OTLP over HTTP)"),
    secret("telemetry.sentry_dsn", "SENTRY_DSN", "Where errors are reported"),
];

/// The setting of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}
