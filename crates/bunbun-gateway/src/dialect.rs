//! The gateway's own answers in the dialect of the gateway it replaces: Kong 2.8.1, Kong 3.9 or
//! Envoy. Facts: `reference/gateways.md` §1.3; one test per cell in `tests/it/dialects.rs`.

use bunbun_core::config::Dialect;
use bunbun_http::{Body, RequestId, body};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST, SERVER, VIA, WWW_AUTHENTICATE},
};

use crate::{
    accept::head::HeadFault,
    refusal::{Refusal, empty_slot},
};

/// What an answer depends on beside the refusal.
#[derive(Debug)]
pub struct Asked {
    /// What the client wants to read: Kong's body type follows it.
    pub accept: Option<HeaderValue>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, as the client wrote it.
    pub host: Option<HeaderValue>,
    /// The target.
    pub uri: Uri,
}

impl Asked {
    /// Keeps what matters of a request.
    pub fn of<B>(request: &Request<B>, scheme: &'static str) -> Self {
        let headers = request.headers();
        let accept = headers
            .get(ACCEPT)
            .or_else(|| headers.get(CONTENT_TYPE))
            .cloned();
        Self {
            accept,
            scheme,
            host: headers.get(HOST).cloned(),
            uri: request.uri().clone(),
        }
    }

    /// The URI without its query, which may hold a key.
    fn realm(&self) -> String {
        let host = match &self.host {
            Some(host) => host.to_str().unwrap_or_default(),
            None => self
                .uri
                .authority()
                .map_or("", |authority| authority.as_str()),
        };
        let text = format!("{}://{host}{}", self.scheme, self.uri.path());
        text.chars().filter(|c| !matches!(c, '"' | '\\')).collect()
    }
}

struct Answer {
    status: u16,
    text: std::borrow::Cow<'static, str>,
    challenge: Option<HeaderValue>,
    /// Kong writes its router's 404 without line breaks.
    compact: bool,
}

impl Answer {
    fn new(status: u16, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            challenge: None,
            compact: false,
        }
    }

    fn challenge(mut self, value: &'static str) -> Self {
        self.challenge = Some(HeaderValue::from_static(value));
        self
    }
}

