//! Listens, and serves connections on one single-threaded runtime per core: a request, its
//! upstream connection and its timers stay on one thread, without locks or wake-ups between cores.
//!
//! One thread accepts and gives each connection to the worker with the fewest: workers that accept
//! for themselves leave a burst of connections to whoever wakes first.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
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
    sync::mpsc,
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

/// How long connections that are silent when the shutdown begins are still listened to.
const GRACE: Duration = Duration::from_millis(500);

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
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the threads on a listening socket.
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
        let (mut threads, mut queues) = (Vec::new(), Vec::new());
        for shard in 0..options.workers.max(1) {
            let (sender, connections) = mpsc::unbounded_channel();
            let open = Arc::new(AtomicUsize::new(0));
            let worker = Worker {
                shard,
                edge: Arc::clone(edge),
                tls: tls.clone(),
                options: options.clone(),
                shutdown: shutdown.clone(),
                open: Arc::clone(&open),
                local_port: address.port(),
            };
            queues.push(Queue { sender, open });
            let run = move || Arc::new(worker).run(connections);
            threads.push(thread(&format!("worker-{shard}"), run)?);
        }
        let acceptor = Acceptor {
            queues,
            max_connections: options.max_connections,
            shutdown: shutdown.clone(),
        };
        threads.push(thread("acceptor", move || acceptor.run(listener))?);
        Ok(Self { address, threads })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the workers have drained; blocks the thread.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// A thread with a runtime of its own.
fn thread<F: Future<Output = ()>>(
    name: &str,
    run: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(64)
        .build()?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            runtime.block_on(run());
            // A name that is being resolved does not keep the process.
            runtime.shutdown_background();
        })
}

/// The acceptor's side of a worker.
struct Queue {
    sender: mpsc::UnboundedSender<(StdStream, SocketAddr)>,
    open: Arc<AtomicUsize>,
}

struct Acceptor {
    queues: Vec<Queue>,
    max_connections: usize,
    shutdown: Shutdown,
}

