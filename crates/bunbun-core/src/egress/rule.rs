//! One entry of `EGRESS_ALLOW`: `10.0.0.0/8`, `10.1.2.3:5432`, `[fd00::/8]:6379`, `db.internal`,
//! `db.internal:5432`.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::special;

/// An exception that the operator makes: a network or a name, at one port or at any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    place: Place,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Network(IpNet),
    /// In lower case, without the final dot.
    Name(String),
}

/// The text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no network, address or host name, with or without a port")]
pub struct InvalidEgressRule;

impl EgressRule {
    /// The rules of `bunbun dev`: everything on this machine.
    #[must_use]
    pub fn loopback() -> Vec<Self> {
        ["127.0.0.0/8", "::1/128"]
            .map(|network| Self {
                place: Place::Network(network.parse().expect("a network")),
                port: None,
            })
            .to_vec()
    }

    /// Whether the rule has this address of a name. `ip` is canonical, `name` in lower case.
    pub(super) fn allows(&self, name: &str, ip: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.place {
            Place::Network(network) => network.contains(&ip),
            Place::Name(own) => own == name && !special::is_never_a_host(ip),
        }
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        let text = text.trim();
        let network = |text: &str| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .ok()
                .map(|network| Place::Network(network.trunc()))
        };
        if let Some(place) = network(text) {
            return Ok(Self { place, port: None });
        }
        let (place, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or(InvalidEgressRule)?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or(InvalidEgressRule)?),
                };
                (network(inner).ok_or(InvalidEgressRule)?, port)
            }
            None => {
                let (place, port) = match text.rsplit_once(':') {
                    Some((place, port)) => (place, Some(port)),
                    None => (text, None),
                };
                (
                    network(place)
                        .or_else(|| name(place))
                        .ok_or(InvalidEgressRule)?,
                    port,
                )
            }
        };
        let port = port
            .map(|port| match port.parse::<u16>() {
                Ok(port) if port != 0 => Ok(port),
                _ => Err(InvalidEgressRule),
            })
            .transpose()?;
        Ok(Self { place, port })
    }
}

fn name(text: &str) -> Option<Place> {
    match super::understand(text) {
        Ok(super::Spelled::Name(name)) => Some(Place::Name(name)),
        _ => None,
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.port) {
            (Place::Network(network), None) => network.fmt(f),
            (Place::Network(network), Some(port)) => write!(f, "[{network}]:{port}"),
            (Place::Name(name), None) => f.write_str(name),
            (Place::Name(name), Some(port)) => write!(f, "{name}:{port}"),
        }
    }
}
