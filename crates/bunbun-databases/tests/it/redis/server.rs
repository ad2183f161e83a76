//! What servers tell about themselves.

use bunbun_core::Classify;
use bunbun_databases::{Database as _, redis::Role};
use bunbun_test::TestRedis;

use super::connect;

#[tokio::test]
async fn info_and_stats_are_numbers() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("k", 7);
    let _ = server.command(&["GET", "k1"]);
    let _ = server.command(&["GET", "none"]);
    let redis = connect(&server).await;
    let infos = redis.node_infos(None).await.unwrap();
    assert_eq!(infos.len(), 1);
    assert_eq!(infos[0].sections["server"]["tcp_port"], server.port());
    assert_eq!(infos[0].sections["keyspace"]["db0"]["keys"], 7);
    assert!(infos[0].sections["commandstats"]["cmdstat_get"]["calls"].is_u64());
    let memory = redis.node_infos(Some("memory")).await.unwrap();
    assert_eq!(memory[0].sections.keys().collect::<Vec<_>>(), ["memory"]);
    let stats = redis.stats().await.unwrap();
    assert_eq!((stats.keys, stats.nodes), (7, 1));
    assert_eq!((stats.hits, stats.misses), (1, 1));
    assert_eq!(stats.hit_rate(), Some(0.5));
    assert!(stats.used_memory_bytes > 0 && stats.connected_clients > 0);
}

#[tokio::test]
async fn many_who_watch_ask_the_server_once() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let _ = server.command(&["CONFIG", "RESETSTAT"]);
    let watchers = (0..200).map(|_| redis.stats());
    for stats in futures_util::future::join_all(watchers).await {
        stats.unwrap();
    }
    let infos = redis.node_infos(Some("commandstats")).await.unwrap();
    let calls = infos[0].sections["commandstats"]["cmdstat_info"]["calls"]
        .as_u64()
        .unwrap();
    assert!(calls < 20, "{calls}");
}

#[tokio::test]
async fn slow_commands_and_clients_are_listed() {
    let Some(server) = TestRedis::with(&["--slowlog-log-slower-than", "0"]) else {
        return;
    };
    let redis = connect(&server).await;
    let command = [b"GET".to_vec(), b"slow\r\nkey".to_vec()];
    redis
        .run_command(&command, Role::Reader, None, None)
        .await
        .unwrap();
    let slow = redis.list_slow_commands(50).await.unwrap();
    assert!(
        slow.iter().any(|entry| entry.command == command),
        "{slow:?}"
    );
    assert!(slow.iter().all(|entry| entry.started_at > 1_600_000_000));
    redis.ping().await.unwrap();
    let first = redis.list_clients(1, None).await.unwrap();
    assert_eq!(first.clients.len(), 1);
    assert!(first.clients[0]["addr"].is_string() && first.clients[0]["id"].is_u64());
    let second = redis
        .list_clients(100, first.next_cursor.as_deref())
        .await
        .unwrap();
    assert!(
        second
            .clients
            .iter()
            .all(|client| client["id"] != first.clients[0]["id"])
    );
    assert!(second.next_cursor.is_none());
    let error = redis.list_clients(1, Some("nonsense")).await.unwrap_err();
    assert_eq!(error.code(), bunbun_core::Code::ValidationFailed);
}