impl Acceptor {
    async fn run(self, listener: StdListener) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the listening socket cannot be used");
                return;
            }
        };
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.give(stream.into_std(), address),
                    Err(error) => {
                        // Out of descriptors, or a connection that was gone already.
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                () = self.shutdown.begun() => break,
            }
        }
        // Whoever connected before the signal is still served. The kernel knows, while the runtime
        // may not have heard yet.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        let until = Instant::now() + GRACE;
        while Instant::now() < until
            && let Ok((stream, address)) = listener.accept()
        {
            self.give(stream.set_nonblocking(true).map(|()| stream), address);
        }
    }

    /// Gives a connection to the worker with the fewest.
    fn give(&self, stream: io::Result<StdStream>, address: SocketAddr) {
        let load = |queue: &&Queue| queue.open.load(Ordering::Relaxed);
        let all: usize = self.queues.iter().map(|queue| load(&queue)).sum();
        let Some(queue) = self.queues.iter().min_by_key(load) else {
            return;
        };
        let stream = match stream {
            Ok(stream) if all < self.max_connections => stream,
            _ => {
                metrics::counter!("bunbun_connections_refused_total").increment(1);
                return;
            }
        };
        queue.open.fetch_add(1, Ordering::Relaxed);
        if queue.sender.send((stream, address)).is_err() {
            queue.open.fetch_sub(1, Ordering::Relaxed);
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
    /// Serves connections until the acceptor is gone and the last of them has ended.
    async fn run(self: Arc<Self>, mut queue: mpsc::UnboundedReceiver<(StdStream, SocketAddr)>) {
        let connections = TaskTracker::new();
        while let Some((stream, address)) = queue.recv().await {
            match TcpStream::from_std(stream) {
                Ok(stream) => self.serve(stream, address, &connections),
                Err(error) => {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!(%error, "a connection cannot be served");
                }
            }
        }
        connections.close();
        let tunnels = &self.edge.tunnels.open;
        tunnels.close();
        let ends = async {
            connections.wait().await;
            tunnels.wait().await;
        };
        if tokio::time::timeout(self.options.drain_timeout, ends)
            .await
            .is_err()
        {
            tracing::warn!(
                left = connections.len(),
                "requests were still in flight after the drain timeout"
            );
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, connections: &TaskTracker) {
        let this = Arc::clone(self);
        let token = connections.token();
        task::spawn_quiet(async move {
            let _token = token;
            let _counted = Counted::new(Arc::clone(&this.open));
            this.connection(stream, address).await;
        });
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let timeout = self.options.header_timeout;
        if let Some(tls) = &self.tls {
            // Boxed, like what follows, so that an open connection does not keep room for it.
            let accepting = Box::pin(tls.acceptor().accept(stream));
            let Ok(Ok(stream)) = tokio::time::timeout(timeout, accepting).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                Box::pin(self.serve_http2(stream, address)).await;
            } else {
                Box::pin(self.serve_http1(stream, address)).await;
            }
            return;
        }
        let begins = tokio::select! {
            biased;
            begins = begins_http2(&stream, timeout) => begins,
            () = tokio::time::sleep(self.options.keepalive_timeout) => return,
            () = self.grace() => return,
        };
        match begins {
            Ok(true) => Box::pin(self.serve_http2(stream, address)).await,
            Ok(false) => Box::pin(self.serve_http1(stream, address)).await,
            Err(_) => {}
        }
    }

    /// Ends a moment after the shutdown has begun.
    async fn grace(&self) {
        self.shutdown.begun().await;
        tokio::time::sleep(GRACE).await;
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
        let io = CheckedIo::new(io, Arc::clone(&wire), self.options.header_timeout)
            .with_write_timeout(self.edge.config.body_timeout);
        let peer = Arc::new(self.peer(address, Some(Arc::clone(&wire))));
        let edge = Arc::clone(&self.edge);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, peer) = (Arc::clone(&edge), Arc::clone(&peer));
            // Boxed, so that an idle connection does not keep room for a request.
            Box::pin(
                async move { Ok::<_, std::convert::Infallible>(edge.handle(&peer, request).await) },
            )
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
                // First, so that a request that is there already is begun before the drain.
                biased;
                _ = connection.as_mut() => return,
                () = self.shutdown.begun() => break,
                () = tokio::time::sleep(self.options.keepalive_timeout) => {
                    if !wire.take_activity() {
                        break;
                    }
                }
            }
        }
        // A request may be on its way on any open connection. For a moment they are answered, with
        // `Connection: close`; what is silent after that is closed.
        if self.shutdown.has_begun()
            && tokio::time::timeout(GRACE, connection.as_mut())
                .await
                .is_ok()
        {
            return;
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
            Box::pin(
                async move { Ok::<_, std::convert::Infallible>(edge.handle(&peer, request).await) },
            )
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
            biased;
            _ = connection.as_mut() => return,
            () = self.shutdown.begun() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Counts a connection while it lives, however it ends.
struct Counted {
    open: Arc<AtomicUsize>,
    gauge: metrics::Gauge,
}

impl Counted {
    /// The acceptor has counted it in `open` already.
    fn new(open: Arc<AtomicUsize>) -> Self {
        let gauge = crate::metrics::connections();
        gauge.increment(1.0);
        Self { open, gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}

/// Whether the client begins with HTTP/2's preface. Looks without taking.
async fn begins_http2(stream: &TcpStream, timeout: Duration) -> io::Result<bool> {
    let mut first = [0_u8; PREFACE.len()];
    let (mut pause, mut paused) = (Duration::from_millis(1), Duration::ZERO);
    loop {
        let count = stream.peek(&mut first).await?;
        // What is neither after so long gets its refusal as HTTP/1.
        if count == 0 || !PREFACE.starts_with(&first[..count]) || paused > timeout {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // "P" may still become POST; the kernel has no wake-up for "more than this".
        tokio::time::sleep(pause).await;
        paused += pause;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
