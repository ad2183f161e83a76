//! Headers between client and upstream: what is of one connection only, what a client may not
//! claim, and what the upstream is told about the client.

use std::net::IpAddr;

use bunbun_http::RequestId;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, FORWARDED, HOST, TE, UPGRADE},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers that `Connection` may not nominate: taking them away would change what the request
/// means or who sent it (CVE-2026-6338).
const NOT_NOMINABLE: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "authorization",
    "apikey",
    "cookie",
    "origin",
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "range",
];

/// What the edge knows of the client's side of a request.
#[derive(Debug, Clone)]
pub struct Forwarding<'r> {
    /// The client's address, seen through trusted proxies.
    pub client_ip: IpAddr,
    /// The peer's address as a header value.
    pub peer: &'r HeaderValue,
    /// Whether the peer's own `X-Forwarded-*` are believed.
    pub trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The port the client used.
    pub port: u16,
    /// The host the client used.
    pub host: Option<&'r HeaderValue>,
    /// The request's id.
    pub request_id: &'r RequestId,
    /// The trace's context for the upstream.
    pub traceparent: &'r HeaderValue,
}

/// Checks the nominations of `Connection` and removes all hop-by-hop headers.
///
/// # Errors
/// A nomination that would change what the request means.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) -> Result<(), &'static str> {
    if headers.contains_key(CONNECTION) {
        let nominated = nominations(headers)?;
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    remove_where(headers, is_of_connection);
    if let Some(te) = headers.remove(TE)
        && te.to_str().is_ok_and(|text| {
            text.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case("trailers"))
        })
    {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "trailer"
            | "upgrade"
            | "http2-settings"
            | "transfer-encoding"
    )
}

/// Removes headers by name in one look at the names: most requests have none of them.
fn remove_where(headers: &mut HeaderMap, doomed: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| doomed(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn nominations(headers: &HeaderMap) -> Result<Vec<HeaderName>, &'static str> {
    let mut nominated = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let text = value.to_str().map_err(|_| "Connection is not ASCII")?;
        for token in text
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
        {
            let name = HeaderName::try_from(token).map_err(|_| "Connection nominates no header")?;
            let text = name.as_str();
            let protected = NOT_NOMINABLE.contains(&text)
                || text.starts_with("x-forwarded-")
                || text.starts_with("x-consumer-")
                || text.starts_with("access-control-")
                || text.starts_with("sec-websocket-");
            if protected {
                return Err("Connection nominates a header that the request depends on");
            }
            if !matches!(text, "close" | "keep-alive") {
                nominated.push(name);
            }
        }
    }
    Ok(nominated)
}

/// Whether the client asks for another protocol on this connection, and which.
#[must_use]
pub fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asks = headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    // HTTP/2 in the clear is negotiated by prior knowledge only: the upgrade is optional for us.
    let is_h2c = protocol.as_bytes().eq_ignore_ascii_case(b"h2c");
    (asks && !is_h2c).then(|| protocol.clone())
}

/// Takes away what a client may not claim: the headers that BunBun itself or another platform's
/// gateway sets. Names with an underscore go, as nginx does it: some servers read
/// `x_forwarded_for` as `x-forwarded-for`.
/// `x-api-key` is a credential of our own routes, and of no other service.
pub fn remove_claims(headers: &mut HeaderMap, own: bool) {
    remove_where(headers, |name| {
        matches!(name, "x-anonymous-consumer" | "sb-api-key" | "proxy")
            || (name == "x-api-key" && !own)
            || name.starts_with("x-consumer-")
            || name.starts_with("x-credential-")
            || name.starts_with("x-appwrite-")
            || name.contains('_')
    });
}

