//! HTTP/2 at both ends, by hyper: an origin, and a client that blocks.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bunbun_core::{shutdown::Shutdown, task};
use bunbun_http::{Body, body};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpStream, runtime::Runtime, sync::Notify};

use super::PATIENCE;

/// A server of HTTP/2 in the clear, or of what ALPN says over TLS.
pub(crate) struct HyperOrigin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    goodbye: Arc<Notify>,
    shutdown: Shutdown,
}

impl HyperOrigin {
    /// Starts it. At most `streams` requests are under way on a connection.
    pub(crate) fn start<F, A>(tls: Option<rustls::ServerConfig>, streams: u32, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let runtime = runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let origin = Self {
            address: listener.local_addr().expect("an address"),
            connections: Arc::default(),
            requests: Arc::default(),
            goodbye: Arc::default(),
            shutdown: Shutdown::new(),
        };
        let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let (connections, requests) = (
            Arc::clone(&origin.connections),
            Arc::clone(&origin.requests),
        );
        let (goodbye, shutdown) = (Arc::clone(&origin.goodbye), origin.shutdown.clone());
        let answer = Arc::new(move |request: Request<Incoming>| {
            requests.fetch_add(1, Ordering::AcqRel);
            answer(request)
        });
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::AcqRel);
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let goodbye = Arc::clone(&goodbye);
                task::spawn_quiet(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, streams, answer, goodbye).await;
                            }
                        }
                        None => serve(stream, streams, answer, goodbye).await,
                    }
                });
            }
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accepting => {}
                    () = shutdown.begun() => {}
                }
            });
        });
        origin
    }

    /// Answers each request with its method, target and version, and its body's length.
    pub(crate) fn echo(tls: Option<rustls::ServerConfig>, streams: u32) -> Self {
        Self::start(tls, streams, |request| async move {
            let (parts, body) = request.into_parts();
            let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
            let target = parts
                .uri
                .path_and_query()
                .map_or("", |target| target.as_str());
            let authority = parts
                .uri
                .authority()
                .map_or("", |authority| authority.as_str());
            let text = format!(
                "{} {target} {authority} {:?} {length}",
                parts.method, parts.version
            );
            Response::new(body::full(text))
        })
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// How many requests reached it.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    /// Ends all connections in an orderly way, as a server that is about to be replaced does.
    pub(crate) fn say_goodbye(&self) {
        self.goodbye.notify_waiters();
    }
}

impl Drop for HyperOrigin {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

async fn serve<F, A>(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    streams: u32,
    answer: Arc<F>,
    goodbye: Arc<Notify>,
) where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answering = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answering.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = goodbye.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// An answer that came over HTTP/2, with its trailers; its body is an error where it broke off.
pub(crate) struct Http2Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Result<Bytes, hyper::Error>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().expect("a whole body")).expect("text")
    }
}

/// A client's HTTP/2 connection.
pub(crate) struct Http2Client {
    runtime: Runtime,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Http2Client {
    /// Connects in the clear, by prior knowledge.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            handshake(stream).await
        });
        Self { runtime, sender }
    }

    /// Connects over TLS, and has to be offered HTTP/2.
    pub(crate) fn connect_tls(
        address: SocketAddr,
        host: &str,
        config: rustls::ClientConfig,
    ) -> Self {
        let runtime = runtime();
        let host = rustls::pki_types::ServerName::try_from(host.to_owned()).expect("a host");
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector.connect(host, stream).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            handshake(stream).await
        });
        Self { runtime, sender }
    }

    /// Sends requests, all at once, and waits for all answers; `None` where there was none.
    pub(crate) fn send_all(&self, requests: Vec<Request<Full<Bytes>>>) -> Vec<Option<Http2Answer>> {
        let answering = requests.into_iter().map(|mut request| {
            *request.version_mut() = Version::HTTP_2;
            let mut sender = self.sender.clone();
            async move {
                let response = sender.send_request(request).await.ok()?;
                let (parts, body) = response.into_parts();
                let collected = body.collect().await;
                let trailers = collected.as_ref().ok().and_then(|c| c.trailers().cloned());
                Some(Http2Answer {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body: collected.map(http_body_util::Collected::to_bytes),
                    trailers,
                })
            }
        });
        let all = async { tokio::time::timeout(PATIENCE, join_all(answering)).await };
        self.runtime.block_on(all).expect("answers in time")
    }

    /// Sends one request, which has to be answered.
    #[track_caller]
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Http2Answer {
        self.send_all(vec![request]).remove(0).expect("an answer")
    }

    /// A `GET`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Http2Answer {
        self.send(get(path))
    }
}

/// A `GET` for an HTTP/2 client.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://gateway.test{path}");
    Request::builder()
        .uri(uri)
        .body(Full::default())
        .expect("a request")
}

async fn handshake(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> http2::SendRequest<Full<Bytes>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io))
        .await
        .expect("an HTTP/2 handshake");
    task::spawn_quiet(connection);
    sender
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}
