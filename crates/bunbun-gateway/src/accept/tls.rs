//! TLS in from PEM files, which may be replaced while BunBun runs.

use std::{fs, io::BufReader, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use bunbun_core::config::TlsConfig;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct CertificateError {
    path: String,
    problem: String,
}

/// Accepts TLS with the certificate of the moment.
pub struct Tls {
    files: TlsConfig,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be read or used, or they do not belong together.
    pub fn new(files: &TlsConfig) -> Result<Self, CertificateError> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(files)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&current);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(&files.cert_file, error))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files: files.clone(),
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// Reads the files again; connections under way keep their certificate.
    ///
    /// # Errors
    /// As [`Tls::new`]; the certificate of before stays.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.current.0.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// The acceptor.
    #[must_use]
    pub const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// The files, to watch them.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 2] {
        [
            PathBuf::from(&self.files.cert_file),
            PathBuf::from(&self.files.key_file),
        ]
    }
}

fn fault(path: &str, problem: impl std::fmt::Display) -> CertificateError {
    CertificateError {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

fn read(files: &TlsConfig) -> Result<CertifiedKey, CertificateError> {
    let open = |path: &String| {
        fs::File::open(path)
            .map(BufReader::new)
            .map_err(|e| fault(path, e))
    };
    let chain: Vec<CertificateDer<'static>> = rustls_pemfile::certs(&mut open(&files.cert_file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(&files.cert_file, error))?;
    if chain.is_empty() {
        return Err(fault(&files.cert_file, "no certificate in the file"));
    }
    let key: PrivateKeyDer<'static> = rustls_pemfile::private_key(&mut open(&files.key_file)?)
        .map_err(|error| fault(&files.key_file, error))?
        .ok_or_else(|| fault(&files.key_file, "no private key in the file"))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| fault(&files.cert_file, error))
}
