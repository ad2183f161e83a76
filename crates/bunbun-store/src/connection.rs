//! How the control plane's database is reached: URL and TLS.
//!
//! `sslmode` means what it means to libpq: `prefer` (the default) and `require` encrypt without
//! checking the certificate, `verify-ca` and `verify-full` check it and the name, against
//! `sslrootcert` or the public roots.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Error;

/// Longest wait for one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence of the network while something sent is unacknowledged.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the database is and how TLS is done. Holds the password, therefore it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) config: Config,
    pub(crate) tls: MakeRustlsConnect,
}

impl Endpoint {
    /// Understands a URL. The error never repeats any of it.
    pub(crate) fn parse(url: &SecretString) -> Result<Self, Error> {
        let invalid = |what: &str| Error::InvalidUrl(what.to_owned());
        // By hand: a URL without a host, for a Unix socket, is none to the crate `url`.
        let (base, query) = url
            .expose_secret()
            .split_once('?')
            .unwrap_or((url.expose_secret(), ""));
        let (mut mode, mut root_file, mut kept) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => root_file = Some(decode(value)),
                _ => kept.push(pair),
            }
        }
        let mut config: Config = [base, &kept.join("&")]
            .join("?")
            .parse()
            .map_err(|_| invalid("it is no PostgreSQL URL"))?;
        let root_file = root_file.filter(|file| file != "system");
        let (ssl_mode, verify) = match mode.unwrap_or("prefer") {
            "disable" => (SslMode::Disable, false),
            "allow" | "prefer" => (SslMode::Prefer, false),
            "require" => (SslMode::Require, root_file.is_some()),
            "verify-ca" | "verify-full" => (SslMode::Require, true),
            _ => return Err(invalid("its sslmode is unknown")),
        };
        config
            .ssl_mode(ssl_mode)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .application_name("bunbun control plane");
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls_client(verify, root_file.as_deref())?),
        })
    }

    /// The same server, another database.
    pub(crate) fn with_database(mut self, name: &str) -> Self {
        self.config.dbname(name);
        self
    }

    /// A connection of its own, beside the pool, that ends when the client is dropped.
    pub(crate) async fn connect(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        bunbun_core::task::spawn("control plane connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
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

fn tls_client(verify: bool, root_file: Option<&str>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unavailable(error.into()))?;
    if !verify {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(EncryptOnly(provider)))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match root_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|_| {
                    Error::InvalidUrl("the file of its sslrootcert cannot be read".to_owned())
                })?;
            roots.add_parsable_certificates(certificates);
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Accepts every certificate: `sslmode=prefer` and `require` protect against listeners only.
#[derive(Debug)]
struct EncryptOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for EncryptOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, SslMode};

    use super::Endpoint;

    #[test]
    fn urls_are_understood_as_libpq_does() {
        let parse = |url: &str| Endpoint::parse(&url.into()).map(|endpoint| endpoint.config);
        let config = parse("postgres://u:p%40ss@h:5433/d?sslmode=verify-full").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        let socket = parse("postgres://u@/d?host=/run/postgres%20ql&port=5544").unwrap();
        assert_eq!(socket.get_hosts(), [Host::Unix("/run/postgres ql".into())]);
        assert_eq!(socket.get_ssl_mode(), SslMode::Prefer);
        assert!(parse("postgres://u@h/d?sslmode=maybe").is_err());
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_it() {
        for url in [
            "hunter2",
            "postgres://u:hunter2@h:port/d",
            "postgres://u@h/d?sslmode=hunter2",
        ] {
            let Err(error) = Endpoint::parse(&url.into()) else {
                panic!("{url} was accepted")
            };
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
        }
    }
}
