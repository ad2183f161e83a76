//! Tests of `postgres::Postgres`: a stored connection.

use std::{
    fs,
    future::ready,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::{
    Classify, Code,
    egress::{Egress, EgressRule, Resolve, Resolved},
};
use bunbun_databases::{
    Database, Error, Limits, Options, Settings, TlsMode,
    postgres::{
        Postgres,
        catalog::{Page, TABLES},
        cluster::{Binaries, Cluster, ClusterConfig},
        query::Request,
    },
};
use bunbun_test::TestDb;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

fn settings(url: &str) -> Settings {
    Settings::from_url(&SecretString::from(url)).expect("the URL is good")
}

fn loopback() -> Egress {
    Egress::new(&EgressRule::loopback())
}

async fn connect(url: &str, limits: &Limits) -> Result<Postgres, Error> {
    Postgres::connect(&settings(url), &loopback(), limits).await
}

async fn ask(postgres: &Postgres, sql: &str) -> Result<String, Error> {
    let id = uuid();
    let answer = postgres.run(&id, &Request::new(sql)).await?;
    Ok(String::from_utf8(answer.body).expect("UTF-8"))
}

/// An id that no other statement has.
fn uuid() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// A name with the addresses of its turn.
#[derive(Clone)]
struct Turns(Arc<AtomicUsize>, Arc<Vec<IpAddr>>);

impl Resolve for Turns {
    fn resolve(&self, _: &str, port: u16) -> Resolved {
        let turn = self.0.fetch_add(1, Ordering::Relaxed).min(self.1.len() - 1);
        let address = SocketAddr::new(self.1[turn], port);
        Box::pin(ready(Ok::<_, io::Error>(vec![address])))
    }
}

#[tokio::test]
async fn a_stored_connection_serves_and_tells_of_its_server() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let postgres = connect(database.url(), &Limits::default())
        .await
        .expect("it connects");
    postgres.ping().await.expect("it answers");
    let info = postgres.info().await.expect("it tells");
    assert!(
        info.version
            .starts_with(|first: char| first.is_ascii_digit()),
        "{info:?}"
    );
    assert_eq!((info.role.as_str(), info.tls), ("primary", false));
    ask(&postgres, "create table t (a int)")
        .await
        .expect("it runs");
    let page = Page {
        limit: 10,
        ..Page::default()
    };
    let tables = postgres.list(&TABLES, &page).await.expect("a list").items;
    assert_eq!(tables.len(), 1);
    assert!(postgres.status().size == 10 && postgres.status().in_use == 0);
    postgres.disconnect().await;
    let error = postgres.ping().await.expect_err("it is closed");
    assert_eq!(error.code(), Code::ConnectionFailed);
    assert_eq!(sessions(&database).await, 0, "and keeps nothing open");
}