/// Renders a refusal.
#[must_use]
pub fn render(
    dialect: Dialect,
    refusal: &Refusal,
    asked: &Asked,
    request_id: &RequestId,
) -> Response<Body> {
    let answer = match dialect {
        Dialect::Kong2 => kong(refusal, false),
        Dialect::Kong3 => kong(refusal, true),
        Dialect::Envoy => envoy(refusal, asked),
    };
    let (text, media_type) = match dialect {
        Dialect::Envoy => (answer.text.into_owned(), "text/plain"),
        Dialect::Kong2 => kong_body(&answer, asked, None),
        Dialect::Kong3 => kong_body(&answer, asked, Some(request_id.as_str())),
    };
    let has_body = !text.is_empty();
    let mut response = Response::new(if has_body {
        body::full(text)
    } else {
        body::empty()
    });
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    if let Some(challenge) = answer.challenge {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    mark_generated(dialect, headers, request_id);
    response
}

fn kong(refusal: &Refusal, three: bool) -> Answer {
    let invalid = "Invalid authentication credentials";
    match refusal {
        Refusal::NoKey => Answer::new(401, "No API key found in request").challenge(if three {
            "Key"
        } else {
            "Key realm=\"kong\""
        }),
        Refusal::WrongKey | Refusal::NoUser if three => {
            Answer::new(401, "Unauthorized").challenge("Key")
        }
        Refusal::WrongKey | Refusal::NoUser => Answer::new(401, invalid),
        Refusal::DuplicateKey => Answer::new(401, "Duplicate API key found"),
        Refusal::WrongRole => Answer::new(403, "You cannot consume this service"),
        Refusal::NoRoute | Refusal::UnknownProject => Answer {
            compact: true,
            ..Answer::new(404, "no Route matched with those values")
        },
        Refusal::NoBasic => Answer::new(401, "Unauthorized").challenge(if three {
            "Basic realm=\"service\""
        } else {
            "Basic realm=\"kong\""
        }),
        Refusal::WrongBasic if three => {
            Answer::new(401, "Unauthorized").challenge("Basic realm=\"service\"")
        }
        Refusal::WrongBasic => Answer::new(401, invalid),
        Refusal::Closed => Answer::new(403, "Access is forbidden."),
        Refusal::AddressDenied => Answer::new(403, "Your IP address is not allowed"),
        Refusal::RateLimited | Refusal::TooManyGuesses => {
            Answer::new(429, "API rate limit exceeded")
        }
        Refusal::UpstreamFailed | Refusal::UpstreamMalformed => Answer::new(
            502,
            "An invalid response was received from the upstream server",
        ),
        Refusal::UpstreamTimeout => Answer::new(504, "The upstream server is timing out"),
        Refusal::Internal => Answer::new(500, "An unexpected error occurred"),
        Refusal::NameResolution => Answer::new(503, "name resolution failed"),
        Refusal::NoHealthyAddress | Refusal::UpstreamBusy => {
            Answer::new(503, "failure to get a peer from the ring-balancer")
        }
        Refusal::EmptySlot(slot) => Answer::new(503, empty_slot(slot)),
        Refusal::Head(HeadFault::HeadTooLarge) => {
            // nginx's internal 494 reaches the client through Kong 2 and is a 400 since Kong 3.
            Answer::new(
                if three { 400 } else { 494 },
                "Request header or cookie too large",
            )
        }
        Refusal::Head(HeadFault::TargetTooLong) => Answer::new(414, "URI too long"),
        Refusal::Head(HeadFault::TooSlow) | Refusal::BodyTimeout => {
            Answer::new(408, "Request timeout")
        }
        Refusal::BodyTooLarge => Answer::new(413, "Payload too large"),
        Refusal::Head(HeadFault::Malformed) | Refusal::BadRequest(_) => {
            Answer::new(400, "Bad request")
        }
    }
}

fn kong_body(answer: &Answer, asked: &Asked, id: Option<&str>) -> (String, &'static str) {
    let generated_by_nginx = matches!(answer.status, 400 | 408 | 413 | 414 | 494)
        || (answer.status >= 500 && &*answer.text != "name resolution failed");
    let wanted = asked.accept.as_ref().and_then(|value| value.to_str().ok());
    let text = &answer.text;
    let media = match wanted {
        // Its router answers with a table, which is JSON for everyone.
        _ if answer.compact => Media::Json,
        Some(accept) => kong_media(accept),
        None if generated_by_nginx => Media::Plain,
        None => Media::Json,
    };
    match media {
        Media::Html => {
            let id = id.map_or_else(String::new, |id| format!("\n    <p>request_id: {id}</p>"));
            let page = format!(
                "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Kong Error</title>\n  </head>\n  <body>\n    <h1>Kong Error</h1>\n    <p>{text}.</p>{id}\n  </body>\n</html>\n"
            );
            (page, "text/html; charset=utf-8")
        }
        Media::Xml => {
            let id = id.map_or_else(String::new, |id| format!("\n  <requestid>{id}</requestid>"));
            let document = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{text}</message>{id}\n</error>"
            );
            (document, "application/xml; charset=utf-8")
        }
        Media::Plain => (kong_text(text, id), "text/plain; charset=utf-8"),
        Media::Json => (kong_json(answer, id), "application/json; charset=utf-8"),
    }
}

/// What Kong can write an error as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Html,
    Xml,
    Plain,
}

/// The first of the best-liked media types of `Accept`; what Kong does not know is JSON
/// (`kong/pdk/response.lua`, `kong/tools/utils.lua`).
fn kong_media(accept: &str) -> Media {
    let (mut chosen, mut best) = (Media::Json, 0.0);
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let media = match parts.next().unwrap_or_default() {
            "text/html" => Media::Html,
            "application/xml" => Media::Xml,
            "text/plain" | "text/*" => Media::Plain,
            name if name.contains('/') => Media::Json,
            _ => continue,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q=")?.parse().ok())
            .unwrap_or(1.0);
        if quality > best {
            (chosen, best) = (media, quality);
        }
    }
    chosen
}

fn kong_text(text: &str, id: Option<&str>) -> String {
    id.map_or_else(
        || format!("{text}\n"),
        |id| format!("{text}\nrequest_id: {id}\n"),
    )
}

fn kong_json(answer: &Answer, id: Option<&str>) -> String {
    let text = serde_json::to_string(&answer.text).unwrap_or_default();
    match (answer.compact, id) {
        (true, None) => format!("{{\"message\":{text}}}"),
        (true, Some(id)) => format!("{{\"message\":{text},\"request_id\":\"{id}\"}}"),
        (false, None) => format!("{{\n  \"message\":{text}\n}}"),
        (false, Some(id)) => format!("{{\n  \"message\":{text},\n  \"request_id\":\"{id}\"\n}}"),
    }
}