/// Tells the upstream about the client.
pub fn forward(headers: &mut HeaderMap, f: &Forwarding<'_>) {
    if f.trusted {
        append_forwarded_for(headers, f.peer);
        for (name, value) in [
            (X_FORWARDED_PROTO, Some(HeaderValue::from_static(f.scheme))),
            (X_FORWARDED_HOST, f.host.cloned()),
            (X_FORWARDED_PORT, Some(HeaderValue::from(f.port))),
        ] {
            if let (false, Some(value)) = (headers.contains_key(&name), value) {
                headers.insert(name, value);
            }
        }
        if let Ok(ip) = HeaderValue::try_from(f.client_ip.to_string()) {
            headers.insert(X_REAL_IP, ip);
        }
    } else {
        headers.insert(X_FORWARDED_FOR, f.peer.clone());
        headers.insert(X_REAL_IP, f.peer.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(f.scheme));
        headers.insert(X_FORWARDED_PORT, HeaderValue::from(f.port));
        match f.host {
            Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
            None => headers.remove(X_FORWARDED_HOST),
        };
        headers.remove(X_FORWARDED_PATH);
        headers.remove(crate::route::X_FORWARDED_PREFIX);
        headers.remove(FORWARDED);
    }
    headers.insert(RequestId::HEADER, f.request_id.as_header().clone());
    headers.insert(TRACEPARENT, f.traceparent.clone());
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut list = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.as_bytes());
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// The client's address: the right-most of `X-Forwarded-For` that is no trusted proxy.
#[must_use]
pub fn client_ip(headers: &HeaderMap, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    let values: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    for value in values.iter().rev() {
        let Ok(text) = value.to_str() else {
            return client;
        };
        for item in text.rsplit(',').map(str::trim) {
            let Ok(ip) = item.parse::<IpAddr>() else {
                return client;
            };
            // Rules name IPv4 networks, whichever way a proxy writes the address.
            let ip = ip.to_canonical();
            client = ip;
            if !is_trusted(ip) {
                return client;
            }
        }
    }
    client
}

/// The host of a request without its port: the authority of the target, or `Host`.
///
/// # Errors
/// Two hosts, none where there must be one, or a contradiction between target and header.
pub fn host(parts: &http::request::Parts) -> Result<&str, &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err("two Host headers"),
        (Some(host), None) => Some(host.to_str().map_err(|_| "Host is not ASCII")?),
        (None, _) => None,
    };
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = match (authority, header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
            return Err("the target names another host than the Host header");
        }
        // RFC 9112 §3.2: the header is needed even where the target names the host.
        (Some(_), None) if parts.version == http::Version::HTTP_11 => return Err("no Host header"),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) if parts.version == http::Version::HTTP_10 => return Ok(""),
        (None, None) => return Err("no Host header"),
    };
    if host.is_empty() && parts.version == http::Version::HTTP_10 {
        return Ok("");
    }
    // In brackets an address of IPv6, whose colons are none before a port.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok();
    if port.is_some_and(|port| !is_port(port)) || name.starts_with('[') != name.ends_with(']') {
        return Err("Host is no host");
    }
    let plausible =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    if name.is_empty() || !name.bytes().all(plausible) {
        return Err("Host is no host");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{client_ip, remove_claims, remove_hop_by_hop};

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn nominated_headers_go_unless_the_request_depends_on_them() {
        let mut map = headers(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers"),
        ]);
        assert!(remove_hop_by_hop(&mut map).is_ok());
        assert_eq!(map, headers(&[("te", "trailers")]));
        for nominated in [
            "content-length",
            "Host",
            "apikey",
            "authorization",
            "x-forwarded-for",
            "x-consumer-id",
            "a b",
            "cookie",
        ] {
            let mut map = HeaderMap::new();
            map.insert("connection", HeaderValue::from_static(nominated));
            assert!(remove_hop_by_hop(&mut map).is_err(), "{nominated}");
        }
    }

    #[test]
    fn claims_of_identity_are_removed() {
        let mut map = headers(&[
            ("x-consumer-username", "service_role"),
            ("sb-api-key", "x"),
            ("x-appwrite-user-id", "1"),
            ("x_forwarded_for", "1.2.3.4"),
            ("proxy", "http://evil"),
            ("x-api-key", "x"),
            ("accept", "*/*"),
        ]);
        remove_claims(&mut map, false);
        assert_eq!(map, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let trusted = |ip: std::net::IpAddr| ip.to_string().starts_with("10.");
        let map = headers(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")]);
        let peer = |text: &str| text.parse().unwrap();
        assert_eq!(
            client_ip(&map, peer("10.0.0.1"), trusted).to_string(),
            "1.2.3.4"
        );
        assert_eq!(
            client_ip(&map, peer("9.9.9.9"), trusted).to_string(),
            "9.9.9.9"
        );
        let nonsense = headers(&[("x-forwarded-for", "nonsense")]);
        assert_eq!(
            client_ip(&nonsense, peer("10.0.0.1"), trusted).to_string(),
            "10.0.0.1"
        );
    }
}