/// Sessions of the database that are not ours, once they are as few as they get.
async fn sessions(database: &TestDb) -> i64 {
    let client = database.superuser().await;
    let sql = "select count(*) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    let mut count = 0;
    for _ in 0..200 {
        count = client.query_one(sql, &[]).await.expect("an answer").get(0);
        if count == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_refused_before_a_byte_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let none = Egress::new(&[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let url = format!("postgres://u:hunter2@{host}:{port}/d");
        let Ok(settings) = Settings::from_url(&SecretString::from(url)) else {
            continue;
        };
        let error = Postgres::connect(&settings, &none, &Limits::default())
            .await
            .expect_err(host);
        assert_eq!(error.code(), Code::HostNotAllowed, "{host}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
    let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err(), "nobody came");
}

#[tokio::test]
async fn a_name_is_checked_again_for_each_connection() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let metadata = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
    let asked = Arc::new(AtomicUsize::new(0));
    let resolver = Turns(Arc::clone(&asked), Arc::new(vec![local, metadata]));
    let egress = Egress::with_resolver(&EgressRule::loopback(), Arc::new(resolver));
    let mut settings = settings(database.url());
    "db.example.com".clone_into(&mut settings.hosts[0].name);
    let postgres = Postgres::connect(&settings, &egress, &Limits::default())
        .await
        .expect("the first is allowed");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // The client of the first connection is still good; a query opens another connection.
    let error = ask(&postgres, "select 1")
        .await
        .expect_err("the name leads elsewhere now");
    assert_eq!(error.code(), Code::HostNotAllowed);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_wrong_password_is_told_from_a_server_that_is_gone() {
    let Some(cluster) = Server::start().await else {
        return;
    };
    let url = cluster.url();
    let (_, rest) = url.split_once('@').expect("a user");
    let wrong = format!("postgres://postgres:hunter2@{rest}");
    let error = connect(&wrong, &Limits::default())
        .await
        .expect_err("wrong");
    assert_eq!(error.code(), Code::AuthenticationFailed, "{error:?}");
    assert_eq!(
        Classify::details(&error).expect("some")["sqlstate"],
        "28P01"
    );
    let nobody = format!(
        "postgres://postgres:hunter2@127.0.0.1:{}/postgres",
        free_port()
    );
    let gone = connect(&nobody, &Limits::default())
        .await
        .expect_err("gone");
    assert_eq!(gone.code(), Code::ConnectionFailed);
    assert!(gone.retry_after().is_some());
    let (_, no_user) = url.split_once('@').expect("a user");
    let none = connect(&format!("postgres://{no_user}"), &Limits::default())
        .await
        .expect_err("no user");
    for error in [error, gone, none] {
        let text = format!(
            "{error:?} {error} {:?} {:?}",
            error.public_message(),
            Classify::details(&error)
        );
        assert!(
            !text.contains("hunter2") && !text.contains("127.0.0.1"),
            "{text}"
        );
    }
    cluster.stop().await;
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A cluster of its own.
struct Server {
    directory: tempfile::TempDir,
    cluster: Cluster,
}

impl Server {
    async fn start() -> Option<Self> {
        if Binaries::find().is_err() {
            bunbun_test::skip("no PostgreSQL server programs");
            return None;
        }
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let cluster = Cluster::start(Self::config(&directory))
            .await
            .expect("it starts");
        Some(Self { directory, cluster })
    }

    fn config(directory: &tempfile::TempDir) -> ClusterConfig {
        let mut config = ClusterConfig::new(directory.path());
        config.durable = false;
        config
    }

    fn url(&self) -> String {
        self.cluster.superuser_url().expose_secret().to_owned()
    }

    async fn stop(self) -> tempfile::TempDir {
        self.cluster
            .stop(Duration::from_secs(20))
            .await
            .expect("it stops");
        self.directory
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_in_mid_use_comes_back_by_itself() {
    let Some(server) = Server::start().await else {
        return;
    };
    let limits = Limits {
        max_connections: 3,
        ..Limits::default()
    };
    let postgres = Arc::new(connect(&server.url(), &limits).await.expect("it connects"));
    ask(&postgres, "create table t (a int)")
        .await
        .expect("it runs");
    // In the middle of statements and of a checkout.
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let postgres = Arc::clone(&postgres);
            bunbun_core::task::spawn("test", async move {
                ask(&postgres, "select pg_sleep(30)").await
            })
        })
        .collect();
    while postgres.status().in_use < 2 {
        tokio::task::yield_now().await;
    }
    let directory = server.stop().await;
    for statement in busy {
        let error = statement
            .await
            .expect("no panic")
            .expect_err("it was cut off");
        assert!(matches!(error.code(), Code::ConnectionFailed), "{error:?}");
    }
    for _ in 0..3 {
        let error = ask(&postgres, "select 1")
            .await
            .expect_err("nobody is there");
        assert_eq!(error.code(), Code::ConnectionFailed);
        assert!(postgres.ping().await.is_err() && postgres.info().await.is_err());
    }
    let cluster = Cluster::start(Server::config(&directory))
        .await
        .expect("it starts again");
    ask(&postgres, "insert into t values (1)")
        .await
        .expect("the first statement succeeds");
    postgres.ping().await.expect("it answers");
    let counted = ask(&postgres, "select count(*)::int as n from t")
        .await
        .expect("rows");
    assert!(counted.contains("\"n\":1"), "once: {counted}");
    cluster
        .stop(Duration::from_secs(20))
        .await
        .expect("it stops");
}

#[tokio::test]
async fn a_pool_that_is_used_up_refuses_at_once_beyond_those_who_wait() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let limits = Limits {
        max_connections: 2,
        max_waiting: 3,
        ..Limits::default()
    };
    let postgres = connect(database.url(), &limits).await.expect("it connects");
    let asks = (0..20).map(|_| ask(&postgres, "select pg_sleep(0.3)"));
    let results = futures_util::future::join_all(asks).await;
    let served = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(served, 5, "two at once, and three who waited");
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), Code::PoolExhausted);
        assert!(error.retry_after().is_some());
    }
    ask(&postgres, "select 1").await.expect("free again");
}

