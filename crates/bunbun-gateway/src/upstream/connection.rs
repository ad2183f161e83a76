//! Opens connections to upstreams: TCP, TLS, and the HTTP handshake.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bunbun_core::task;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http1::{self, Io};
use crate::body::EdgeBody;

/// A URL's scheme and host: what is the same for all of its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) protocol: Protocol,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host[:port]`, as the upstream sees it in `Host`.
    pub(crate) authority: http::HeaderValue,
    /// The path of the URL without its final slash, put before each request's.
    pub(crate) base_path: String,
}

/// How to speak to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/2 in the clear, by prior knowledge.
    H2c,
    /// TLS; HTTP/2 where the upstream offers it.
    Https,
}

/// A connection that takes requests.
pub(crate) enum Sender {
    Http1(Box<http1::Connection>),
    Http2(http2::SendRequest<EdgeBody>),
}

impl Sender {
    pub(crate) fn is_closed(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Whether the kernel knows that it is closed.
    pub(crate) fn is_closed_now(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_closed_now(),
            // Its driver looks, and the upstream says what it has not begun with.
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// TLS settings for upstreams, with and without HTTP/2.
pub(crate) struct Tls {
    any: TlsConnector,
    http1: TlsConnector,
}

impl Tls {
    /// Trusts the certificate authorities of a PEM text, or the public ones.
    pub(crate) fn new(ca_pem: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca_pem {
            Some(mut pem) => {
                for certificate in rustls_pemfile::certs(&mut pem) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
                if roots.is_empty() {
                    return Err("no certificate in the file".to_owned());
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let config = |alpn: &[&[u8]]| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok::<_, String>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            any: config(&[b"h2", b"http/1.1"])?,
            http1: config(&[b"http/1.1"])?,
        })
    }
}

/// Why no connection came about. None of these has sent anything of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("connecting took longer than {0:?}")]
    Timeout(Duration),
    #[error("connection failed")]
    Tcp(#[source] std::io::Error),
    #[error("TLS handshake failed")]
    Tls(#[source] std::io::Error),
    #[error("HTTP handshake failed")]
    Http(#[source] hyper::Error),
}

/// Opens a connection and leaves its driver running on this thread's runtime.
pub(crate) async fn connect(
    address: SocketAddr,
    origin: &Origin,
    tls: Option<&Tls>,
    http1_only: bool,
    timeout: Duration,
) -> Result<Sender, ConnectError> {
    let opening = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(ConnectError::Tcp)?;
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        match origin.protocol {
            Protocol::Http => Ok(http1(Io::Tcp(stream))),
            Protocol::H2c if http1_only => Ok(http1(Io::Tcp(stream))),
            Protocol::H2c => handshake_http2(TokioIo::new(stream)).await,
            Protocol::Https => {
                let host = origin.host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host)
                    .map_err(|error| ConnectError::Tls(std::io::Error::other(error)))?;
                let tls = tls.ok_or_else(|| ConnectError::Tls(std::io::Error::other("no TLS")))?;
                let connector = if http1_only { &tls.http1 } else { &tls.any };
                let stream = connector
                    .connect(name, stream)
                    .await
                    .map_err(ConnectError::Tls)?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    handshake_http2(TokioIo::new(stream)).await
                } else {
                    Ok(http1(Io::Tls(Box::new(stream))))
                }
            }
        }
    };
    tokio::time::timeout(timeout, opening)
        .await
        .map_err(|_| ConnectError::Timeout(timeout))?
}

fn http1(io: Io) -> Sender {
    Sender::Http1(Box::new(http1::Connection::new(io)))
}

async fn handshake_http2<IO>(io: IO) -> Result<Sender, ConnectError>
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        // One until the upstream has said how many it takes: more would be refused.
        .initial_max_send_streams(1)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(io)
        .await
        .map_err(ConnectError::Http)?;
    task::spawn_quiet(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender))
}
