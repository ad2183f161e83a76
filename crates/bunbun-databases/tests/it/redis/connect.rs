//! Getting there: passwords, TLS, databases, the egress guard.

use bunbun_core::{Classify, Code, egress::Egress};
use bunbun_databases::{
    Database, Options, Settings, TlsMode,
    connection::options::RedisOptions,
    redis::{ListKeys, Redis},
};
use bunbun_test::TestRedis;
use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::{connect, limits, try_connect};

#[tokio::test]
async fn a_server_says_what_it_is() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    redis.ping().await.unwrap();
    let info = redis.info().await.unwrap();
    assert!(
        info.version
            .starts_with(|first: char| first.is_ascii_digit()),
        "{info:?}"
    );
    assert_eq!(info.role, "primary");
    assert!(!info.tls);
    redis.disconnect().await;
    assert!(redis.ping().await.is_err());
}

#[tokio::test]
async fn a_wrong_password_is_told_from_an_unreachable_server() {
    let Some(mut server) = TestRedis::with_password("correct") else {
        return;
    };
    connect(&server).await.ping().await.unwrap();
    for url in [
        format!("redis://:wrong@127.0.0.1:{}", server.port()),
        format!("redis://127.0.0.1:{}", server.port()),
        format!("redis://nobody:correct@127.0.0.1:{}", server.port()),
    ] {
        let error = try_connect(&url, limits()).await.unwrap_err();
        assert_eq!(error.code(), Code::AuthenticationFailed, "{error:?}");
        assert!(!format!("{error:?}{error}").contains("correct"));
    }
    server.kill();
    let error = try_connect(&server.url(), limits()).await.unwrap_err();
    assert_eq!(error.code(), Code::ConnectionFailed);
}

#[tokio::test]
async fn a_database_is_chosen_by_its_number() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let third = try_connect(&format!("{}/3", server.url()), limits())
        .await
        .unwrap();
    let _ = server.command(&["SET", "in-zero", "1"]);
    let page = third
        .list_keys(&ListKeys {
            limit: 10,
            ..ListKeys::default()
        })
        .await
        .unwrap();
    assert_eq!((page.keys.len(), page.total), (0, 0));
    let error = try_connect(&format!("{}/99", server.url()), limits())
        .await
        .unwrap_err();
    assert_ne!(error.code(), Code::Internal, "{error:?}");
}

#[tokio::test]
async fn hosts_that_are_not_allowed_are_not_dialled() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("redis://{host}:{}", server.port());
        let settings = Settings::from_url(&url.into()).unwrap();
        let refused = Redis::connect(&settings, &Egress::new(&[]), &limits()).await;
        assert_eq!(refused.unwrap_err().code(), Code::HostNotAllowed, "{host}");
    }
    let connections = server.command(&["INFO", "stats"]);
    assert!(!connections.is_empty());
}

#[tokio::test]
async fn tls_is_checked_against_the_given_authority() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let Some(server) = TestRedis::with_tls(&cert.pem(), &signing_key.serialize_pem()) else {
        return;
    };
    let settings = |tls, authority: Option<String>| {
        let url = format!("rediss://localhost:{}", server.port());
        let mut settings = Settings::from_url(&url.into()).unwrap();
        settings.tls = tls;
        settings.options = Options::Redis(RedisOptions {
            ca_certificate: authority,
            ..RedisOptions::default()
        });
        settings
    };
    let egress = Egress::new(&bunbun_core::egress::EgressRule::loopback());
    let trusted = settings(TlsMode::VerifyFull, Some(cert.pem()));
    let redis = Redis::connect(&trusted, &egress, &limits()).await.unwrap();
    assert!(redis.info().await.unwrap().tls);
    let unchecked = settings(TlsMode::Require, None);
    Redis::connect(&unchecked, &egress, &limits())
        .await
        .unwrap();
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for authority in [None, Some(other.cert.pem())] {
        let untrusted = settings(TlsMode::VerifyFull, authority);
        let refused = Redis::connect(&untrusted, &egress, &limits()).await;
        assert_eq!(refused.unwrap_err().code(), Code::ConnectionFailed);
    }
    let mut other_name = trusted.clone();
    other_name.hosts[0].name = "127.0.0.1".to_owned();
    let refused = Redis::connect(&other_name, &egress, &limits()).await;
    assert_eq!(refused.unwrap_err().code(), Code::ConnectionFailed);
    let plain = try_connect(&format!("redis://localhost:{}", server.port()), limits()).await;
    assert_eq!(plain.unwrap_err().code(), Code::ConnectionFailed);
}
