//! Upgraded connections: bytes both ways after 101, until one side closes, both are silent for
//! too long, or BunBun shuts down.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bunbun_core::{shutdown::Shutdown, task};
use bunbun_http::context::Upgrading;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::task::TaskTracker;

use crate::upstream::http1::Connection;

/// Bytes in flight per direction: small, since tunnels are many and mostly silent.
const BUFFER: usize = 4096;

/// How long a tunnel that BunBun ends waits for its peers to end it, too.
const LINGER: Duration = Duration::from_secs(1);

/// What tunnels are told of the server's end, and tell it.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// Ends them.
    pub(crate) shutdown: Shutdown,
    /// Knows when the last one has ended.
    pub(crate) open: TaskTracker,
}

impl Ends {
    /// For a service in this process that takes a connection over.
    pub(crate) fn lend(&self) -> Upgrading {
        Upgrading {
            shutdown: self.shutdown.clone(),
            open: Arc::new(self.open.token()),
        }
    }
}

/// Runs a tunnel in the background. `lease` is kept until its end.
pub(crate) fn open(
    client: OnUpgrade,
    upstream: Box<Connection>,
    idle_timeout: Duration,
    ends: Ends,
    lease: impl Send + 'static,
) {
    let Ends { shutdown, open } = ends;
    task::spawn_quiet(open.track_future(async move {
        let _lease = lease;
        let Ok(client) = client.await else {
            tracing::debug!("a tunnel's client went away before it was open");
            return;
        };
        metrics::gauge!("bunbun_tunnels_open").increment(1.0);
        run(client, upstream, idle_timeout, &shutdown).await;
        metrics::gauge!("bunbun_tunnels_open").decrement(1.0);
    }));
}

async fn run(
    client: Upgraded,
    upstream: Box<Connection>,
    idle_timeout: Duration,
    shutdown: &Shutdown,
) {
    let moved = Arc::new(AtomicBool::new(true));
    let mut client = Watched {
        io: TokioIo::new(client),
        moved: Arc::clone(&moved),
    };
    let mut upstream = Watched {
        io: upstream,
        moved: Arc::clone(&moved),
    };
    {
        let copying =
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
        let mut copying = std::pin::pin!(copying);
        loop {
            tokio::select! {
                _ = &mut copying => return,
                () = shutdown.begun() => break,
                () = tokio::time::sleep(idle_timeout) => {
                    if !moved.swap(false, Ordering::Relaxed) {
                        break;
                    }
                }
            }
        }
    }
    // An orderly end for both sides: what was sent arrives, then the stream ends. What they still
    // send is read, since unread bytes would make the kernel reset the connection.
    let ending = async { tokio::join!(end(&mut client), end(&mut upstream)) };
    let _ = tokio::time::timeout(LINGER, ending).await;
}

async fn end(side: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = side.shutdown().await;
    let _ = tokio::io::copy(side, &mut tokio::io::sink()).await;
}

/// Notes that bytes move.
struct Watched<IO> {
    io: IO,
    moved: Arc<AtomicBool>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.moved.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
