//! A connection URL, understood: where PostgreSQL is, as whom we come, and how TLS is done.
//!
//! `sslmode` means what it means to libpq: `disable`, `prefer` (the default: TLS when the server
//! has it), `require` (TLS, certificate unchecked unless `sslrootcert` is given), `verify-ca` and
//! `verify-full` (certificate and name checked, against `sslrootcert` or the public roots).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Config, SslMode};

use super::{error::Error, tls};

/// A parsed connection URL. It holds the password, therefore it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Target {
    /// Host, user, database and so on.
    pub(crate) config: Config,
    /// How TLS is done when it is done.
    pub(crate) tls: rustls::ClientConfig,
}

impl Target {
    /// Understands a URL. The error never repeats any of it.
    pub(crate) fn parse(
        url: &SecretString,
        connect_timeout: Duration,
        application_name: &str,
    ) -> Result<Self, Error> {
        let (base, parameters) = match url.expose_secret().split_once('?') {
            Some((base, parameters)) => (base, parameters),
            None => (url.expose_secret(), ""),
        };
        let mut kept = Vec::new();
        let mut mode = "prefer".to_owned();
        let mut root_file = None;
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => value.clone_into(&mut mode),
                Some(("sslrootcert", value)) if value != "system" => {
                    root_file = Some(decode(value)?);
                }
                Some(("sslrootcert", _)) => {}
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
            .map_err(|_| Error::invalid("The database URL cannot be understood."))?;
        let (ssl_mode, verify) = match mode.as_str() {
            "disable" => (SslMode::Disable, false),
            "allow" | "prefer" => (SslMode::Prefer, false),
            "require" => (SslMode::Require, root_file.is_some()),
            "verify-ca" | "verify-full" => (SslMode::Require, true),
            _ => {
                return Err(Error::invalid(
                    "The database URL's sslmode is none of disable, prefer, require, verify-ca, verify-full.",
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
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::invalid("The database URL names no host."));
        }
        Ok(Self {
            config,
            tls: tls::client_config(verify, root_file.as_deref())?,
        })
    }
}

fn decode(value: &str) -> Result<String, Error> {
    url::form_urlencoded::parse(format!("v={}", value.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .ok_or_else(|| Error::invalid("The database URL's sslrootcert is empty."))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_postgres::config::SslMode;

    use super::Target;

    fn parse(url: &str) -> Result<Target, super::Error> {
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
    fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d",
        ] {
            let Err(error) = parse(url) else {
                panic!("{url} was accepted")
            };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
