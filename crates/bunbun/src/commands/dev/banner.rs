//! What `bunbun dev` says when it is ready: where everything is, and what to try first.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use bunbun_core::config::Config;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::printer::Printer;

/// What a newcomer needs.
#[derive(Debug, Serialize)]
pub(super) struct Banner {
    url: String,
    anon_key: String,
    service_role_key: String,
    dashboard_username: String,
    dashboard_password: String,
    database_url: String,
    data_dir: String,
    secrets_file: String,
    #[serde(skip)]
    public_url: Option<String>,
    #[serde(skip)]
    scheme: &'static str,
}

impl Banner {
    pub(super) fn new(config: &Config, data_dir: &Path, own_cluster: bool) -> Self {
        let text = |secret: Option<&secrecy::SecretString>| {
            secret
                .map(|secret| secret.expose_secret().to_owned())
                .unwrap_or_default()
        };
        let place = if own_cluster {
            data_dir.join("postgres").display().to_string()
        } else {
            "in the PostgreSQL of DATABASE_URL".to_owned()
        };
        let public_url = config.server.public_url.as_ref();
        Self {
            url: String::new(),
            anon_key: text(Some(&config.keys.anon)),
            service_role_key: text(Some(&config.keys.service_role)),
            dashboard_username: config.dashboard.username.clone(),
            dashboard_password: text(config.dashboard.password.as_ref()),
            database_url: text(config.database.url.as_ref()),
            data_dir: place,
            secrets_file: data_dir.join(super::secrets::FILE).display().to_string(),
            public_url: public_url.map(|url| url.as_str().trim_end_matches('/').to_owned()),
            scheme: if config.server.tls.is_some() {
                "https"
            } else {
                "http"
            },
        }
    }

    pub(super) fn print(mut self, address: SocketAddr, printer: &Printer) {
        let local = || format!("{}://{}", self.scheme, reachable(address));
        self.url = self.public_url.clone().unwrap_or_else(local);
        printer.result(&self, || self.text());
    }

    fn text(&self) -> String {
        let Self {
            url,
            service_role_key,
            ..
        } = self;
        let mut text = String::new();
        let rows = [
            ("URL", &self.url),
            ("anon key", &self.anon_key),
            ("service key", &self.service_role_key),
            (
                "dashboard",
                &format!("{} / {}", self.dashboard_username, self.dashboard_password),
            ),
            ("database", &self.database_url),
            ("data", &self.data_dir),
            ("all secrets", &self.secrets_file),
        ];
        let _ = writeln!(text, "\nBunBun is ready.\n");
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<12} {value}");
        }
        let _ = write!(
            text,
            "\nTry:\n\n  curl {url}/api/health\n\n  curl {url}/api/db/query \
             -H 'Authorization: Bearer {service_role_key}' -H 'Content-Type: application/json' \
             -d '{{\"sql\": \"select now()\"}}'\n\n  curl {url}/api/db/tables \
             -H 'apikey: {service_role_key}'\n\nAPI documentation: {url}/api/docs   Ctrl-C stops.\n\n"
        );
        text
    }
}

/// The address as a client on this machine writes it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_listener_on_every_address_is_reached_over_loopback() {
        let shown = |text: &str| super::reachable(text.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:3000"), "127.0.0.1:3000");
        assert_eq!(shown("[::]:3000"), "[::1]:3000");
        assert_eq!(shown("10.0.0.1:3000"), "10.0.0.1:3000");
    }
}
