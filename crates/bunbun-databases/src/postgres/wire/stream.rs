//! The byte stream under a connection: TCP, a Unix socket, or TLS on TCP.

use std::{io, mem::MaybeUninit};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::client::TlsStream;

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost on its way to another reactor.
    Gone,
}

impl Stream {
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await,
            Self::Unix(stream) => stream.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Moves the socket to the reactor of the current runtime, so that its events wake this
    /// thread and no other. TLS keeps its place: it works from anywhere, only slower.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
            other => other,
        };
        Ok(())
    }

    /// Looks at what has arrived in the socket, without taking it and without waiting. tokio's own
    /// `try_read` would only look at what its reactor has seen already.
    pub(super) fn peek(&self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(buffer),
            Self::Unix(stream) => SockRef::from(stream).peek(buffer),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0).peek(buffer),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