#[tokio::test]
async fn a_thousand_callers_share_ten_connections() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let postgres = connect(database.url(), &Limits::default())
        .await
        .expect("it connects");
    ask(&postgres, "create table t (id int primary key, who text)")
        .await
        .expect("it runs");
    let asks = (0..1_000).map(|number| {
        let postgres = &postgres;
        async move {
            let sql = match number % 4 {
                // A session that is left dirty, for whoever comes next.
                0 => "select set_config('bunbun.who', 'somebody', false)".to_owned(),
                1 => {
                    format!("insert into t values ({number}, current_setting('bunbun.who', true))")
                }
                2 => "set search_path = pg_temp".to_owned(),
                _ => format!("select {number} as n, current_setting('search_path') as p"),
            };
            ask(postgres, &sql).await
        }
    });
    for result in futures_util::future::join_all(asks).await {
        let text = result.expect("an answer");
        assert!(
            !text.contains("pg_temp"),
            "a session of somebody else: {text}"
        );
    }
    assert!(postgres.status().idle <= 10);
    let counted = ask(
        &postgres,
        "select count(*)::int as n, count(nullif(who, ''))::int as who from t",
    )
    .await
    .expect("rows");
    assert!(
        counted.contains("{\"n\":250,\"who\":0}"),
        "nobody saw another's setting: {counted}"
    );
    let client = database.superuser().await;
    let sql = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let open: i64 = client.query_one(sql, &[]).await.expect("an answer").get(0);
    assert!(open <= 10, "{open} connections");
}

#[tokio::test]
async fn connections_that_rest_for_long_are_closed() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let postgres = connect(database.url(), &Limits::default())
        .await
        .expect("it connects");
    ask(&postgres, "select 1").await.expect("it runs");
    postgres.close_idle(Duration::from_secs(300)).await;
    assert_eq!(
        postgres.status().idle,
        2,
        "one of each kind, rested for a moment"
    );
    postgres.close_idle(Duration::ZERO).await;
    assert_eq!(postgres.status().idle, 0);
    assert_eq!(sessions(&database).await, 0);
    ask(&postgres, "select 1").await.expect("it connects again");
}

