//! The endpoints with the real auth and storage services behind them: in this process, or at the
//! URL of a gateway in front of them.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bunbun_auth::{AuthParts, AuthService, Signer, mail::NoMailer};
use bunbun_core::{
    clock::SystemClock,
    config::{Config, GatewayConfig, Sources},
    id::ProjectRef,
    project::SingleProject,
    shutdown::Shutdown,
};
use bunbun_gateway::{
    BasicCredentials, Edge, EdgeConfig, Server, ServerOptions, Snapshot,
    cors::Cors,
    rate_limit::Limits,
    route::{self, Environment},
    slot::{Filling, NAMES, Slot, Slots},
    upstream::{Registry, Settings as UpstreamSettings},
};
use bunbun_postgres::{Pool, PoolConfig, SingleDatabase};
use bunbun_storage::{Blobs, Settings, StorageParts, StorageService};
use bunbun_test::TestDb;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{self, Api, Reply, SECRET};

/// Largest file.
pub(crate) const FILE_LIMIT: usize = 300 * 1024;
pub(crate) const PASSWORD: &str = "correct horse battery 9";

/// Where the services are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Embedded,
    Remote,
}

/// Both ways: whatever holds for one holds for the other.
pub(crate) const WAYS: [Way; 2] = [Way::Embedded, Way::Remote];

/// The endpoints and what is behind them.
pub(crate) struct Stack {
    pub(crate) api: Api,
    pub(crate) folder: TempDir,
    shutdown: Shutdown,
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Stack {
    /// On a database of its own; `None`, said aloud, where there is no PostgreSQL.
    pub(crate) async fn start(way: Way) -> Option<Self> {
        let database = TestDb::from_template("services", |url| async move {
            let pool = pool(&url);
            bunbun_auth::migrate(&pool).await.expect("auth's schema");
            bunbun_storage::migrate(&pool)
                .await
                .expect("storage's schema");
        })
        .await?;
        let folder = tempfile::tempdir().expect("a folder");
        let databases = Arc::new(SingleDatabase::new(
            ProjectRef::default_project(),
            Some(pool(database.url())),
        ));
        let embedded = [
            ("auth", auth(Arc::clone(&databases)).embedded()),
            ("storage", storage(databases, &folder).embedded()),
        ];
        let slots = slots(|name| {
            let found = embedded.iter().find(|(own, _)| *own == name);
            found.map(|(_, service)| Filling::Embedded(Arc::clone(service)))
        });
        let shutdown = Shutdown::new();
        let slots = match way {
            Way::Embedded => slots,
            Way::Remote => remote(slots, &shutdown),
        };
        let spool = folder.path().join("spool");
        let api = Api::new(Some(database.pool()), Some(database), |parts| {
            parts.calls = Arc::new(slots);
            parts.file_size_limit = FILE_LIMIT as u64;
            parts.spool_directory = spool;
        });
        Some(Self {
            api,
            folder,
            shutdown,
        })
    }

    /// Runs SQL as the owner.
    pub(crate) async fn sql(&self, sql: &str) -> Value {
        let body = json!({ "sql": sql });
        let reply = self.api.post("/api/db/query").owner().json(&body);
        let reply = reply.send().await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text());
        reply.json()["rows"].clone()
    }

    /// A new user: its token and its id.
    pub(crate) async fn user(&self, name: &str) -> User {
        let body = json!({ "email": address(name), "password": PASSWORD });
        let reply = self.api.post("/api/auth/signup").json(&body).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        User {
            id: text(&answer["user"]["id"]),
            token: text(&answer["session"]["access_token"]),
            refresh_token: text(&answer["session"]["refresh_token"]),
        }
    }

    /// A bucket in which users have what lies below a folder of their id.
    pub(crate) async fn bucket(&self, name: &str) {
        self.sql(&format!(
            "insert into storage.buckets (id, name) values ('{name}', '{name}')"
        ))
        .await;
        let own =
            format!("bucket_id = '{name}' and (storage.foldername(name))[1] = auth.uid()::text");
        self.sql(&format!(
            "create policy \"{name}\" on storage.objects for all to authenticated \
             using ({own}) with check ({own})"
        ))
        .await;
    }

    pub(crate) async fn upload(&self, token: &str, fields: &[(&str, &[u8])]) -> Reply {
        let call = self.api.post("/api/storage/upload").bearer(token);
        call.raw(FORM, form(fields)).send().await
    }

