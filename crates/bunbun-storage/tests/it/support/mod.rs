//! A service with a database and a directory of its own, called as the edge calls it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bunbun_core::{
    clock::ManualClock,
    id::ProjectRef,
    jwt::{self, Verifier},
    project::{Project, ProjectKeys},
    task,
};
use bunbun_http::{Body, RequestContext, RequestId, body};
use bunbun_postgres::{Pool, PoolConfig, SingleDatabase};
use bunbun_storage::{Blobs, Settings, StorageParts, StorageService};
use bunbun_test::TestDb;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789-0123456789";
/// When the clock stands: the wall clock's order of magnitude, as the files' dates are.
pub(crate) const USER_A: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const USER_B: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const S3_KEY: (&str, &str) = ("test-access-key", "test-secret-key");

/// The service.
pub(crate) struct Storage {
    pub(crate) service: StorageService,
    pub(crate) project: Arc<Project>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) database: TestDb,
    pub(crate) directory: TempDir,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The answer of a success, or a failed test that shows it.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    /// A refusal: HTTP 400 with the true status and code in the body.
    #[track_caller]
    pub(crate) fn refused(&self, status: &str, code: &str) {
        let body = self.json();
        assert_eq!(
            (body["statusCode"].as_str(), body["code"].as_str()),
            (Some(status), Some(code)),
            "{body}"
        );
        assert_eq!(self.status, 400, "{body}");
        assert!(
            body["message"].is_string() && body["error"].is_string(),
            "{body}"
        );
    }
}

/// A request to be made.
pub(crate) struct Call<'s> {
    storage: &'s Storage,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With the key of the project's owner.
    pub(crate) fn service(self) -> Self {
        let token = token("service_role", None);
        self.token(&token)
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body::full(body.to_string());
        self.header("content-type", "application/json")
    }

    pub(crate) fn bytes(mut self, mime: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = bytes.len().to_string();
        self.body = body::full(bytes);
        self.header("content-type", mime)
            .header("content-length", &length)
    }

    pub(crate) fn stream(mut self, mime: &str, body: Body) -> Self {
        self.body = body;
        self.header("content-type", mime)
    }

    /// The answer, its body not yet read.
    pub(crate) async fn begin(self) -> Response<Body> {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(self.body).unwrap();
        request.extensions_mut().insert(self.storage.context());
        self.storage.service.embedded().call(request).await
    }

    pub(crate) async fn send(self) -> Answer {
        let (parts, body) = self.begin().await.into_parts();
        let body = body
            .collect()
            .await
            .expect("the body comes to its end")
            .to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }
}

impl Storage {
    /// A service; `None`, said aloud, where there is no PostgreSQL.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(&mut Settings)) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let place = directory.path().join("storage");
        Self::start_at(directory, &place, set).await
    }

    /// A service with its files at a place.
    pub(crate) async fn start_at(
        directory: TempDir,
        place: &Path,
        set: impl FnOnce(&mut Settings),
    ) -> Option<Self> {
        let database = TestDb::create().await?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let clock = Arc::new(ManualClock::at(i64::try_from(now.as_secs()).unwrap()));
        let mut settings = Settings::new(SECRET.to_owned().into());
        settings.s3_access_key = Some((S3_KEY.0.to_owned(), S3_KEY.1.to_owned().into()));
        set(&mut settings);
        let blobs = Blobs::open(Some(place.to_str().unwrap()), directory.path(), false).unwrap();
        let service = StorageService::new(StorageParts {
            databases: Arc::new(SingleDatabase::new(
                ProjectRef::default_project(),
                Some(pool(&database)),
            )),
            blobs,
            settings,
            clock: Arc::clone(&clock) as _,
        });
        let project = Arc::new(Project {
            reference: ProjectRef::default_project(),
            keys: ProjectKeys {
                anon: token("anon", None).into(),
                service_role: token("service_role", None).into(),
                opaque: Vec::new(),
            },
            verifier: Verifier::new(SECRET).with_clock(Arc::clone(&clock) as _),
        });
        Some(Self {
            service,
            project,
            clock,
            database,
            directory,
        })
    }

    fn context(&self) -> RequestContext {
        RequestContext {
            request_id: RequestId::generate(),
            project: Arc::clone(&self.project),
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            caller: None,
        }
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            storage: self,
            method: method.parse().unwrap(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: body::empty(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    /// A private bucket, made by the owner.
    pub(crate) async fn bucket(&self, name: &str) {
        self.post("/bucket")
            .service()
            .json(&json!({ "name": name }))
            .send()
            .await
            .ok();
    }

    pub(crate) async fn public_bucket(&self, name: &str) {
        let body = json!({ "name": name, "public": true });
        self.post("/bucket").service().json(&body).send().await.ok();
    }

    /// An object, uploaded by the owner.
    pub(crate) async fn put(&self, path: &str, content: &str) -> Value {
        let call = self
            .post(&format!("/object/{path}"))
            .service()
            .header("x-upsert", "true");
        call.bytes("text/plain", content.to_owned())
            .send()
            .await
            .ok()
            .json()
    }

    /// An object, whether or not there was one.
    pub(crate) async fn replace(&self, path: &str, content: &str) {
        let call = self.call("PUT", &format!("/object/{path}")).service();
        let call = call.bytes("text/plain", content.to_owned());
        call.send().await.ok();
    }

    /// Runs SQL as the database's owner.
    pub(crate) async fn sql(&self, sql: &str) {
        let client = pool(&self.database).get().await.unwrap();
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// One value as a superuser.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.database
            .superuser()
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Policies as applications have them: users read what is theirs and write into their folder.
    pub(crate) async fn own_folder_policies(&self) {
        self.sql(
            "create policy own_read on storage.objects for select to authenticated
               using (owner_id = auth.uid()::text);
             create policy own_insert on storage.objects for insert to authenticated
               with check ((storage.foldername(name))[1] = auth.uid()::text);
             create policy own_update on storage.objects for update to authenticated
               using (owner_id = auth.uid()::text)
               with check ((storage.foldername(name))[1] = auth.uid()::text);
             create policy own_delete on storage.objects for delete to authenticated
               using (owner_id = auth.uid()::text);",
        )
        .await;
    }

    /// Every file of the service's directory.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.directory.path().join("storage"), &mut found);
        found
    }

    /// The service on a socket, with the edge's work on the request done.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (service, context) = (self.service.embedded(), self.context());
        task::spawn("test server", async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (service, context) = (Arc::clone(&service), context.clone());
                let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                    request.extensions_mut().insert(context.clone());
                    let answering = service.call(request);
                    async move { Ok::<_, std::convert::Infallible>(answering.await) }
                });
                task::spawn("test connection", async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        address
    }
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

pub(crate) fn pool(database: &TestDb) -> Pool {
    let mut config = PoolConfig::new(database.url().into(), "test");
    config.size = 8;
    config.wait_timeout = Duration::from_secs(60);
    Pool::new(&config).unwrap()
}

/// A token of a role.
pub(crate) fn token(role: &str, user: Option<&str>) -> String {
    let mut claims = json!({ "role": role, "iat": 0, "exp": 4_000_000_000_i64 });
    if let Some(user) = user {
        claims["sub"] = user.into();
        claims["aud"] = "authenticated".into();
    }
    jwt::sign_hs256(SECRET, &claims)
}

/// A user's token.
pub(crate) fn user(id: &str) -> String {
    token("authenticated", Some(id))
}
