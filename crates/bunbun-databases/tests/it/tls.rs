//! Connections over TLS and over a Unix socket.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use bunbun_databases::postgres::{
    cluster::{Binaries, Cluster, ClusterConfig},
    pool::{Pool, PoolConfig},
    query::{Request, run},
};
use secrecy::ExposeSecret;
use std::time::Duration;
use tempfile::TempDir;

const STOP: Duration = Duration::from_secs(20);

async fn start() -> Option<(TempDir, Cluster)> {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return None;
    }
    let directory = TempDir::new().expect("a temporary directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let mut config = ClusterConfig::new(directory.path());
    config.durable = false;
    let cluster = Cluster::start(config).await.expect("it starts");
    Some((directory, cluster))
}

/// A file of the server's own.
fn give(data: &Path, name: &str, content: &str) {
    let path = data.join(name);
    fs::write(&path, content).expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    let owner = fs::metadata(data).expect("it is there");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("ours to give");
}

/// Turns TLS on with a certificate for `localhost`; returns the certificate.
pub(crate) async fn turn_tls_on(directory: &Path, cluster: &Cluster) -> String {
    let signed =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let data = directory.join("data");
    give(&data, "server.crt", &signed.cert.pem());
    give(&data, "server.key", &signed.signing_key.serialize_pem());
    let pool = pool(cluster.superuser_url().expose_secret());
    for sql in ["alter system set ssl = on", "select pg_reload_conf()"] {
        run(&pool, &Request::new(sql)).await.expect("it may");
    }
    signed.cert.pem()
}

fn pool(url: &str) -> Pool {
    Pool::new(&PoolConfig::new(url.to_owned().into())).expect("the URL is good")
}

/// Whether a new connection of either kind is encrypted; `None` when it cannot be made.
async fn is_encrypted(url: &str) -> Option<bool> {
    let pool = pool(url);
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let query = run(&pool, &Request::new(sql)).await;
    let client = pool.get().await;
    let (Ok(query), Ok(client)) = (&query, client) else {
        assert!(query.is_err(), "both kinds of connection or none");
        return None;
    };
    let by_client: bool = client.query_one(sql, &[]).await.expect("it answers").get(0);
    let text = String::from_utf8_lossy(&query.body);
    assert_eq!(text.contains("\"ssl\":true"), by_client, "{text}");
    Some(by_client)
}

#[tokio::test]
async fn sslmode_decides_about_encryption_and_verification() {
    let Some((directory, cluster)) = start().await else {
        return;
    };
    let url = cluster.superuser_url();
    let base = url
        .expose_secret()
        .split('?')
        .next()
        .expect("a text")
        .to_owned();
    let by_name = base.replace("127.0.0.1", "localhost");
    assert_eq!(
        is_encrypted(&format!("{base}?sslmode=prefer")).await,
        Some(false)
    );
    assert_eq!(is_encrypted(&format!("{base}?sslmode=require")).await, None);

    let certificate = turn_tls_on(directory.path(), &cluster).await;
    let root = directory.path().join("root.pem");
    fs::write(&root, certificate).expect("it is written");
    let root = root.display();
    // The reload is not instant.
    let reloaded = async {
        while is_encrypted(&format!("{base}?sslmode=require")).await != Some(true) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(STOP, reloaded)
        .await
        .expect("TLS is on");
    assert_eq!(
        is_encrypted(&format!("{base}?sslmode=disable")).await,
        Some(false)
    );
    assert_eq!(
        is_encrypted(&format!("{base}?sslmode=prefer")).await,
        Some(true)
    );
    assert_eq!(is_encrypted(&base).await, Some(true));
    assert_eq!(
        is_encrypted(&format!("{by_name}?sslmode=verify-full")).await,
        None
    );
    assert_eq!(
        is_encrypted(&format!("{by_name}?sslmode=verify-full&sslrootcert={root}")).await,
        Some(true)
    );
    assert_eq!(
        is_encrypted(&format!("{base}?sslmode=verify-full&sslrootcert={root}")).await,
        None,
        "the certificate is for another name"
    );
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_statement_over_tls_is_cancelled_too() {
    let Some((directory, cluster)) = start().await else {
        return;
    };
    turn_tls_on(directory.path(), &cluster).await;
    let pool = pool(
        &cluster
            .superuser_url()
            .expose_secret()
            .replace("disable", "prefer"),
    );
    let mut request = Request::new("select generate_series(1, 1000000000000)");
    request.max_rows = 2;
    assert!(run(&pool, &request).await.expect("it runs").is_truncated);
    run(&pool, &Request::new("select 1"))
        .await
        .expect("the connection came back");
    cluster.stop(STOP).await.expect("it stops");
}

#[tokio::test]
async fn a_unix_socket_is_reached() {
    let Some((directory, cluster)) = start().await else {
        return;
    };
    let url = cluster.superuser_url();
    let credentials = url
        .expose_secret()
        .split('@')
        .next()
        .expect("a text")
        .to_owned();
    let socket = directory.path().join("socket");
    let url = format!(
        "{credentials}@/postgres?host={}&port={}",
        socket.display(),
        cluster.port()
    );
    assert_eq!(is_encrypted(&url).await, Some(false));
    cluster.stop(STOP).await.expect("it stops");
}
