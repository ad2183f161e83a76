//! Turns host names into addresses.

use std::{io, net::SocketAddr};

use futures_util::future::BoxFuture;

/// Resolves names. Asked again and again: it should not keep answers for longer than they hold.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a host, with the port.
    fn resolve<'r>(
        &'r self,
        host: &'r str,
        port: u16,
    ) -> BoxFuture<'r, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver, which knows `/etc/hosts` and the container network's names.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'r>(
        &'r self,
        host: &'r str,
        port: u16,
    ) -> BoxFuture<'r, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
