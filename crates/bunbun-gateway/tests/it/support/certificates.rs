//! Certificates, made at run time.

use std::path::{Path, PathBuf};

use bunbun_core::config::TlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A private certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Certificate {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate, to trust it.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its certificate, to trust it.
    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        roots
    }

    /// A certificate for a host.
    pub(crate) fn issue(&self, host: &str) -> Certificate {
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }
}

impl Certificate {
    /// Writes both files, as a renewal does.
    pub(crate) fn write(&self, folder: &Path) -> TlsConfig {
        let path = |name: &str| -> PathBuf { folder.join(name) };
        std::fs::write(path("cert.pem"), &self.chain_pem).expect("written");
        std::fs::write(path("key.pem"), &self.key_pem).expect("written");
        let text = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
        TlsConfig {
            cert_file: text("cert.pem"),
            key_file: text("key.pem"),
        }
    }

    /// A server's TLS settings.
    pub(crate) fn server(&self, protocols: &[&str]) -> rustls::ServerConfig {
        let key = rustls_pemfile::private_key(&mut self.key_pem.as_bytes());
        let key: PrivateKeyDer<'static> = key.expect("PEM").expect("a key");
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .expect("a certificate");
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }
}

/// A client's TLS settings.
pub(crate) fn client_config(authority: &Authority, protocols: &[&str]) -> rustls::ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