#[tokio::test]
async fn a_certificate_is_checked_against_the_name_not_the_address() {
    let Some(server) = Server::start().await else {
        return;
    };
    let certificate = crate::tls::turn_tls_on(server.directory.path(), &server.cluster).await;
    let resolver = Turns(
        Arc::default(),
        Arc::new(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
    );
    let egress = Egress::with_resolver(&EgressRule::loopback(), Arc::new(resolver));
    for (host, tls, with_certificate, expected) in [
        ("localhost", TlsMode::VerifyFull, true, Some(true)),
        ("other.example.com", TlsMode::VerifyFull, true, None),
        ("localhost", TlsMode::VerifyFull, false, None),
        ("other.example.com", TlsMode::Require, false, Some(true)),
        ("other.example.com", TlsMode::Prefer, false, Some(true)),
        ("other.example.com", TlsMode::Disable, false, Some(false)),
    ] {
        let mut settings = settings(&server.url());
        host.clone_into(&mut settings.hosts[0].name);
        settings.tls = tls;
        if let Options::Postgres(options) = &mut settings.options {
            options.ca_certificate = with_certificate.then(|| certificate.clone());
        }
        let connected = Postgres::connect(&settings, &egress, &Limits::default()).await;
        let encrypted = match connected {
            Ok(postgres) => {
                // Connections of both kinds.
                ask(&postgres, "select 1").await.expect("it runs");
                Some(postgres.info().await.expect("it tells").tls)
            }
            Err(_) => None,
        };
        assert_eq!(encrypted, expected, "{host} {tls:?}");
    }
    server.stop().await;
}

/// A way to the server that can be blocked: what is sent then arrives nowhere, and nobody is told.
struct Road {
    port: u16,
    blocked: Arc<AtomicBool>,
}

impl Road {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let blocked = Arc::new(AtomicBool::new(false));
        let is_blocked = Arc::clone(&blocked);
        bunbun_core::task::spawn("road", async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", server))
                    .await
                    .expect("it listens");
                let ((near_read, near_write), (far_read, far_write)) =
                    (near.into_split(), far.into_split());
                for (from, to) in [(near_read, far_write), (far_read, near_write)] {
                    let is_blocked = Arc::clone(&is_blocked);
                    bunbun_core::task::spawn("lane", lane(from, to, is_blocked));
                }
            }
        });
        Self { port, blocked }
    }
}

async fn lane(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_blocked: Arc<AtomicBool>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while is_blocked.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_costs_a_bounded_time() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let mut settings = settings(database.url());
    let road = Road::to(settings.hosts[0].port).await;
    settings.hosts[0].port = road.port;
    let limits = Limits {
        max_connections: 1,
        connect_timeout: Duration::from_secs(4),
        operation_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let postgres = Postgres::connect(&settings, &loopback(), &limits)
        .await
        .expect("it connects");
    ask(&postgres, "select 1").await.expect("it runs");
    road.blocked.store(true, Ordering::Relaxed);
    // In the middle of a statement, and at the first word of a new connection.
    let mut request = Request::new("select 1");
    request.timeout = Duration::from_millis(300);
    let error = postgres.run("silent", &request).await.expect_err("no word");
    assert_eq!(error.code(), Code::Timeout);
    let error = Postgres::connect(&settings, &loopback(), &limits)
        .await
        .expect_err("no word");
    assert_eq!(error.code(), Code::ConnectionFailed);
    road.blocked.store(false, Ordering::Relaxed);
    ask(&postgres, "select 1")
        .await
        .expect("the one connection is there again");
}

#[tokio::test]
async fn slow_statements_are_told_where_the_extension_is_loaded() {
    let Some(server) = Server::start().await else {
        return;
    };
    let sql = "alter system set shared_preload_libraries = 'pg_stat_statements'";
    let postgres = connect(&server.url(), &Limits::default())
        .await
        .expect("it connects");
    ask(&postgres, sql).await.expect("it may");
    let directory = server.stop().await;
    let Ok(cluster) = Cluster::start(Server::config(&directory)).await else {
        return bunbun_test::skip("no extension pg_stat_statements");
    };
    ask(&postgres, "create extension pg_stat_statements")
        .await
        .expect("it may");
    ask(&postgres, "select pg_sleep(0.2), 'a secret'")
        .await
        .expect("it runs");
    let stats = serde_json::to_value(postgres.stats().await.expect("they are told")).expect("JSON");
    let statements = stats["statements"].as_array().expect("a list");
    let slow = statements.iter().find(|one| {
        one["query"]
            .as_str()
            .is_some_and(|query| query.contains("pg_sleep"))
    });
    let slow = slow.expect("the slow one");
    assert!(slow["total_ms"].as_f64() > Some(150.0), "{slow}");
    assert!(
        !slow["query"].to_string().contains("a secret"),
        "constants are replaced"
    );
    assert!(stats["statements_missing"].is_null());
    cluster
        .stop(Duration::from_secs(20))
        .await
        .expect("it stops");
}
