//! A SOCKS5 relay (RFC 1928, 1929) inside the process, through which the driver reaches its server.
//!
//! The driver is never let loose on the network: it would resolve names itself, at every connection,
//! and read whatever it is sent. Through a proxy it hands the name over, and all it reaches is the
//! relay's one host. At each connection the relay has that host checked ([`Egress`]), connects to
//! what was checked, speaks TLS with it where that is wanted, and looks at each message
//! ([`super::frames`]). Only those who know its random password are served.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bunbun_core::{egress::Egress, secret, task};
use mongodb::options::Socks5Proxy;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::frames::{Awaited, forward_answers, forward_requests};

/// What a relay needs to know of each connection.
struct Job {
    egress: Egress,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    user: String,
    password: String,
    connect_timeout: Duration,
}

/// A listening relay; gone when it is dropped.
pub(super) struct Relay {
    address: SocketAddr,
    job: Arc<Job>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Listens for connections to this host and port.
    pub(super) async fn start(
        egress: &Egress,
        host: &str,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
        connect_timeout: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let job = Arc::new(Job {
            egress: egress.clone(),
            host: host.to_owned(),
            port,
            tls,
            user: secret::random_text(16),
            password: secret::random_text(32),
            connect_timeout,
        });
        let task = task::spawn("mongodb relay", accept(listener, Arc::clone(&job)));
        Ok(Self { address, job, task })
    }

    /// What the driver's options need.
    pub(super) fn proxy(&self) -> Socks5Proxy {
        Socks5Proxy::builder()
            .host(self.address.ip().to_string())
            .port(self.address.port())
            .authentication((self.job.user.clone(), self.job.password.clone()))
            .build()
    }
}

async fn accept(listener: TcpListener, job: Arc<Job>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let job = Arc::clone(&job);
                    connections.spawn(async move {
                        if let Err(error) = serve(stream, &job).await {
                            tracing::debug!(%error, "a MongoDB connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the MongoDB relay cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut driver: TcpStream, job: &Job) -> io::Result<()> {
    driver.set_nodelay(true)?;
    timeout(job.connect_timeout, greet(&mut driver, job))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let server = job
        .egress
        .connect(&job.host, job.port, job.connect_timeout)
        .await
        .map_err(io::Error::other);
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            reply(&mut driver, 0x04).await?;
            return Err(error);
        }
    };
    let Some(tls) = &job.tls else {
        reply(&mut driver, 0x00).await?;
        return talk(driver, server).await;
    };
    match timeout(job.connect_timeout, secured(server, tls, &job.host)).await {
        Ok(Ok(server)) => {
            reply(&mut driver, 0x00).await?;
            talk(driver, server).await
        }
        failed => {
            reply(&mut driver, 0x05).await?;
            failed.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
        }
    }
}

async fn secured(
    server: TcpStream,
    tls: &Arc<ClientConfig>,
    host: &str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls))
        .connect(name, server)
        .await
}

/// Hands messages on in both directions, until one side ends.
async fn talk(driver: TcpStream, server: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let awaited = Awaited::default();
    let (from_driver, to_driver) = driver.into_split();
    let (from_server, to_server) = split(server);
    tokio::select! {
        ended = forward_requests(from_driver, to_server, &awaited) => ended,
        ended = forward_answers(from_server, to_driver, &awaited) => ended,
    }
}

/// The handshake, up to the host and port that are asked for; there is only one that can be had.
async fn greet(client: &mut TcpStream, job: &Job) -> io::Result<()> {
    let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
    let [version, count] = read::<2>(client).await?;
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods).await?;
    if version != 5 || !methods.contains(&0x02) {
        client.write_all(&[5, 0xFF]).await?;
        return Err(refused());
    }
    client.write_all(&[5, 0x02]).await?;
    let [1, length] = read::<2>(client).await? else {
        return Err(refused());
    };
    let user = text(client, length).await?;
    let [length] = read::<1>(client).await?;
    let password = text(client, length).await?;
    let is_ours = secret::equal(user.as_bytes(), job.user.as_bytes())
        & secret::equal(password.as_bytes(), job.password.as_bytes());
    client.write_all(&[1, u8::from(!is_ours)]).await?;
    if !is_ours {
        return Err(refused());
    }
    let [5, 1, _, kind] = read::<4>(client).await? else {
        return Err(refused());
    };
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => read::<1>(client).await?[0].into(),
        _ => return Err(refused()),
    };
    let mut host_and_port = vec![0; length + 2];
    client.read_exact(&mut host_and_port).await?;
    Ok(())
}

async fn read<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(client: &mut TcpStream, length: u8) -> io::Result<String> {
    let mut bytes = vec![0; length.into()];
    client.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The answer to a request; no address is told.
async fn reply(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}
