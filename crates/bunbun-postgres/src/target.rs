//! A connection URL, understood: where PostgreSQL is, as whom we come, and how TLS is done.
//!
//! `sslmode` means what it means to libpq: `disable`, `prefer` (the default: TLS when the server
//! has it), `require` (TLS, certificate unchecked unless `sslrootcert` is given), `verify-ca` and
//! `verify-full` (certificate and name checked, against `sslrootcert` or the public roots).

use std::{future::poll_fn, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{
    AsyncMessage, Client,
    config::{Config, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{self, Roots};

/// Longest silence of the network while something sent is unacknowledged.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(15);

/// Silence after which the network is probed. Firewalls forget connections that say nothing.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// What `tokio-postgres` has when the URL says nothing.
const DEFAULT_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// A URL that cannot be used. Says what is wrong, as the end of a sentence, never the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the database URL cannot be used: {0}")]
pub struct InvalidUrl(pub(crate) &'static str);

impl InvalidUrl {
    /// What is wrong, as the end of a sentence.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.0
    }
}

/// Whether and how the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all.
    Off,
    /// Where the server can, whoever it is.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, and the server proves its name.
    Verify {
        /// PEM of the authorities that may vouch for it; the public ones by default.
        authority: Option<String>,
    },
}

/// A parsed connection URL. It holds the password, therefore it has no `Debug`.
#[derive(Clone)]
pub struct Target {
    /// Host, user, database and so on.
    pub config: Config,
    /// How TLS is done when it is done.
    pub tls: rustls::ClientConfig,
}

impl Target {
    /// Understands a URL. What it says itself (`connect_timeout`, `application_name`, …) goes
    /// before our values.
    ///
    /// # Errors
    /// [`InvalidUrl`], which repeats nothing of it.
    pub fn parse(
        url: &SecretString,
        connect_timeout: Duration,
        application_name: &str,
    ) -> Result<Self, InvalidUrl> {
        // By hand: a URL without a host, for a Unix socket, is none to the crate `url`.
        let (base, parameters) = url
            .expose_secret()
            .split_once('?')
            .unwrap_or((url.expose_secret(), ""));
        let (mut mode, mut root_file, mut kept) = ("prefer", None, Vec::new());
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", "system")) => {}
                Some(("sslrootcert", value)) => root_file = Some(decode(value)),
                _ => kept.push(parameter),
            }
        }
        let text = if kept.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", kept.join("&"))
        };
        let mut config: Config = text
            .parse()
            .map_err(|_| InvalidUrl("it is no PostgreSQL URL"))?;
        let (ssl_mode, verify) = match mode {
            "disable" => (SslMode::Disable, false),
            "allow" | "prefer" => (SslMode::Prefer, false),
            "require" => (SslMode::Require, root_file.is_some()),
            "verify-ca" | "verify-full" => (SslMode::Require, true),
            _ => {
                return Err(InvalidUrl(
                    "its sslmode is none of disable, prefer, require, verify-ca, verify-full",
                ));
            }
        };
        config.ssl_mode(ssl_mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(NETWORK_TIMEOUT);
        }
        if config.get_keepalives_idle() == DEFAULT_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(InvalidUrl("it names no host"));
        }
        Ok(Self {
            config,
            tls: tls::client_config(
                verify.then_some(root_file.as_deref().map_or(Roots::Public, Roots::File)),
            )?,
        })
    }

    /// A target whose parts are known; our own values fill what they leave open.
    ///
    /// # Errors
    /// [`InvalidUrl`] for a PEM text without a certificate.
    pub fn new(mut config: Config, encryption: &Encryption) -> Result<Self, InvalidUrl> {
        config.ssl_mode(match encryption {
            Encryption::Off => SslMode::Disable,
            Encryption::Prefer => SslMode::Prefer,
            Encryption::Require | Encryption::Verify { .. } => SslMode::Require,
        });
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(NETWORK_TIMEOUT);
        }
        if config.get_keepalives_idle() == DEFAULT_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        let roots = match encryption {
            Encryption::Verify { authority: None } => Some(Roots::Public),
            Encryption::Verify {
                authority: Some(pem),
            } => Some(Roots::Pem(pem)),
            _ => None,
        };
        Ok(Self {
            config,
            tls: tls::client_config(roots)?,
        })
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(mut self, name: &str) -> Self {
        self.config.dbname(name);
        self
    }

    /// How `tokio-postgres` does TLS.
    #[must_use]
    pub fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.tls.clone())
    }

    /// A connection of its own, beside every pool. It ends when the client is dropped.
    ///
    /// # Errors
    /// What keeps us out.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.listen(|_, _| ()).await
    }

    /// The same, and `told` gets the channel and payload of each notification (`LISTEN`).
    ///
    /// # Errors
    /// What keeps us out.
    pub async fn listen(
        &self,
        mut told: impl FnMut(&str, &str) + Send + 'static,
    ) -> Result<Client, tokio_postgres::Error> {
        let (client, mut connection) = self.config.connect(self.connector()).await?;
        bunbun_core::task::spawn("postgres connection", async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(note)) => told(note.channel(), note.payload()),
                    Ok(_) => {}
                    Err(error) => {
                        let cause = bunbun_core::error::chain(&error);
                        tracing::debug!(cause, "a connection was lost");
                        return;
                    }
                }
            }
        });
        Ok(client)
    }
}

