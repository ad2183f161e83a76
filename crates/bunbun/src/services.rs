//! The embedded services, made from the configuration.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use bunbun_auth::{
    AuthParts, AuthService, Signer,
    mail::{Mailer, NoMailer, mailbox::Mailbox, smtp::Smtp},
};
use bunbun_core::{clock::SystemClock, config::Config};
use bunbun_postgres::ProjectDatabases;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::failure::Failure;

/// The path of the auth service below the public URL.
const AUTH_PATH: &str = "/auth/v1";

/// The auth service, and the mailbox where one stands in for a mail server.
pub(crate) struct Auth {
    pub(crate) service: AuthService,
    pub(crate) mailbox: Option<Mailbox>,
    external_url: Arc<OnceLock<Url>>,
}

impl Auth {
    /// Makes the service; nothing connects yet.
    pub(crate) fn new(
        config: &Config,
        databases: Arc<dyn ProjectDatabases>,
        has_mailbox: bool,
    ) -> Result<Self, Failure> {
        let clock = Arc::new(SystemClock);
        let mut mailbox = None;
        let mailer: Arc<dyn Mailer> = match &config.auth.smtp {
            Some(smtp) => Arc::new(Smtp::new(smtp).map_err(|error| {
                let hint = "SMTP_HOST is a host name, SMTP_ADMIN_EMAIL an address";
                Failure::because("the mail server cannot be used", &*error, hint)
            })?),
            None if has_mailbox => {
                let clock: Arc<SystemClock> = Arc::clone(&clock);
                let own = Mailbox::new(clock);
                mailbox = Some(own.clone());
                Arc::new(own)
            }
            None => Arc::new(NoMailer),
        };
        let external_url = Arc::new(OnceLock::new());
        if let Some(url) = configured_url(config) {
            let _ = external_url.set(url);
        }
        let service = AuthService::new(AuthParts {
            databases,
            config: config.auth.clone(),
            jwt_secret: config.keys.jwt_secret.clone(),
            signer: Arc::new(signer(config)?),
            external_url: Arc::clone(&external_url),
            mailer,
            clock,
            version: env!("CARGO_PKG_VERSION"),
        })
        .map_err(|error| {
            Failure::because("the auth service cannot start", &*error, "see ulimit -u")
        })?;
        Ok(Self {
            service,
            mailbox,
            external_url,
        })
    }

    /// Says where clients reach the server, where the configuration does not.
    pub(crate) fn listening(&self, address: SocketAddr, has_tls: bool) {
        let scheme = if has_tls { "https" } else { "http" };
        let host = if address.ip().is_unspecified() || address.ip().is_loopback() {
            format!("localhost:{}", address.port())
        } else {
            address.to_string()
        };
        if let Ok(url) = Url::parse(&format!("{scheme}://{host}{AUTH_PATH}")) {
            let _ = self.external_url.set(url);
        }
    }
}

/// What signs tokens: the project's secret, or the key set.
pub(crate) fn signer(config: &Config) -> Result<Signer, Failure> {
    let secret = config.keys.jwt_secret.expose_secret();
    let Some(keys) = &config.auth.jwt_keys else {
        return Ok(Signer::hs256(secret));
    };
    Signer::from_keys(keys.expose_secret(), secret).map_err(|error| {
        let hint = "a JSON Web Key Set in which one RSA or P-256 key has key_ops [\"sign\"]";
        Failure::because("JWT_KEYS cannot be used", &error, hint)
    })
}

/// `API_EXTERNAL_URL`, which some write with the service's path and some without, or the public
/// URL.
fn configured_url(config: &Config) -> Option<Url> {
    let url = config
        .auth
        .external_url
        .as_ref()
        .or(config.server.public_url.as_ref())?;
    let mut url = url.clone();
    if url.path().trim_end_matches('/').is_empty() {
        url.set_path(AUTH_PATH);
    }
    Some(url)
}