    pub(crate) async fn put(&self, token: &str, bucket: &str, path: &str, content: &[u8]) -> Reply {
        let fields = [
            ("bucket", bucket.as_bytes()),
            ("path", path.as_bytes()),
            ("file", content),
        ];
        self.upload(token, &fields).await
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Reply {
        self.api.get(path).bearer(token).send().await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> Reply {
        let call = self.api.call(Method::DELETE, path).bearer(token);
        call.send().await
    }

    /// Files that wait on disk.
    pub(crate) fn spooled(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("spool")).map_or(0, Iterator::count)
    }
}

/// A user that has signed in.
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

pub(crate) const FORM: &str = "multipart/form-data; boundary=XX";

/// The form of these fields; `file` is a file.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, content) in fields {
        let more = match *name {
            "file" => "; filename=\"a\"\r\nContent-Type: image/png",
            _ => "",
        };
        let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--XX--\r\n");
    form
}

pub(crate) fn address(name: &str) -> String {
    format!("{name}@example.com")
}

fn pool(url: &str) -> Pool {
    Pool::new(&PoolConfig::new(url.to_owned().into(), "tests")).expect("the URL is ours")
}

fn auth(databases: Arc<SingleDatabase>) -> AuthService {
    let settings = [
        ("JWT_SECRET", SECRET),
        ("MAILER_AUTOCONFIRM", "true"),
        ("AUTH_HASH_WORKERS", "2"),
        ("RATE_LIMIT_TOKEN_REFRESH", "0"),
        ("RATE_LIMIT_OTP", "0"),
    ];
    let env = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sources = Sources {
        env: HashMap::from(env),
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    let external_url = OnceLock::new();
    let url = "http://localhost:3000/auth/v1".parse().expect("a URL");
    external_url.set(url).expect("it is new");
    AuthService::new(AuthParts {
        databases,
        config: config.auth,
        jwt_secret: SECRET.to_owned().into(),
        signer: Arc::new(Signer::hs256(SECRET)),
        external_url: Arc::new(external_url),
        mailer: Arc::new(NoMailer),
        clock: Arc::new(SystemClock),
        version: "test",
    })
    .expect("threads")
}

fn storage(databases: Arc<SingleDatabase>, folder: &TempDir) -> StorageService {
    StorageService::new(StorageParts {
        databases,
        blobs: Blobs::open(None, folder.path(), false).expect("a place for files"),
        settings: Settings::new(SECRET.to_owned().into()),
        clock: Arc::new(SystemClock),
    })
}

fn slots(filling: impl Fn(&str) -> Option<Filling>) -> Slots {
    let slot = |name: &&'static str| {
        Arc::new(Slot {
            name: (*name).into(),
            filling: filling(name).unwrap_or(Filling::Empty),
            public_paths: false,
        })
    };
    Slots(NAMES.iter().map(slot).collect())
}

/// The slots of another BunBun, whose services are at the URL of one with these.
fn remote(slots_behind: Slots, shutdown: &Shutdown) -> Slots {
    let registry = Arc::new(Registry::default());
    let environment = Environment {
        slots: slots_behind,
        registry: Arc::clone(&registry),
        limits: Arc::new(Limits::new(None).expect("limits in memory")),
        shards: 1,
        realtime_host: "realtime".to_owned(),
        max_api_body_bytes: 1024 * 1024,
        file_size_limit: 1024 * 1024,
    };
    let config = GatewayConfig::default();
    let table = route::compile(&config, &environment).unwrap_or_else(|faults| panic!("{faults}"));
    let snapshot = Snapshot {
        table,
        dialect: config.dialect,
        cors: Cors::new(&[], config.dialect),
    };
    let edge = Edge::new(
        snapshot,
        EdgeConfig {
            projects: Arc::new(SingleProject(api::project())),
            basic: BasicCredentials::new("nobody".to_owned(), None),
            trusted_proxies: Vec::new(),
            base_domain: None,
            body_timeout: Duration::from_secs(10),
            log: None,
            traces: None,
            shutdown: shutdown.clone(),
        },
    );
    let options = ServerOptions {
        workers: 1,
        header_timeout: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(1),
        max_connections: 100,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = Server::start(listener, None, &Arc::new(edge), &options, shutdown);
    let address = server.expect("a server starts").address();
    slots(|name| {
        let url = match name {
            "auth" | "storage" => format!("http://{address}/{name}/v1"),
            _ => return None,
        };
        let settings = UpstreamSettings::of_service(name, &[url.parse().expect("a URL")]);
        let upstream = registry.get(settings, 1).expect("an upstream");
        Some(Filling::Remote(upstream))
    })
}
