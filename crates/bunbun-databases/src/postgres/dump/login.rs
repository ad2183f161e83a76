//! A connection URL as the environment that libpq reads, and as a driver's connection beside the
//! pool.

use std::{ffi::OsString, net::IpAddr, path::Path, time::Duration};

use bunbun_postgres::Target;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{
    Client,
    config::{Host, SslMode},
};

use super::error::Error;

/// Longest wait for one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// As which session we appear in `pg_stat_activity`.
const APPLICATION_NAME: &str = "bunbun backups";

/// Where OpenSSL's users find the public roots, by distribution. libpq before 16 has no default.
const PUBLIC_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How a server is reached and as whom. Holds the password, therefore it has no `Debug`.
pub(super) struct Login {
    target: Target,
    ssl_mode: String,
    root_file: Option<String>,
}

impl Login {
    pub(super) fn parse(url: &SecretString) -> Result<Self, Error> {
        let target = Target::parse(url, CONNECT_TIMEOUT, APPLICATION_NAME)
            .map_err(super::super::Error::from)?;
        let query = url
            .expose_secret()
            .split_once('?')
            .map_or("", |(_, query)| query);
        let query = query.replace('+', "%2B");
        let (mut ssl_mode, mut root_file) = ("prefer".to_owned(), None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => ssl_mode = value.into_owned(),
                "sslrootcert" => root_file = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(Self {
            target,
            ssl_mode,
            root_file,
        })
    }

    /// A connection of its own to a database of the server; without a name, to the URL's.
    pub(super) async fn connect(
        &self,
        database: Option<&str>,
    ) -> Result<Client, tokio_postgres::Error> {
        match database {
            Some(name) => self.target.clone().with_database(name).connect().await,
            None => self.target.connect().await,
        }
    }

    /// What libpq reads, for a child whose environment is otherwise empty.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let config = &self.target.config;
        let list = |items: Vec<String>| OsString::from(items.join(","));
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("LC_ALL", "C".into()),
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("PGAPPNAME", APPLICATION_NAME.into()),
            (
                "PGCONNECT_TIMEOUT",
                CONNECT_TIMEOUT.as_secs().to_string().into(),
            ),
            ("PGGSSENCMODE", "disable".into()),
            ("PGSSLMODE", OsString::from(&self.ssl_mode)),
        ];
        if !config.get_hosts().is_empty() {
            let hosts = config.get_hosts().iter().map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.to_string_lossy().into_owned(),
            });
            environment.push(("PGHOST", list(hosts.collect())));
        }
        if !config.get_hostaddrs().is_empty() {
            let addresses = config.get_hostaddrs().iter().map(IpAddr::to_string);
            environment.push(("PGHOSTADDR", list(addresses.collect())));
        }
        if !config.get_ports().is_empty() {
            let ports = config.get_ports().iter().map(u16::to_string);
            environment.push(("PGPORT", list(ports.collect())));
        }
        if let Some(user) = config.get_user() {
            environment.push(("PGUSER", user.into()));
        }
        if let Some(password) = config.get_password() {
            let password = String::from_utf8_lossy(password).into_owned();
            environment.push(("PGPASSWORD", password.into()));
        }
        if let Some(options) = config.get_options() {
            environment.push(("PGOPTIONS", options.into()));
        }
        if let Some(file) = self.root_file() {
            environment.push(("PGSSLROOTCERT", file.into()));
        }
        environment
    }

    /// The `dbname` to pass as an argument: a connection string, because a bare name with `=` in
    /// it or a URL's beginning would be taken for one.
    pub(super) fn argument(&self, database: Option<&str>) -> String {
        let name = database.or(self.target.config.get_dbname());
        let name = name.or(self.target.config.get_user()).unwrap_or_default();
        let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
        format!("--dbname=dbname='{escaped}'")
    }

    /// What must not be seen in messages.
    pub(super) fn private_words(&self) -> Vec<String> {
        let config = &self.target.config;
        let mut words: Vec<String> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.to_string_lossy().into_owned(),
            })
            .chain(config.get_hostaddrs().iter().map(IpAddr::to_string))
            .chain(
                config
                    .get_password()
                    .map(|p| String::from_utf8_lossy(p).into_owned()),
            )
            .filter(|word| !word.is_empty())
            .collect();
        // The longest first, so that no part of one stays behind.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words
    }

    fn root_file(&self) -> Option<String> {
        let verifies = self.target.config.get_ssl_mode() == SslMode::Require
            && self.ssl_mode.starts_with("verify");
        match self.root_file.as_deref() {
            Some(file) if file != "system" => Some(file.to_owned()),
            // The driver's public roots are compiled in; libpq needs a file.
            _ if verifies => PUBLIC_ROOTS
                .into_iter()
                .find(|file| Path::new(file).is_file())
                .map(str::to_owned),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Login;

    fn login(url: &str) -> Login {
        Login::parse(&url.into()).expect("a URL")
    }

    #[test]
    fn the_password_is_in_the_environment_and_not_in_the_arguments() {
        let login = login("postgres://u:hunter2@db.internal:5433/shop?sslmode=require");
        let environment = login.environment();
        let value = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        assert_eq!(value("PGPASSWORD").as_deref(), Some("hunter2"));
        assert_eq!(value("PGHOST").as_deref(), Some("db.internal"));
        assert_eq!(value("PGPORT").as_deref(), Some("5433"));
        assert_eq!(value("PGSSLMODE").as_deref(), Some("require"));
        assert_eq!(login.argument(None), "--dbname=dbname='shop'");
        assert!(login.private_words().contains(&"hunter2".to_owned()));
    }

    #[test]
    fn hostile_database_names_stay_names() {
        let login = login("postgres://u@h/d");
        assert_eq!(
            login.argument(Some(r"x' host='evil\")),
            r"--dbname=dbname='x\' host=\'evil\\'"
        );
        assert_eq!(
            login.argument(Some("postgres://evil/d")),
            "--dbname=dbname='postgres://evil/d'"
        );
    }
}
