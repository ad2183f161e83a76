//! Cross-origin requests: an allow-list, and without one what the imitated gateway does for
//! public routes. Never `*` or an echoed origin together with credentials.

use bunbun_core::config::{Dialect, gateway::CorsConfig};
use bunbun_http::{Body, body};
use http::{
    HeaderMap, HeaderValue, Method, Response,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, VARY,
    },
};

const METHODS: HeaderValue =
    HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT");

/// The rules of this installation.
#[derive(Debug, Clone)]
pub struct Cors {
    allowed: Vec<HeaderValue>,
    dialect: Dialect,
}

/// What an origin may do on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// No browser of another origin is asking, or the service answers for itself.
    Silent,
    /// Another origin that is not allowed: the browser will block it.
    Refused,
    /// An origin of the allow-list, credentials included.
    Listed(HeaderValue),
    /// Any origin, without credentials.
    Public(HeaderValue),
}

impl Cors {
    /// Allows the given origins.
    #[must_use]
    pub fn new(allowed: &[String], dialect: Dialect) -> Self {
        let allowed = allowed
            .iter()
            .filter_map(|o| HeaderValue::try_from(o).ok())
            .collect();
        Self { allowed, dialect }
    }

    /// What the origin of a request may do.
    #[must_use]
    pub fn grant(&self, config: CorsConfig, request: &HeaderMap) -> Grant {
        let Some(origin) = request.get(ORIGIN) else {
            return Grant::Silent;
        };
        match config {
            CorsConfig::Off => Grant::Silent,
            _ if self.allowed.contains(origin) => Grant::Listed(origin.clone()),
            // An allow-list is the operator's word: it closes public routes, too.
            CorsConfig::Public if self.allowed.is_empty() => Grant::Public(match self.dialect {
                Dialect::Envoy => origin.clone(),
                Dialect::Kong2 | Dialect::Kong3 => HeaderValue::from_static("*"),
            }),
            _ => Grant::Refused,
        }
    }

    /// The answer to a preflight; `None` where the request is none, or not for us to answer.
    #[must_use]
    pub fn preflight(
        &self,
        grant: &Grant,
        method: &Method,
        request: &HeaderMap,
    ) -> Option<Response<Body>> {
        let asks =
            *method == Method::OPTIONS && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || matches!(grant, Grant::Silent | Grant::Refused) {
            return None;
        }
        let mut response = Response::new(body::empty());
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        if self.dialect == Dialect::Envoy {
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
        }
        self.mark(grant, headers);
        Some(response)
    }

    /// Marks an answer. What the service behind the route said of origins is replaced.
    pub fn mark(&self, grant: &Grant, headers: &mut HeaderMap) {
        let (origin, credentials) = match grant {
            Grant::Silent => return,
            Grant::Refused => {
                headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
                headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
            Grant::Listed(origin) => (origin, true),
            Grant::Public(origin) => (origin, false),
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        } else {
            headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
            if self.dialect == Dialect::Envoy {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
            }
        }
        if origin != "*" {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use bunbun_core::config::{Dialect, gateway::CorsConfig};
    use http::{HeaderMap, HeaderValue, Method};

    use super::{Cors, Grant};

    fn from(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(origin));
        headers.insert(
            "access-control-request-method",
            HeaderValue::from_static("POST"),
        );
        headers
    }

    #[test]
    fn only_listed_origins_get_credentials() {
        let cors = Cors::new(&["https://app.example".to_owned()], Dialect::Envoy);
        let listed = cors.grant(CorsConfig::Public, &from("https://app.example"));
        let mut headers = HeaderMap::new();
        cors.mark(&listed, &mut headers);
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://app.example"
        );
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["vary"], "Origin");
        for evil in [
            "null",
            "https://evil.app.example",
            "https://app.example.evil",
            "http://app.example",
            "https://app.example:444",
            "https://APP.example",
        ] {
            let grant = cors.grant(CorsConfig::Public, &from(evil));
            assert_eq!(grant, Grant::Refused, "{evil}");
            assert!(
                cors.preflight(&grant, &Method::OPTIONS, &from(evil))
                    .is_none()
            );
        }
    }

    #[test]
    fn public_routes_without_a_list_answer_as_the_dialect_does_but_without_credentials() {
        for (dialect, origin) in [
            (Dialect::Kong2, "*"),
            (Dialect::Kong3, "*"),
            (Dialect::Envoy, "https://x.example"),
        ] {
            let cors = Cors::new(&[], dialect);
            let grant = cors.grant(CorsConfig::Public, &from("https://x.example"));
            let response = cors
                .preflight(&grant, &Method::OPTIONS, &from("https://x.example"))
                .unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["access-control-allow-origin"], origin);
            assert!(
                !response
                    .headers()
                    .contains_key("access-control-allow-credentials")
            );
            assert_eq!(
                cors.grant(CorsConfig::Allowed, &from("https://x.example")),
                Grant::Refused
            );
        }
    }

    #[test]
    fn an_upstreams_own_marks_are_replaced() {
        let cors = Cors::new(&[], Dialect::Envoy);
        let mut headers = HeaderMap::new();
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        headers.insert(
            "access-control-allow-credentials",
            HeaderValue::from_static("true"),
        );
        cors.mark(
            &Grant::Public(HeaderValue::from_static("https://x")),
            &mut headers,
        );
        assert_eq!(
            headers
                .get_all("access-control-allow-origin")
                .iter()
                .count(),
            1
        );
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}
