//! A server that is found through a sentinel, and another one after a failover.

use bunbun_databases::{
    Database,
    redis::{Content, Mode, NewValue, Ttl, WriteMode},
};
use bunbun_test::TestRedis;

use super::{eventually, limits, try_connect};

#[tokio::test]
async fn after_a_failover_the_new_primary_is_used() {
    let Some(mut primary) = TestRedis::start() else {
        return;
    };
    let port = primary.port().to_string();
    let Some(replica) = TestRedis::with(&["--replicaof", "127.0.0.1", &port]) else {
        return;
    };
    let Some(sentinel) = TestRedis::sentinel(&primary, "main") else {
        return;
    };
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let redis = try_connect(&url, limits()).await.unwrap();
    assert_eq!(redis.mode(), Mode::Sentinel);
    assert_eq!(redis.info().await.unwrap().role, "primary");
    let value = NewValue {
        content: Content::String(b"1".to_vec()),
        ttl: Ttl::Keep,
        mode: WriteMode::Replace,
    };
    redis.write_value(b"before", &value).await.unwrap();
    eventually(async || (replica.command(&["GET", "before"]) == "1").then_some(())).await;
    primary.kill();
    eventually(async || redis.write_value(b"after", &value).await.ok()).await;
    assert_eq!(replica.command(&["GET", "after"]), "1");
    let unknown = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port());
    assert!(try_connect(&unknown, limits()).await.is_err());
}
