//! The guard of every host that a user supplies: which addresses this process may be sent to
//! (server-side request forgery, OWASP A10).
//!
//! A name is resolved once, *every* address of it has to pass, and the caller connects to the
//! addresses that were checked, never to the name: whoever resolves it a second time can be given
//! another answer. Reconnecting means calling [`Egress::resolve`] again.

mod rule;
mod special;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::net::TcpStream;

pub use rule::{EgressRule, InvalidEgressRule};

use crate::{Classify, Code};

/// Longest wait for the system's resolver.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer of a [`Resolve`].
pub type Resolved = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Turns a name into addresses.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of a name. It is neither an address nor a spelling of one.
    fn resolve(&self, name: &str, port: u16) -> Resolved;
}

/// The system's resolver.
struct System;

impl Resolve for System {
    fn resolve(&self, name: &str, port: u16) -> Resolved {
        let name = name.to_owned();
        Box::pin(async move {
            let lookup = tokio::net::lookup_host((name.as_str(), port));
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup)
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(found.collect())
        })
    }
}

/// Decides where connections may lead. Clones share the rules.
#[derive(Clone)]
pub struct Egress {
    rules: Arc<[EgressRule]>,
    resolver: Arc<dyn Resolve>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Egress").field(&self.rules).finish()
    }
}

/// Why there is no address to connect to. The public wording does not tell what was found, so that
/// nobody learns about a network by asking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The host is, or leads to, an address that is not allowed.
    #[error("'{host}' leads to {address}, which EGRESS_ALLOW does not have")]
    NotAllowed {
        /// The host as it was given.
        host: String,
        /// The address, or what else is wrong with it.
        address: Cow<'static, str>,
    },
    /// The name has no address.
    #[error("'{host}' cannot be resolved")]
    Unresolved {
        /// The host as it was given.
        host: String,
        /// What the resolver said.
        #[source]
        source: Option<io::Error>,
    },
    /// None of the addresses can be reached.
    #[error("'{host}' cannot be reached")]
    Unreachable {
        /// The host as it was given.
        host: String,
        /// What the last attempt ended with.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Classify for EgressError {
    fn code(&self) -> Code {
        match self {
            Self::NotAllowed { .. } => Code::HostNotAllowed,
            Self::Unresolved { .. } | Self::Unreachable { .. } => Code::ConnectionFailed,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::NotAllowed { .. } => NOT_ALLOWED.into(),
            // One sentence for both: which names exist is nobody's business.
            Self::Unresolved { .. } | Self::Unreachable { .. } => {
                "The host cannot be reached.".into()
            }
        })
    }
}

/// What is told of every host that is refused.
const NOT_ALLOWED: &str = "This installation does not connect to that host. It must be a public name \
                           or address; the operator may allow others by EGRESS_ALLOW.";

impl Egress {
    /// Lets public addresses pass, and private or special ones only where a rule has them.
    #[must_use]
    pub fn new(allow: &[EgressRule]) -> Self {
        Self::with_resolver(allow, Arc::new(System))
    }

    /// As [`Egress::new`], with another resolver than the system's.
    #[must_use]
    pub fn with_resolver(allow: &[EgressRule], resolver: Arc<dyn Resolve>) -> Self {
        Self {
            rules: allow.into(),
            resolver,
        }
    }

    /// The addresses of a host, all of them checked: connect to these. `host` is a name, an IPv4
    /// address as four decimal numbers, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`] where one address is not allowed, or for other spellings of
    /// addresses; [`EgressError::Unresolved`].
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, EgressError> {
        let name = match understand(host)? {
            Spelled::Address(address) => {
                let address = SocketAddr::new(address, port);
                self.check(host, &[address])?;
                return Ok(vec![address]);
            }
            Spelled::Name(name) => name,
        };
        let unresolved = |source| EgressError::Unresolved {
            host: host.to_owned(),
            source,
        };
        let found = self
            .resolver
            .resolve(&name, port)
            .await
            .map_err(|error| unresolved(Some(error)))?;
        if found.is_empty() {
            return Err(unresolved(None));
        }
        self.check(host, &found)?;
        Ok(found)
    }

    /// Whether every one of these addresses of a host may be connected to; for drivers that
    /// resolve names or discover members themselves.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`].
    pub fn check(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), EgressError> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        for address in addresses {
            if !self.allows(&name, *address) {
                return Err(EgressError::NotAllowed {
                    host: host.to_owned(),
                    address: address.to_string().into(),
                });
            }
        }
        Ok(())
    }

    /// A TCP connection to a host, to one of the addresses that were checked. `limit` is for
    /// everything.
    ///
    /// # Errors
    /// As [`Egress::resolve`]; [`EgressError::Unreachable`].
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<TcpStream, EgressError> {
        let unreachable = |source| EgressError::Unreachable {
            host: host.to_owned(),
            source,
        };
        let attempt = async {
            let addresses = self.resolve(host, port).await?;
            let stream = TcpStream::connect(&*addresses)
                .await
                .map_err(|error| unreachable(error.into()))?;
            stream
                .set_nodelay(true)
                .map_err(|error| unreachable(error.into()))?;
            Ok(stream)
        };
        tokio::time::timeout(limit, attempt)
            .await
            .map_err(|elapsed| unreachable(elapsed.into()))?
    }

    fn allows(&self, name: &str, address: SocketAddr) -> bool {
        if address.port() == 0 {
            return false;
        }
        let ip = special::canonical(address.ip());
        special::is_public(ip)
            || self
                .rules
                .iter()
                .any(|rule| rule.allows(name, ip, address.port()))
    }
}

/// What a host's text is.
enum Spelled {
    Address(IpAddr),
    /// In lower case, without the final dot.
    Name(String),
}

/// Tells names from addresses. `getaddrinfo` also takes `127.1`, `0x7f.0.0.1`, `017700000001` and
/// `2130706433` for 127.0.0.1, and an IPv6 address may name an interface; no one who means well
/// writes them, so they are refused.
fn understand(host: &str) -> Result<Spelled, EgressError> {
    let refused = |what: &'static str| EgressError::NotAllowed {
        host: host.to_owned(),
        address: what.into(),
    };
    let unbracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = unbracketed {
        return inner
            .parse::<Ipv6Addr>()
            .map(|address| Spelled::Address(address.into()))
            .map_err(|_| refused("no IPv6 address in brackets"));
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Spelled::Address(address.into()));
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Ok(Spelled::Address(address.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(refused("no host name"));
    }
    // The rule of the WHATWG's URL standard: a name that ends in a number is meant as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return Err(refused("an unusual spelling of an address"));
    }
    Ok(Spelled::Name(name))
}
