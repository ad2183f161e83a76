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
    plain("auth.site_url", "SITE_URL", "http://localhost:3000", "Your application: where links in mails and OAuth lead when nothing else is asked for"),
    plain("auth.uri_allow_list", "URI_ALLOW_LIST", "", "Further redirect targets, comma separated; * ends at . and /, ** does not. Also read from ADDITIONAL_REDIRECT_URLS"),
    plain("auth.external_url", "API_EXTERNAL_URL", "", "URL of the auth service as clients see it; default: PUBLIC_URL/auth/v1"),
    plain("auth.jwt_expiry", "JWT_EXPIRY", "3600s", "How long an access token is valid"),
    plain("auth.jwt_issuer", "JWT_ISSUER", "", "The claim iss; default: API_EXTERNAL_URL"),
    secret("auth.jwt_keys", "JWT_KEYS", "JSON Web Key Set whose one key with key_ops [\"sign\"] signs tokens instead of JWT_SECRET: RSA or P-256"),
    plain("auth.disable_signup", "DISABLE_SIGNUP", "false", "Refuse new users, whichever way they come"),
    plain("auth.email_enabled", "ENABLE_EMAIL_SIGNUP", "true", "Sign up and in by email address"),
    plain("auth.anonymous_enabled", "ENABLE_ANONYMOUS_USERS", "false", "Sign in without an account"),
    plain("auth.mailer_autoconfirm", "MAILER_AUTOCONFIRM", "false", "Addresses count as confirmed at signup; `bunbun dev` sets true. Also read from ENABLE_EMAIL_AUTOCONFIRM"),
    plain("auth.secure_email_change", "MAILER_SECURE_EMAIL_CHANGE_ENABLED", "true", "Both the old and the new address confirm a change"),
    plain("auth.otp_expiry", "MAILER_OTP_EXP", "86400s", "How long codes and links of mails are valid"),
    plain("auth.otp_length", "MAILER_OTP_LENGTH", "6", "Digits of a code, 6 to 10"),
    plain("auth.smtp_host", "SMTP_HOST", "", "Mail server; unset: no mail is sent, except into the mailbox of `bunbun dev`"),
    plain("auth.smtp_port", "SMTP_PORT", "587", "Its port; 465 speaks TLS from the start"),
    plain("auth.smtp_tls", "SMTP_TLS", "required", "required, or none for a relay on this machine"),
    plain("auth.smtp_user", "SMTP_USER", "", "Its user"),
    secret("auth.smtp_pass", "SMTP_PASS", "Its password"),
    plain("auth.smtp_admin_email", "SMTP_ADMIN_EMAIL", "", "Sender's address"),
    plain("auth.smtp_sender_name", "SMTP_SENDER_NAME", "", "Sender's name"),
    plain("auth.smtp_max_frequency", "SMTP_MAX_FREQUENCY", "60s", "Shortest time between two mails to one address"),
    plain("auth.subject_confirmation", "MAILER_SUBJECTS_CONFIRMATION", "", "Subject of the mail that confirms an address"),
    plain("auth.subject_invite", "MAILER_SUBJECTS_INVITE", "", "Subject of an invitation"),
    plain("auth.subject_recovery", "MAILER_SUBJECTS_RECOVERY", "", "Subject of the mail that resets a password"),
    plain("auth.subject_magic_link", "MAILER_SUBJECTS_MAGIC_LINK", "", "Subject of a sign-in link"),
    plain("auth.subject_email_change", "MAILER_SUBJECTS_EMAIL_CHANGE", "", "Subject of the mail that confirms a new address"),
    plain("auth.subject_reauthentication", "MAILER_SUBJECTS_REAUTHENTICATION", "", "Subject of a reauthentication code"),
    plain("auth.template_confirmation", "MAILER_TEMPLATES_CONFIRMATION", "", "HTML of that mail: a file's path or an http(s) URL"),
    plain("auth.template_invite", "MAILER_TEMPLATES_INVITE", "", "The same for invitations"),
    plain("auth.template_recovery", "MAILER_TEMPLATES_RECOVERY", "", "The same for password resets"),
    plain("auth.template_magic_link", "MAILER_TEMPLATES_MAGIC_LINK", "", "The same for sign-in links"),
    plain("auth.template_email_change", "MAILER_TEMPLATES_EMAIL_CHANGE", "", "The same for new addresses"),
    plain("auth.template_reauthentication", "MAILER_TEMPLATES_REAUTHENTICATION", "", "The same for reauthentication codes"),
    plain("auth.password_min_length", "PASSWORD_MIN_LENGTH", "6", "Shortest password, at least 6"),
    plain("auth.password_required_characters", "PASSWORD_REQUIRED_CHARACTERS", "", "Sets of characters, colon separated; a password has one of each. \\: is a colon"),
    plain("auth.rate_limit_email_sent", "RATE_LIMIT_EMAIL_SENT", "30", "Most mails an hour; 0: no limit"),
    plain("auth.rate_limit_token_refresh", "RATE_LIMIT_TOKEN_REFRESH", "150", "Most calls of /token from one address in five minutes; 0: no limit"),
    plain("auth.rate_limit_verify", "RATE_LIMIT_VERIFY", "30", "Most calls of /verify from one address in five minutes; 0: no limit"),
    plain("auth.rate_limit_otp", "RATE_LIMIT_OTP", "30", "Most signups and requests for mails from one address in five minutes; 0: no limit"),
    plain("auth.rate_limit_anonymous", "RATE_LIMIT_ANONYMOUS_USERS", "30", "Most anonymous sign-ins from one address an hour; 0: no limit"),
    plain("auth.rate_limit_mfa", "MFA_RATE_LIMIT_CHALLENGE_AND_VERIFY", "15", "Most challenges and verifications of factors from one address a minute; 0: no limit"),
    plain("auth.refresh_reuse_interval", "SECURITY_REFRESH_TOKEN_REUSE_INTERVAL", "10s", "How long a used refresh token may come again before it counts as stolen"),
    plain("auth.refresh_rotation", "SECURITY_REFRESH_TOKEN_ROTATION_ENABLED", "true", "A stolen refresh token ends its session's tokens"),
    plain("auth.reauthenticate_for_password", "SECURITY_UPDATE_PASSWORD_REQUIRE_REAUTHENTICATION", "false", "A new password needs a fresh sign-in or a code"),
    plain("auth.manual_linking", "SECURITY_MANUAL_LINKING_ENABLED", "false", "Users may link and unlink identities"),
    plain("auth.session_timebox", "SESSIONS_TIMEBOX", "", "Longest session"),
    plain("auth.session_inactivity", "SESSIONS_INACTIVITY_TIMEOUT", "", "Longest time between two refreshes of a session"),
    plain("auth.totp_enroll_enabled", "MFA_TOTP_ENROLL_ENABLED", "true", "Users may add authenticator apps"),
    plain("auth.totp_verify_enabled", "MFA_TOTP_VERIFY_ENABLED", "true", "Codes of authenticator apps are accepted"),
    plain("auth.mfa_max_enrolled", "MFA_MAX_ENROLLED_FACTORS", "10", "Most factors of a user"),
    plain("auth.audit_log_disabled", "AUDIT_LOG_DISABLE_POSTGRES", "false", "Write no rows into auth.audit_log_entries"),
    plain("auth.hook_access_token", "HOOK_CUSTOM_ACCESS_TOKEN_URI", "", "Called before a token is signed: pg-functions://postgres/SCHEMA/FUNCTION or https://…"),
    secret("auth.hook_access_token_secrets", "HOOK_CUSTOM_ACCESS_TOKEN_SECRETS", "Signs calls of an https hook: v1,whsec_…; several separated by |"),
    plain("auth.hook_before_user_created", "HOOK_BEFORE_USER_CREATED_URI", "", "Called before a user is created; the same forms"),
    secret("auth.hook_before_user_created_secrets", "HOOK_BEFORE_USER_CREATED_SECRETS", "Signs its calls"),
    plain("auth.github_client_id", "EXTERNAL_GITHUB_CLIENT_ID", "", "OAuth application at GitHub; turns the provider on"),
    secret("auth.github_secret", "EXTERNAL_GITHUB_SECRET", "Its secret"),
    plain("auth.github_url", "EXTERNAL_GITHUB_URL", "", "A GitHub Enterprise server"),
    plain("auth.google_client_id", "EXTERNAL_GOOGLE_CLIENT_ID", "", "OAuth client at Google, several for id_token comma separated; turns the provider on"),
    secret("auth.google_secret", "EXTERNAL_GOOGLE_SECRET", "Its secret"),
    plain("auth.google_skip_nonce_check", "EXTERNAL_GOOGLE_SKIP_NONCE_CHECK", "false", "Accept id_tokens without checking their nonce"),
    secret("auth.oidc_providers", "EXTERNAL_OIDC_PROVIDERS", "Further OpenID Connect providers: JSON, [{\"name\", \"issuer\", \"client_id\", \"secret\", \"scopes\"?, \"skip_nonce_check\"?}]"),
    plain("auth.hash_workers", "AUTH_HASH_WORKERS", "0", "Threads that hash passwords; 0: one per core"),
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
