//! Three nodes that share the keys.

use std::collections::BTreeSet;

use bunbun_core::{
    Classify, Code,
    egress::{Egress, EgressRule},
};
use bunbun_databases::{
    Database, Settings,
    redis::{
        BulkDelete, Content, Event, Expiry, ListKeys, Mode, NewValue, ReadValue, Redis, Role, Ttl,
        WriteMode,
    },
};
use bunbun_test::TestRedisCluster;

use super::{limits, try_connect};

async fn write(redis: &Redis, key: &str) {
    let value = NewValue {
        content: Content::List(vec![key.as_bytes().to_vec()]),
        ttl: Ttl::Keep,
        mode: WriteMode::Replace,
    };
    redis.write_value(key.as_bytes(), &value).await.unwrap();
}

#[tokio::test]
async fn a_cluster_is_used_as_one_server() {
    let Some(cluster) = TestRedisCluster::start() else {
        return;
    };
    let redis = std::sync::Arc::new(try_connect(&cluster.url(), limits()).await.unwrap());
    assert_eq!(redis.mode(), Mode::Cluster);
    assert_eq!(redis.info().await.unwrap().role, "cluster");
    for n in 0..600 {
        write(&redis, &format!("key:{n}")).await;
    }
    for node in &cluster.nodes {
        assert_ne!(node.command(&["DBSIZE"]), ":0");
    }
    let mut request = ListKeys {
        limit: 50,
        details: true,
        ..ListKeys::default()
    };
    let mut seen = BTreeSet::new();
    loop {
        let page = redis.list_keys(&request).await.unwrap();
        assert_eq!(page.total, 600);
        for row in page.keys {
            assert_eq!(row.details.unwrap().value_type, "list");
            seen.insert(row.key);
        }
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 600);
    let read = ReadValue {
        limit: 10,
        bytes: 10,
        ..ReadValue::default()
    };
    let page = redis.read_value(b"key:77", &read).await.unwrap();
    assert_eq!(page.content, Content::List(vec![b"key:77".to_vec()]));
    let get = [b"LLEN".to_vec(), b"key:500".to_vec()];
    let (answer, _) = redis
        .run_command(&get, Role::Reader, None, None)
        .await
        .unwrap();
    assert_eq!(answer, 1);

    let crossed = redis
        .rename_key(b"key:1", b"key:2", true)
        .await
        .unwrap_err();
    assert_eq!(crossed.code(), Code::QueryInvalid);
    write(&redis, "{a}1").await;
    redis.rename_key(b"{a}1", b"{a}2", false).await.unwrap();
    assert_eq!(redis.node_infos(None).await.unwrap().len(), 3);
    assert_eq!(redis.stats().await.unwrap().keys, 601);

    let subscription = redis.subscribe().unwrap();
    subscription
        .add(vec![b"room".to_vec()], false)
        .await
        .unwrap();
    redis.publish(b"room", b"hello").await.unwrap();
    assert!(
        matches!(subscription.next().await, Event::Message(message) if message.data == b"hello")
    );

    let mut work = BulkDelete::new(redis.clone(), b"key:*".to_vec(), None, false, None).unwrap();
    let mut deleted = 0;
    while let Some(step) = work.step().await.unwrap() {
        deleted += step.deleted;
    }
    assert_eq!(deleted, 600);
}

#[tokio::test]
async fn slots_that_move_are_followed() {
    let Some(cluster) = TestRedisCluster::start() else {
        return;
    };
    let redis = try_connect(&cluster.url(), limits()).await.unwrap();
    // "foo" is in slot 12182, which the third node has.
    write(&redis, "foo").await;
    let id = |node: usize| cluster.nodes[node].command(&["CLUSTER", "MYID"]);
    let (third, first) = (id(2), id(0));
    let setslot = |node: usize, state: &str, other: &str| {
        let answer = cluster.nodes[node].command(&["CLUSTER", "SETSLOT", "12182", state, other]);
        assert_eq!(answer, "+OK");
    };
    // On its way: the key has gone, the slot has not. Then the answer is ASK.
    setslot(0, "IMPORTING", &third);
    setslot(2, "MIGRATING", &first);
    let port = cluster.nodes[0].port().to_string();
    let answer = cluster.nodes[2].command(&["MIGRATE", "127.0.0.1", &port, "foo", "0", "5000"]);
    assert_eq!(answer, "+OK");
    let read = ReadValue {
        limit: 10,
        bytes: 10,
        ..ReadValue::default()
    };
    let page = redis.read_value(b"foo", &read).await.unwrap();
    assert_eq!(page.content, Content::List(vec![b"foo".to_vec()]));
    write(&redis, "foo").await;
    let left = redis
        .expire_key(b"foo", Expiry::After(60_000))
        .await
        .unwrap();
    assert!(left.is_some());
    let length = [b"LLEN".to_vec(), b"foo".to_vec()];
    let (answer, _) = redis
        .run_command(&length, Role::Reader, None, None)
        .await
        .unwrap();
    assert_eq!(answer, 1);
    // Arrived: the answer is MOVED.
    for node in [0, 2, 1] {
        setslot(node, "NODE", &first);
    }
    let page = redis.read_value(b"foo", &read).await.unwrap();
    assert_eq!(page.length, 1);
    write(&redis, "foo").await;
    let changed = redis.read_value(b"foo", &read).await.unwrap();
    assert_eq!(changed.length, 1);
}

#[tokio::test]
async fn members_that_are_not_allowed_are_not_dialled() {
    let Some(cluster) = TestRedisCluster::start() else {
        return;
    };
    let port = cluster.nodes[0].port();
    let settings = Settings::from_url(&cluster.url().into()).unwrap();
    let rule: EgressRule = format!("127.0.0.1:{port}").parse().unwrap();
    let redis = Redis::connect(&settings, &Egress::new(&[rule]), &limits())
        .await
        .unwrap();
    let read = ReadValue {
        limit: 10,
        bytes: 10,
        ..ReadValue::default()
    };
    let mut codes = BTreeSet::new();
    for n in 0..60 {
        let result = redis.read_value(format!("key:{n}").as_bytes(), &read).await;
        codes.insert(result.unwrap_err().code().as_str());
    }
    assert_eq!(codes, BTreeSet::from(["HOST_NOT_ALLOWED", "KEY_NOT_FOUND"]));
}
