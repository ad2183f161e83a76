//! What the edge found out about a request before anyone handles it.

use std::{any::Any, fmt, net::IpAddr, sync::Arc};

use bunbun_core::{id::write_hex, project::Project, shutdown::Shutdown};
use http::HeaderValue;

use crate::identity::Caller;

/// In the extensions of a request that asks an embedded service for an upgrade, beside hyper's own
/// `OnUpgrade`: what a service that takes the connection over owes the server.
#[derive(Clone)]
pub struct Upgrading {
    /// When it begins, the service ends the connection in its protocol's way.
    pub shutdown: Shutdown,
    /// Held as long as the connection is used: the server's end waits for it.
    pub open: Arc<dyn Any + Send + Sync>,
}

/// Names a request in answers, logs and upstream; 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The header that carries it, in and out.
    pub const HEADER: http::HeaderName = http::HeaderName::from_static("x-request-id");

    /// A client's own id where it is harmless, else a new one.
    #[must_use]
    pub fn from_client(value: Option<&HeaderValue>) -> Self {
        let usable = |v: &&HeaderValue| {
            (1..=64).contains(&v.len())
                && v.as_bytes()
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.:=+/".contains(b))
        };
        value
            .filter(usable)
            .cloned()
            .map_or_else(Self::generate, Self)
    }

    /// A new id: 128 random bits in hexadecimal. It names a request and protects nothing, so it
    /// does not ask the system for each.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = [0; 32];
        write_hex(&rand::random::<[u8; 16]>(), &mut text);
        Self(HeaderValue::from_bytes(&text).expect("hexadecimal is a header value"))
    }

    /// As header value.
    #[must_use]
    pub const fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request's context; the edge puts it into the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Its id.
    pub request_id: RequestId,
    /// The project it belongs to.
    pub project: Arc<Project>,
    /// The client's address, seen through trusted proxies.
    pub client_ip: IpAddr,
    /// Who is calling; `None` without a valid credential.
    pub caller: Option<Caller>,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::RequestId;

    #[test]
    fn harmless_client_ids_are_kept_and_others_replaced() {
        let keep = HeaderValue::from_static("abc-123_.:=+/");
        assert_eq!(
            RequestId::from_client(Some(&keep)).as_str(),
            "abc-123_.:=+/"
        );
        for bad in ["", "a b", "a\"b", "{}", &"x".repeat(65)] {
            let value = HeaderValue::from_str(bad).unwrap();
            assert_ne!(RequestId::from_client(Some(&value)).as_str(), bad);
        }
        assert_eq!(RequestId::generate().as_str().len(), 32);
    }
}
