//! The router as the edge calls it, and a look at every answer: its status and media type must be
//! in the OpenAPI document.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bunbun_api::state::{ApiParts, ApiState, DatabaseLimits, SingleDatabase};
use bunbun_core::{
    id::ProjectRef,
    jwt::{self, Verifier},
    project::{KeyRole, OpaqueKey, Project, ProjectKeys},
    secret,
    shutdown::Shutdown,
};
use bunbun_databases::postgres::pool::Pool;
use bunbun_http::{
    Body, RequestContext, RequestId,
    body::{self, Embedded},
    embed,
    explain::{Explain, Explanation},
    identity,
    slots::{CallError, SlotCall, SlotMode, SlotProbe, SlotProbes},
};
use bunbun_test::TestDb;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jsonschema::Validator;
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "a-secret-of-the-api-tests-0123456789";
pub(crate) const OPAQUE: &str = "sb_secret_for_tests";
/// 2026-11-21; in the past, for the keys' `iat` only.
const ISSUED_AT: i64 = 1_795_219_200;

/// The endpoints around one database, or none.
pub(crate) struct Api {
    service: Arc<dyn Embedded>,
    pub(crate) document: Value,
    project: Arc<Project>,
    /// Made once each, because that takes milliseconds.
    validators: Mutex<HashMap<String, Validator>>,
    pub(crate) shutdown: Shutdown,
    // Dropped last: the database goes when its pool has gone.
    pub(crate) database: Option<TestDb>,
}

impl Api {
    /// Around a database of its own; `None`, said aloud, where there is no PostgreSQL.
    pub(crate) async fn with_database() -> Option<Self> {
        let database = TestDb::create().await?;
        Some(Self::new(Some(database.pool()), Some(database), |_| {}))
    }

    /// Without `DATABASE_URL`.
    pub(crate) fn without_database() -> Self {
        Self::new(None, None, |_| {})
    }

    pub(crate) fn new(
        pool: Option<Pool>,
        database: Option<TestDb>,
        change: impl FnOnce(&mut ApiParts),
    ) -> Self {
        let mut parts = Self::parts(pool);
        change(&mut parts);
        let shutdown = parts.shutdown.clone();
        let (router, document) = bunbun_api::router(ApiState::new(parts));
        Self {
            service: embed::router(router),
            document: serde_json::to_value(document).expect("serialisable"),
            project: project(),
            validators: Mutex::default(),
            shutdown,
            database,
        }
    }

    pub(crate) fn parts(pool: Option<Pool>) -> ApiParts {
        ApiParts {
            version: "0.1.0",
            databases: Arc::new(SingleDatabase(pool)),
            database_limits: DatabaseLimits {
                statement_timeout: Duration::from_secs(30),
                max_rows: 100,
            },
            postgres_mode: SlotMode::Remote,
            slots: Arc::new(FixedSlots),
            calls: Arc::new(EmptySlots),
            public_url: None,
            file_size_limit: 1024 * 1024,
            spool_directory: std::env::temp_dir().join("bunbun-api-tests"),
            metrics: Arc::new(|| "bunbun_up 1\n".to_owned()),
            metrics_open: false,
            connections: None,
            mailbox: None,
            explain: Arc::new(FixedExplain),
            backups: None,
            shutdown: Shutdown::new(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        Call::new(self, Method::POST, path)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call::new(self, method, path)
    }

    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        // Described with the `GET`, whose head it has.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let segments: Vec<_> = path.split('/').collect();
        let matches = |template: &str| {
            let parts: Vec<_> = template.split('/').collect();
            // `{path}` is the rest of the path.
            let fits = match parts.last() {
                Some(&"{path}") => parts.len() <= segments.len(),
                _ => parts.len() == segments.len(),
            };
            fits && parts.iter().zip(&segments).all(|(part, segment)| {
                part == segment || part.starts_with('{') && !segment.is_empty()
            })
        };
        let paths = self.document["paths"].as_object().expect("paths");
        let exact = paths.get(path);
        exact
            .or_else(|| {
                paths
                    .iter()
                    .find(|(template, _)| matches(template))
                    .map(|(_, item)| item)
            })
            .and_then(|item| item.get(method.as_str().to_ascii_lowercase()))
    }

    /// Fails where the document does not declare the answer.
    fn check_declared(&self, method: &Method, path: &str, reply: &Reply) {
        let Some(operation) = self.operation(method, path) else {
            return;
        };
        let status = reply.status.as_u16().to_string();
        let declared = &operation["responses"][&status];
        assert!(
            !declared.is_null(),
            "{method} {path} answers {status}, which is not declared"
        );
        let declared = match declared["$ref"].as_str() {
            Some(reference) => self
                .document
                .pointer(reference.trim_start_matches('#'))
                .expect("a component"),
            None => declared,
        };
        let Some(media) = reply.headers.get("content-type") else {
            assert!(
                reply.body.is_empty(),
                "{method} {path}: a body without a type"
            );
            return;
        };
        let media = media.to_str().expect("ASCII");
        let essence = media.split(';').next().unwrap_or_default();
        if reply.body.is_empty() && *method == Method::HEAD {
            return;
        }
        let content = declared["content"].as_object().and_then(|content| {
            content.iter().find(|(key, _)| {
                *key == "*/*" || *key == media || key.split(';').next() == Some(essence)
            })
        });
        let Some((_, content)) = content else {
            panic!("{method} {path} answers {status} as {media}, which is not declared");
        };
        if essence == "application/json" {
            self.check_schema(
                &content["schema"],
                reply,
                &format!("{method} {path} {status}"),
            );
        }
    }

    /// Fails where the body is not what the document describes.
    fn check_schema(&self, schema: &Value, reply: &Reply, what: &str) {
        let mut validators = self.validators.lock().expect("no test panics in here");
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut root = schema.clone();
            root["components"] = self.document["components"].clone();
            jsonschema::draft202012::new(&root).expect("the schema is one")
        });
        let body = reply.json();
        if let Some(error) = validator.iter_errors(&body).next() {
            panic!("{what}: the body is not as declared: {error}\n{body:#}");
        }
    }
}

