//! A SOCKS5 relay (RFC 1928, 1929) inside the process, through which the driver reaches a server
//! whose *name* it needs, for TLS, while the *address* must be one that was checked.
//!
//! The driver resolves names itself, at every connection. Through a proxy it does not: it hands
//! the name over, the relay has it checked ([`Egress`]) and connects to what was checked. It
//! serves one host and port only, and only those who know its random password.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bunbun_core::{egress::Egress, secret, task};
use mongodb::options::Socks5Proxy;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

/// What a relay needs to know of each connection.
struct Job {
    egress: Egress,
    host: String,
    port: u16,
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
        connect_timeout: Duration,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let job = Arc::new(Job {
            egress: egress.clone(),
            host: host.to_owned(),
            port,
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

async fn serve(mut client: TcpStream, job: &Job) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (host, port) = timeout(job.connect_timeout, greet(&mut client, job))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    // The driver may write an address in another way than we do; names it lower-cases.
    if !host.eq_ignore_ascii_case(&job.host) || port != job.port {
        reply(&mut client, 0x02).await?;
        return Err(io::Error::other("another host was asked for"));
    }
    let mut server = match job
        .egress
        .connect(&job.host, job.port, job.connect_timeout)
        .await
    {
        Ok(server) => server,
        Err(error) => {
            reply(&mut client, 0x04).await?;
            return Err(io::Error::other(error));
        }
    };
    reply(&mut client, 0x00).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The handshake, up to the host and port that are asked for.
async fn greet(client: &mut TcpStream, job: &Job) -> io::Result<(String, u16)> {
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
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(client).await?).to_string(),
        4 => std::net::Ipv6Addr::from(read::<16>(client).await?).to_string(),
        3 => {
            let [length] = read::<1>(client).await?;
            text(client, length).await?
        }
        _ => return Err(refused()),
    };
    Ok((host, u16::from_be_bytes(read::<2>(client).await?)))
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
