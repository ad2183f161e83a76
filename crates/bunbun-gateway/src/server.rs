//! Listens, and serves connections on one single-threaded runtime per core: a request, its
//! upstream connection and its timers stay on one thread, without locks or wake-ups between cores.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bunbun_core::{shutdown::Shutdown, task};
use http::{HeaderValue, Request};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_util::task::TaskTracker;

use crate::{
    accept::{
        head::MAX_HEADERS,
        io::{CheckedIo, Wire},
        tls::Tls,
    },
    edge::{Edge, Peer},
};

/// What HTTP/2 connections begin with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of client connections.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Threads that serve requests.
    pub workers: usize,
    /// Longest time in which a request's head must arrive.
    pub header_timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive_timeout: Duration,
    /// Longest wait for requests in flight at shutdown.
    pub drain_timeout: Duration,
    /// Most connections at once.
    pub max_connections: usize,
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    workers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the workers on a listening socket.
    ///
    /// # Errors
    /// When a thread, runtime or socket cannot be made.
    pub fn start(
        listener: StdListener,
        tls: Option<Arc<Tls>>,
        edge: &Arc<Edge>,
        options: &ServerOptions,
        shutdown: &Shutdown,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let open = Arc::new(AtomicUsize::new(0));
        let mut workers = Vec::new();
        for shard in 0..options.workers.max(1) {
            let worker = Worker {
                shard,
                edge: Arc::clone(edge),
                tls: tls.clone(),
                options: options.clone(),
                shutdown: shutdown.clone(),
                open: Arc::clone(&open),
                local_port: address.port(),
            };
            let listener = listener.try_clone()?;
            let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(64).build()?;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{shard}"))
                .spawn(move || runtime.block_on(Arc::new(worker).run(listener)))?;
            workers.push(thread);
        }
        Ok(Self { address, workers })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the workers have drained; blocks the thread.
    pub fn join(self) {
        for worker in self.workers {
            let _ = worker.join();
        }
    }
}

struct Worker {
    shard: usize,
    edge: Arc<Edge>,
    tls: Option<Arc<Tls>>,
    options: ServerOptions,
    shutdown: Shutdown,
    open: Arc<AtomicUsize>,
    local_port: u16,
}

impl Worker {
    async fn run(self: Arc<Self>, listener: StdListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the listening socket cannot be used");
                return;
            }
        };
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.accept(stream, address, &connections),
                    Err(error) => {
                        // Out of descriptors, or a connection that was gone already.
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                () = self.shutdown.begun() => break,
            }
        }
        // Whoever connected before the signal is still served.
        while let Ok(Ok((stream, address))) =
            tokio::time::timeout(Duration::from_millis(1), listener.accept()).await
        {
            self.accept(stream, address, &connections);
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(self.options.drain_timeout, connections.wait()).await.is_err() {
            tracing::warn!(left = connections.len(), "requests were still in flight after the drain timeout");
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, connections: &TaskTracker) {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.options.max_connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            metrics::counter!("bunbun_connections_refused_total").increment(1);
            return;
        }
        let this = Arc::clone(self);
        let token = connections.token();
        task::spawn_quiet(async move {
            let _token = token;
            crate::metrics::connections().increment(1.0);
            this.connection(stream, address).await;
            crate::metrics::connections().decrement(1.0);
            this.open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let timeout = self.options.header_timeout;
        if let Some(tls) = &self.tls {
            let Ok(Ok(stream)) = tokio::time::timeout(timeout, tls.acceptor().accept(stream)).await
            else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                Box::pin(self.serve_http2(stream, address)).await;
            } else {
                Box::pin(self.serve_http1(stream, address)).await;
            }
            return;
        }
        match tokio::time::timeout(self.options.keepalive_timeout, begins_http2(&stream)).await {
            Ok(Ok(true)) => Box::pin(self.serve_http2(stream, address)).await,
            Ok(Ok(false)) => Box::pin(self.serve_http1(stream, address)).await,
            _ => {}
        }
    }

    fn peer(&self, address: SocketAddr, wire: Option<Arc<Wire>>) -> Peer {
        let ip = address.ip().to_canonical();
        Peer {
            ip,
            ip_header: HeaderValue::try_from(ip.to_string())
                .expect("an address is digits, letters, dots and colons"),
            trusted: self.edge.is_trusted(ip),
            scheme: if self.tls.is_some() { "https" } else { "http" },
            local_port: self.local_port,
            shard: self.shard,
            wire,
        }
    }

    async fn serve_http1<IO>(&self, io: IO, address: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wire = Arc::new(Wire::default());
        let io = CheckedIo::new(io, Arc::clone(&wire), self.options.header_timeout);
        let peer = Arc::new(self.peer(address, Some(Arc::clone(&wire))));
        let edge = Arc::clone(&self.edge);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, peer) = (Arc::clone(&edge), Arc::clone(&peer));
            // Boxed, so that an idle connection does not keep room for a request.
            Box::pin(async move { Ok::<_, std::convert::Infallible>(edge.handle(&peer, request).await) })
        });
        let connection = http1::Builder::new()
            // No `pipeline_flush`: with it hyper takes in the whole of a body, however slowly the
            // client reads.
            .max_headers(MAX_HEADERS + 1)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = Box::pin(connection);
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = self.shutdown.begun() => break,
                () = tokio::time::sleep(self.options.keepalive_timeout) => {
                    if !wire.take_activity() {
                        break;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn serve_http2<IO>(&self, io: IO, address: SocketAddr)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Arc::new(self.peer(address, None));
        let edge = Arc::clone(&self.edge);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, peer) = (Arc::clone(&edge), Arc::clone(&peer));
            Box::pin(async move { Ok::<_, std::convert::Infallible>(edge.handle(&peer, request).await) })
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(100)
            .max_header_list_size(64 * 1024)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(self.options.keepalive_timeout)
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(TokioIo::new(io), service);
        let mut connection = Box::pin(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.shutdown.begun() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Whether the client begins with HTTP/2's preface. Looks without taking.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0_u8; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || !PREFACE.starts_with(&first[..count]) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // "P" may still become POST; the kernel has no wake-up for "more than this".
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
