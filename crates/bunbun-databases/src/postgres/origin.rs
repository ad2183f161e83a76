//! Where the connections of a pool go: always to the same target, or to a host that is looked up
//! and checked again for each of them.

use std::{net::SocketAddr, sync::Arc};

use bunbun_postgres::Target;
use deadpool::managed::{Manager, Metrics, RecycleResult};
use deadpool_postgres::ClientWrapper;
use futures_util::future::BoxFuture;

use super::error::Error;

/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Looks a host up and checks every address that it has.
pub(crate) type Resolve =
    Box<dyn Fn(String, u16) -> BoxFuture<'static, Result<Vec<SocketAddr>, Error>> + Send + Sync>;

/// Where connections go.
pub(crate) enum Origin {
    /// As the operator says.
    Fixed(Arc<Target>),
    /// As a user says.
    Checked(Box<Checked>),
}

/// Hosts that are looked up for each connection, which then goes to an address that was checked
/// and nowhere else. The name stays what a certificate is checked against.
pub(crate) struct Checked {
    /// Everything but the hosts.
    base: Target,
    hosts: Vec<(String, u16)>,
    resolve: Resolve,
}

impl Checked {
    /// Hosts by name or address and port.
    pub(crate) fn new(
        base: Target,
        hosts: Vec<(String, u16)>,
        resolve: Resolve,
    ) -> Result<Self, Error> {
        if hosts.is_empty() {
            return Err(Error::invalid("The connection names no host."));
        }
        // What has a slash in it is the directory of a socket to PostgreSQL's clients.
        let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '@', ',', '\0']);
        if hosts
            .iter()
            .any(|(name, port)| !is_name(name) || *port == 0)
        {
            return Err(Error::invalid(
                "A host is a name or an address with a port from 1 to 65535; sockets cannot be used.",
            ));
        }
        Ok(Self {
            base,
            hosts,
            resolve,
        })
    }

    async fn target(&self) -> Result<Target, Error> {
        let mut target = self.base.clone();
        let mut missing = None;
        for (name, port) in &self.hosts {
            match (self.resolve)(name.clone(), *port).await {
                Ok(addresses) => {
                    for address in addresses.into_iter().take(MOST_ADDRESSES) {
                        target.config.host(name);
                        target.config.hostaddr(address.ip());
                        target.config.port(address.port());
                    }
                }
                Err(error @ Error::HostNotAllowed(_)) => return Err(error),
                // One that has no address now is one of those that do not answer.
                Err(error) => missing = Some(error),
            }
        }
        match missing {
            Some(error) if target.config.get_hosts().is_empty() => Err(error),
            _ if target.config.get_hosts().is_empty() => {
                Err(Error::unavailable("the host has no address"))
            }
            _ => Ok(target),
        }
    }
}

impl Origin {
    /// Where the next connection goes.
    pub(crate) async fn target(&self) -> Result<Arc<Target>, Error> {
        match self {
            Self::Fixed(target) => Ok(Arc::clone(target)),
            Self::Checked(checked) => checked.target().await.map(Arc::new),
        }
    }
}

/// Opens the `tokio-postgres` clients of a pool.
pub(crate) struct Dialer(pub(crate) Arc<Origin>);

impl Manager for Dialer {
    type Type = ClientWrapper;
    type Error = Error;

    async fn create(&self) -> Result<ClientWrapper, Error> {
        // On the heap: what it takes to connect is large, and part of every caller's future.
        let (client, connection) = Box::pin(async {
            let target = self.0.target().await?;
            let opened = target.config.connect(target.connector()).await;
            opened.map_err(Error::unavailable)
        })
        .await?;
        let task = bunbun_core::task::spawn("pooled postgres connection", async move {
            if let Err(error) = connection.await {
                let cause = bunbun_core::error::chain(&error);
                tracing::debug!(cause, "a connection was lost");
            }
        });
        Ok(ClientWrapper::new(client, task))
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<Error> {
        if client.is_closed() {
            return Err(Error::unavailable("it was closed").into());
        }
        // One round trip per checkout, so that a restart of PostgreSQL goes unnoticed.
        client.simple_query("").await.map_err(Error::unavailable)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, SocketAddr},
        sync::{
            Arc,
            atomic::{AtomicU8, Ordering},
        },
    };

    use bunbun_postgres::{Encryption, Target, tokio_postgres::Config};
    use tokio_postgres::config::Host;

    use super::{Checked, Error, Origin, Resolve};

    fn base() -> Target {
        let mut config = Config::new();
        config.user("u").password("hunter2");
        Target::new(config, &Encryption::Prefer).expect("it needs no certificate")
    }

    /// Answers with another address each time; the third is not allowed.
    fn rebinding() -> Resolve {
        let asked = Arc::new(AtomicU8::new(0));
        Box::new(move |_, port| {
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                if number == 3 {
                    return Err(Error::HostNotAllowed("no".into()));
                }
                let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
                Ok(vec![SocketAddr::new(address, port)])
            })
        })
    }

    #[tokio::test]
    async fn each_connection_goes_to_an_address_that_was_checked_for_it() {
        let hosts = vec![("db.example.com".to_owned(), 5433)];
        let origin = Origin::Checked(Box::new(
            Checked::new(base(), hosts, rebinding()).expect("good"),
        ));
        for number in [1, 2] {
            let target = origin.target().await.expect("allowed");
            let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
            assert_eq!(target.config.get_hostaddrs(), [address]);
            assert_eq!(
                target.config.get_hosts(),
                [Host::Tcp("db.example.com".into())]
            );
            assert_eq!(target.config.get_ports(), [5433]);
        }
        assert!(matches!(
            origin.target().await,
            Err(Error::HostNotAllowed(_))
        ));
    }

    #[test]
    fn sockets_and_lists_are_no_hosts() {
        for name in ["", "/var/run/postgresql", "a/b", "@abstract", "a,b", "a\0"] {
            let hosts = vec![(name.to_owned(), 5432)];
            assert!(Checked::new(base(), hosts, rebinding()).is_err(), "{name}");
        }
        assert!(Checked::new(base(), Vec::new(), rebinding()).is_err());
        assert!(Checked::new(base(), vec![("a".to_owned(), 0)], rebinding()).is_err());
    }
}