fn envoy(refusal: &Refusal, asked: &Asked) -> Answer {
    let basic = |text: &'static str| {
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{}\"", asked.realm())).ok();
        Answer {
            challenge,
            ..Answer::new(401, text)
        }
    };
    let denied = "RBAC: access denied";
    let reset = "upstream connect error or disconnect/reset before headers. reset reason: connection failure";
    match refusal {
        Refusal::NoKey | Refusal::WrongKey | Refusal::DuplicateKey | Refusal::NoUser => {
            Answer::new(401, "Unauthorized")
        }
        Refusal::WrongRole | Refusal::Closed | Refusal::AddressDenied => Answer::new(403, denied),
        Refusal::NoRoute | Refusal::UnknownProject => Answer::new(404, ""),
        Refusal::NoBasic => basic("User authentication failed. Missing username and password."),
        Refusal::WrongBasic => {
            basic("User authentication failed. Invalid username/password combination.")
        }
        Refusal::RateLimited | Refusal::TooManyGuesses => Answer::new(429, "local_rate_limited"),
        Refusal::UpstreamFailed => Answer::new(503, reset),
        Refusal::UpstreamMalformed => Answer::new(
            502,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        ),
        Refusal::UpstreamTimeout => Answer::new(504, "upstream request timeout"),
        Refusal::Internal => Answer::new(500, ""),
        Refusal::NameResolution | Refusal::NoHealthyAddress => {
            Answer::new(503, "no healthy upstream")
        }
        Refusal::UpstreamBusy => Answer::new(
            503,
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        ),
        Refusal::EmptySlot(slot) => Answer::new(503, empty_slot(slot)),
        Refusal::Head(HeadFault::HeadTooLarge) => {
            Answer::new(431, "Request Header Fields Too Large")
        }
        Refusal::Head(HeadFault::TargetTooLong) => Answer::new(414, "URI Too Long"),
        Refusal::Head(HeadFault::TooSlow) | Refusal::BodyTimeout => {
            Answer::new(408, "Request Timeout")
        }
        Refusal::BodyTooLarge => Answer::new(413, "Payload Too Large"),
        Refusal::Head(HeadFault::Malformed) | Refusal::BadRequest(_) => {
            Answer::new(400, "Bad Request")
        }
    }
}

const X_KONG_RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");
const X_KONG_UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const X_KONG_PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
/// Kong 3.9's request id, in both directions.
pub const X_KONG_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
const X_ENVOY_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Marks an answer that the gateway made.
pub fn mark_generated(dialect: Dialect, headers: &mut HeaderMap, request_id: &RequestId) {
    let server = match dialect {
        Dialect::Kong2 => "kong/2.8.1",
        Dialect::Kong3 => "kong/3.9.3",
        Dialect::Envoy => "envoy",
    };
    headers.insert(SERVER, HeaderValue::from_static(server));
    if dialect != Dialect::Envoy {
        headers.insert(X_KONG_RESPONSE_LATENCY, HeaderValue::from(0));
    }
    if dialect == Dialect::Kong3 {
        headers.insert(X_KONG_REQUEST_ID, request_id.as_header().clone());
    }
}

/// Marks an answer that came from upstream, with the milliseconds it took there and here.
pub fn mark_proxied(
    dialect: Dialect,
    headers: &mut HeaderMap,
    request_id: &RequestId,
    upstream_ms: u64,
    proxy_ms: u64,
) {
    match dialect {
        Dialect::Envoy => {
            headers.insert(X_ENVOY_TIME, HeaderValue::from(upstream_ms));
            headers.insert(SERVER, HeaderValue::from_static("envoy"));
        }
        Dialect::Kong2 | Dialect::Kong3 => {
            headers.insert(X_KONG_UPSTREAM_LATENCY, HeaderValue::from(upstream_ms));
            headers.insert(X_KONG_PROXY_LATENCY, HeaderValue::from(proxy_ms));
            let three = dialect == Dialect::Kong3;
            let via = if three {
                "1.1 kong/3.9.3"
            } else {
                "kong/2.8.1"
            };
            headers.append(VIA, HeaderValue::from_static(via));
            if three {
                headers.insert(X_KONG_REQUEST_ID, request_id.as_header().clone());
            }
        }
    }
}