fn decode(value: &str) -> String {
    let pair = format!("={}", value.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(String::new, |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_postgres::config::{Host, SslMode};

    use super::Target;

    fn parse(url: &str) -> Result<Target, super::InvalidUrl> {
        Target::parse(&url.into(), Duration::from_secs(3), "test")
    }

    #[test]
    fn sslmode_is_understood_as_libpq_does() {
        let mode = |url| parse(url).map(|target| target.config.get_ssl_mode()).ok();
        assert_eq!(mode("postgres://u:p@h/d"), Some(SslMode::Prefer));
        assert_eq!(
            mode("postgres://u:p@h/d?sslmode=disable"),
            Some(SslMode::Disable)
        );
        assert_eq!(
            mode("postgres://u:p@h/d?sslmode=verify-full&connect_timeout=2"),
            Some(SslMode::Require)
        );
        assert_eq!(mode("postgres://u:p@h/d?sslmode=maybe"), None);
    }

    #[test]
    fn a_socket_directory_and_a_tcp_host_are_both_hosts() {
        assert!(parse("postgres://u@/d?host=/var/run/postgresql").is_ok());
        assert!(parse("postgres://u@127.0.0.1:5432/d").is_ok());
        assert!(parse("postgres://u@/d").is_err());
    }

    #[test]
    fn what_is_percent_encoded_is_decoded() {
        let parsed = |url| parse(url).expect("a good URL").config;
        let config = parsed("postgres://u:p%40ss@h:5433/d?sslmode=require");
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        let socket = parsed("postgres://u@/d?host=/run/postgres%20ql&port=5544");
        assert_eq!(socket.get_hosts(), [Host::Unix("/run/postgres ql".into())]);
        assert_eq!(socket.get_ports(), [5544]);
    }

    #[test]
    fn what_the_url_says_goes_before_our_values() {
        let parsed = |url| parse(url).expect("a good URL").config;
        let config = parsed("postgres://u@h/d?application_name=mine&connect_timeout=9");
        assert_eq!(config.get_application_name(), Some("mine"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(9)));
        let config = parsed("postgres://u@h/d");
        assert_eq!(config.get_application_name(), Some("test"));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d",
            "postgres://u@h/d?sslmode=hunter2",
            "postgres://u@h/d?sslmode=verify-full&sslrootcert=/nowhere/hunter2",
        ] {
            let Err(error) = parse(url) else {
                panic!("{url} was accepted")
            };
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
        }
    }
}
