//! The way to a server: its name is resolved and checked by the egress guard, and the checked
//! address is what is connected to; then TLS; then a budget of bytes.

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bunbun_core::egress::{Egress, EgressError};
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Bytes that may arrive between two answers. What is larger is not one answer a caller may have.
pub(super) const MAX_REPLY: usize = 64 << 20;

/// Why no connection came about. Cheap to clone: whoever waited for it gets the same answer.
#[derive(Debug, Clone)]
pub(super) enum DialFailure {
    NotAllowed {
        host: String,
        address: Cow<'static, str>,
    },
    Timeout,
    Failed(Arc<dyn std::error::Error + Send + Sync>),
}

/// Where a server is. The name is what its certificate has to carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Anything that carries bytes both ways.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What a line of an answer counts beside its bytes.
const LINE: usize = 16;

/// How many bytes may still arrive.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Budget {
    fn full() -> i64 {
        i64::try_from(MAX_REPLY).unwrap_or(i64::MAX)
    }

    /// A new answer is awaited.
    pub(super) fn refill(&self) {
        self.0.store(Self::full(), Ordering::Relaxed);
    }

    /// Whether the server sent more than it may.
    pub(super) fn exhausted(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }
}

/// A stream that ends with an error when its budget is used up.
pub(super) struct Stream {
    inner: Box<dyn Io>,
    budget: Arc<Budget>,
}

impl Stream {
    pub(super) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }
}

/// Opens a stream to `address` within `limit`.
pub(super) async fn open(
    address: &Address,
    tls: Option<&Arc<ClientConfig>>,
    egress: &Egress,
    limit: Duration,
) -> Result<Stream, DialFailure> {
    timeout(limit, connect(address, tls, egress))
        .await
        .unwrap_or(Err(DialFailure::Timeout))
}

async fn connect(
    address: &Address,
    tls: Option<&Arc<ClientConfig>>,
    egress: &Egress,
) -> Result<Stream, DialFailure> {
    let addresses =
        egress
            .resolve(&address.host, address.port)
            .await
            .map_err(|error| match error {
                EgressError::NotAllowed { host, address } => {
                    DialFailure::NotAllowed { host, address }
                }
                other => DialFailure::Failed(Arc::new(other)),
            })?;
    let tcp = first_of(&addresses).await?;
    let inner: Box<dyn Io> = match tls {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from(address.host.clone()).map_err(failed)?;
            let stream = TlsConnector::from(Arc::clone(config))
                .connect(name, tcp)
                .await
                .map_err(failed)?;
            Box::new(stream)
        }
    };
    Ok(Stream {
        inner,
        budget: Arc::new(Budget(AtomicI64::new(Budget::full()))),
    })
}

/// Tries each address; the last failure counts.
async fn first_of(addresses: &[SocketAddr]) -> Result<TcpStream, DialFailure> {
    let mut last = failed(io::Error::from(io::ErrorKind::NotFound));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(30))
                    .with_interval(Duration::from_secs(10));
                SockRef::from(&stream)
                    .set_tcp_keepalive(&keepalive)
                    .map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> DialFailure {
    DialFailure::Failed(Arc::new(error))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.exhausted() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let read = &buffer.filled()[before..];
        // Each element ends a line, and takes much more here than on the wire.
        let lines = memchr::memchr_iter(b'\n', read).count();
        let spent = read.len().saturating_add(lines.saturating_mul(LINE));
        let spent = i64::try_from(spent).unwrap_or(i64::MAX);
        self.budget.0.fetch_sub(spent, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
