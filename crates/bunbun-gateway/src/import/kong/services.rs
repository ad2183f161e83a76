//! Services: where requests go, and with which timeouts.

use std::time::Duration;

use bunbun_core::config::{HumanDuration, gateway::UpstreamConfig};
use serde_json::json;
use url::Url;

use super::fields::{Fields, Findings, Outcome, is_placeholder};

/// Where a service lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `http`, `https` or `h2c`.
    pub(super) scheme: &'static str,
    /// A host name, an address, or the name of an upstream.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// The path before that of requests, with a leading slash, without a trailing one: empty
    /// for the root.
    pub(super) path: String,
}

impl Endpoint {
    /// Its URL without a path; `None` when that is no URL.
    pub(super) fn origin(&self) -> Option<String> {
        address(self.scheme, &format!("{}:{}", self.host, self.port))
    }
}

/// `scheme://host:port`, the port left out when it is the scheme's own.
pub(super) fn address(scheme: &str, authority: &str) -> Option<String> {
    if authority.contains(['/', '?', '#', '@', '\\']) || is_placeholder(authority) {
        return None;
    }
    // h2c is no scheme that the parser gives a host grammar; http's is the same.
    let as_http = if scheme == "h2c" { "http" } else { scheme };
    let url = Url::parse(&format!("{as_http}://{authority}")).ok()?;
    let origin = url.origin().ascii_serialization();
    Some(origin.replacen(as_http, scheme, 1))
}

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    /// Where it stands.
    pub(super) label: String,
    /// Its name, if it has one.
    pub(super) name: Option<String>,
    /// Where it lies; `None` when that cannot be told.
    pub(super) endpoint: Option<Endpoint>,
    /// Whether it is switched on.
    pub(super) enabled: bool,
    /// Time to connect.
    pub(super) connect_timeout: Option<HumanDuration>,
    /// Longest silence of the service.
    pub(super) read_timeout: Option<HumanDuration>,
    /// How often a request is repeated.
    pub(super) retries: Option<u8>,
    /// Whether something unknown may refuse requests.
    pub(super) guarded: bool,
}

/// Reads a service.
pub(super) fn read_service(
    mut fields: Fields,
    name: Option<String>,
    findings: &mut Findings,
) -> Outcome<Service> {
    let endpoint = read_endpoint(&mut fields, findings)?;
    let mut timeout = |key: &str| -> Outcome<Option<HumanDuration>> {
        Ok(fields
            .whole(key)?
            .map(|ms| HumanDuration(Duration::from_millis(ms))))
    };
    let connect_timeout = timeout("connect_timeout")?;
    let read_timeout = timeout("read_timeout")?;
    let write_timeout = timeout("write_timeout")?;
    if write_timeout
        .is_some_and(|write| write != read_timeout.unwrap_or(HumanDuration::seconds(60)))
    {
        let hint = "`idle_timeout` of the route holds for both directions";
        findings.note(fields.at("write_timeout"), "has no counterpart", hint);
    }
    let retries = fields.whole("retries")?;
    let hint = "BunBun verifies certificates; name a private authority in `ca_file`";
    fields.expect("tls_verify", &json!(true), findings, hint);
    fields.expect("ca_certificates", &json!([]), findings, hint);
    fields.ignore(&["tls_verify_depth"]);
    let guarded = fields
        .take("filter_chains")
        .is_some_and(|chains| chains != json!([]));
    if guarded {
        findings.note(
            fields.at("filter_chains"),
            "filters may refuse requests, so the service's routes are refused to everyone",
            "do the filter's work in the service, then set the routes' `access`",
        );
    }
    let service = Service {
        label: fields.path.clone(),
        name,
        endpoint,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        connect_timeout,
        read_timeout,
        retries: retries.map(|retries| u8::try_from(retries).unwrap_or(u8::MAX)),
        guarded,
    };
    if !service.enabled {
        let hint = "nothing to do while it is off";
        findings.note(
            &service.label,
            "is switched off, so its routes are left out",
            hint,
        );
    }
    fields.finish(
        findings,
        "see docs/gateway.md for the options of an upstream",
    );
    Ok(service)
}

fn scheme(protocol: &str) -> Option<&'static str> {
    match protocol {
        "http" | "ws" => Some("http"),
        "https" | "wss" | "grpcs" => Some("https"),
        "grpc" => Some("h2c"),
        _ => None,
    }
}

fn read_endpoint(fields: &mut Fields, findings: &mut Findings) -> Outcome<Option<Endpoint>> {
    let (url, protocol) = (fields.text("url")?, fields.text("protocol")?);
    let (host, port) = (fields.text("host")?, fields.whole("port")?);
    let path = fields.text("path")?;
    let endpoint = if let Some(url) = &url {
        // `url` is shorthand for the other four and beats them.
        from_url(url, &fields.at("url"), findings)
    } else {
        let protocol = protocol.as_deref().unwrap_or("http");
        let port = port.map_or(Some(80), |port| u16::try_from(port).ok());
        scheme(protocol)
            .zip(host)
            .zip(port)
            .and_then(|((scheme, host), port)| {
                let path = clean_path(path.as_deref().unwrap_or_default())?;
                let endpoint = Endpoint {
                    scheme,
                    host,
                    port,
                    path,
                };
                // Whether the host is a name at all: brackets, placeholders, nonsense.
                endpoint.origin().map(|_| endpoint)
            })
    };
    if endpoint.is_none() {
        findings.note(
            &fields.path,
            "its address cannot be told or is of a protocol that BunBun does not speak, \
             so its routes are refused",
            "name an `upstream` with http://, https:// or h2c:// URLs in these routes",
        );
    }
    Ok(endpoint)
}

fn from_url(text: &str, path: &str, findings: &mut Findings) -> Option<Endpoint> {
    let (protocol, rest) = text.split_once("://")?;
    let scheme = scheme(&protocol.to_ascii_lowercase())?;
    let authority = &rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())];
    if is_placeholder(authority) {
        return None;
    }
    let as_http = if scheme == "https" { "https" } else { "http" };
    let url = Url::parse(&format!("{as_http}://{rest}")).ok()?;
    if !url.username().is_empty() || url.password().is_some() {
        findings.note(
            path,
            "user and password are left out",
            "set a header in the route",
        );
    }
    if url.query().is_some() {
        findings.note(path, "the query is left out", "append it in the client");
    }
    Some(Endpoint {
        scheme,
        host: url.host_str()?.to_owned(),
        port: url.port_or_known_default()?,
        path: clean_path(url.path())?,
    })
}

/// A path with a leading slash and without a trailing one; `None` when it is none.
pub(super) fn clean_path(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Some(String::new());
    }
    is_plain_path(path).then(|| path.to_owned())
}

/// Whether a path is one that the normaliser leaves as it is, without characters that mean
/// something in patterns.
pub(super) fn is_plain_path(path: &str) -> bool {
    crate::path::normalise(path).is_ok_and(|normal| normal == path)
        && path.bytes().all(|byte| !b"?#\"<>^`{}|*".contains(&byte))
}

/// An upstream without checks.
pub(super) fn plain(urls: Vec<String>, service: &Service) -> UpstreamConfig {
    UpstreamConfig {
        urls,
        connect_timeout: service.connect_timeout,
        max_connections: None,
        keepalive_timeout: None,
        health: None,
        breaker: None,
        ca_file: None,
    }
}