/// One request to be sent.
pub(crate) struct Call<'a> {
    api: &'a Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl<'a> Call<'a> {
    fn new(api: &'a Api, method: Method, path: &str) -> Self {
        let (headers, body) = (HeaderMap::new(), body::empty());
        Self {
            api,
            method,
            path: path.to_owned(),
            headers,
            body,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// As the project's owner.
    pub(crate) fn owner(self) -> Self {
        let key = service_key();
        self.bearer(&key)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.raw("application/json", value.to_string())
    }

    pub(crate) fn raw(mut self, media: &str, bytes: impl Into<Bytes>) -> Self {
        self.body = body::full(bytes);
        self.header("content-type", media)
    }

    pub(crate) async fn send(self) -> Reply {
        let context = RequestContext {
            request_id: RequestId::from_client(Some(&HeaderValue::from_static("test"))),
            project: Arc::clone(&self.api.project),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            caller: identity::caller(&self.api.project, &self.headers),
        };
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.headers_mut() = self.headers;
        request.extensions_mut().insert(context);
        let (parts, body) = self.api.service.call(request).await.into_parts();
        let body = body.collect().await.expect("the body arrives").to_bytes();
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        let path = self.path.split('?').next().unwrap_or_default();
        self.api.check_declared(&self.method, path, &reply);
        reply
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        let code = self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (self.status.as_u16(), code)
    }
}

pub(crate) fn service_key() -> String {
    jwt::application_key(SECRET, "service_role", ISSUED_AT)
}

pub(crate) fn anon_key() -> String {
    jwt::application_key(SECRET, "anon", ISSUED_AT)
}

pub(crate) fn token(secret: &str, role: &str, expires_at: i64) -> String {
    let claims = json!({
        "role": role, "aud": "authenticated", "sub": "4be1c1f0-0000-4000-8000-000000000001",
        "exp": expires_at,
    });
    jwt::sign_hs256(secret, &claims)
}

pub(crate) fn project() -> Arc<Project> {
    Arc::new(Project {
        reference: ProjectRef::default_project(),
        keys: ProjectKeys {
            anon: anon_key().into(),
            service_role: service_key().into(),
            opaque: vec![OpaqueKey {
                digest: secret::digest(OPAQUE.as_bytes()),
                role: KeyRole::ServiceRole,
                token: service_key().into(),
            }],
        },
        verifier: Verifier::new(SECRET),
    })
}

/// `auth` answers, `rest` is down, `storage` never answers, `functions` is empty.
struct FixedSlots;

impl SlotProbes for FixedSlots {
    fn probes(&self) -> Vec<SlotProbe> {
        let up = async { Ok(()) }.boxed();
        let down = async { Err("connect to 10.1.2.3:3000: refused".to_owned()) }.boxed();
        let silent = std::future::pending().boxed();
        let slot = |name: &str, filling| SlotProbe {
            name: name.into(),
            filling,
        };
        vec![
            slot("auth", Some((SlotMode::Embedded, up))),
            slot("rest", Some((SlotMode::Remote, down))),
            slot("storage", Some((SlotMode::Remote, silent))),
            slot("functions", None),
        ]
    }
}

/// Nobody told where the services are.
struct EmptySlots;

impl SlotCall for EmptySlots {
    fn call(
        &self,
        slot: &'static str,
        _request: Request<Body>,
        _first_byte_timeout: Duration,
    ) -> BoxFuture<'static, Result<http::Response<Body>, CallError>> {
        let sentence = format!("The service '{slot}' is not configured.");
        async move { Err(CallError::Empty(sentence)) }.boxed()
    }
}

struct FixedExplain;

impl Explain for FixedExplain {
    fn explain(
        &self,
        method: &Method,
        path: &str,
        context: &RequestContext,
    ) -> Result<Explanation, String> {
        if path.contains("%00") {
            return Err("The path has a NUL character.".to_owned());
        }
        Ok(Explanation {
            method: method.to_string(),
            path: path.to_owned(),
            project: context.project.reference.to_string(),
            route: Some("rest".to_owned()),
            reason: "Passed on to slot rest.".to_owned(),
            ..Explanation::default()
        })
    }

    fn refused(&self, request_id: &str, _context: &RequestContext) -> Option<Explanation> {
        (request_id == "known").then(|| Explanation {
            request_id: Some(request_id.to_owned()),
            refused_with: Some(401),
            reason: "No valid apikey.".to_owned(),
            ..Explanation::default()
        })
    }
}
