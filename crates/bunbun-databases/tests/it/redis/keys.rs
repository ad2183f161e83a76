//! Listing, counting, deleting, renaming.

use std::collections::{BTreeMap, BTreeSet};

use bunbun_core::{Classify, Code};
use bunbun_databases::redis::{BulkDelete, Expiry, KeyTree, ListKeys, Redis};
use bunbun_test::TestRedis;

use super::connect;

/// Every key, page by page.
async fn all(redis: &Redis, request: ListKeys) -> Vec<Vec<u8>> {
    let mut request = request;
    let mut keys = Vec::new();
    loop {
        let page = redis.list_keys(&request).await.unwrap();
        assert!(page.keys.len() <= request.limit, "{} keys", page.keys.len());
        keys.extend(page.keys.into_iter().map(|row| row.key));
        request.cursor = page.next_cursor;
        if request.cursor.is_none() {
            return keys;
        }
    }
}

#[tokio::test]
async fn every_key_is_listed_whatever_the_page_size() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("key:", 2345);
    let redis = connect(&server).await;
    for limit in [1000, 100, 7] {
        let keys = all(
            &redis,
            ListKeys {
                limit,
                ..ListKeys::default()
            },
        )
        .await;
        let unique: BTreeSet<_> = keys.iter().collect();
        assert_eq!(unique.len(), 2345, "limit {limit}");
    }
}

#[tokio::test]
async fn rows_have_type_expiry_encoding_and_size() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    for command in [
        &["SET", "string", "text", "PX", "60000"][..],
        &["RPUSH", "list", "a"],
        &["SADD", "set", "1"],
        &["ZADD", "zset", "1", "a"],
        &["HSET", "hash", "f", "v"],
        &["XADD", "stream", "*", "f", "v"],
    ] {
        let answer = server.command(command);
        assert!(!answer.starts_with('-'), "{answer}");
    }
    let redis = connect(&server).await;
    let request = ListKeys {
        limit: 100,
        details: true,
        size: true,
        ..ListKeys::default()
    };
    let page = redis.list_keys(&request).await.unwrap();
    assert_eq!((page.total, page.next_cursor), (6, None));
    let rows: BTreeMap<_, _> = page
        .keys
        .into_iter()
        .map(|row| (row.key, row.details.unwrap()))
        .collect();
    for name in ["string", "list", "set", "zset", "hash", "stream"] {
        let row = &rows[name.as_bytes()];
        assert_eq!(row.value_type, name);
        assert!(row.size_bytes.unwrap() > 0);
        assert_eq!(row.ttl_ms.is_some(), name == "string", "{name}");
    }
    assert_eq!(rows[&b"string"[..]].encoding.as_deref(), Some("embstr"));
    assert_eq!(rows[&b"set"[..]].encoding.as_deref(), Some("intset"));
    let sets = ListKeys {
        value_type: Some("set".to_owned()),
        limit: 100,
        ..ListKeys::default()
    };
    assert_eq!(all(&redis, sets).await, [b"set"]);
}

#[tokio::test]
async fn patterns_are_redis_own_and_a_literal_one_needs_no_scan() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("user:", 300);
    let _ = server.command(&["SET", "what?", "1"]);
    let redis = connect(&server).await;
    let matching = |pattern: &str| ListKeys {
        pattern: Some(pattern.as_bytes().to_vec()),
        limit: 100,
        details: true,
        ..ListKeys::default()
    };
    assert_eq!(all(&redis, matching("user:1?")).await.len(), 10);
    assert_eq!(all(&redis, matching("user:*")).await.len(), 300);
    let scans = || server.command(&["INFO", "commandstats"]);
    let _ = server.command(&["CONFIG", "RESETSTAT"]);
    assert_eq!(all(&redis, matching(r"what\?")).await, [b"what?"]);
    assert_eq!(all(&redis, matching("user:7")).await, [b"user:7"]);
    assert!(all(&redis, matching("nobody")).await.is_empty());
    assert!(!scans().contains("cmdstat_scan"), "{}", scans());
}

#[tokio::test]
async fn a_cursor_of_another_listing_is_refused() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("key:", 50);
    let redis = connect(&server).await;
    let first = redis
        .list_keys(&ListKeys {
            limit: 5,
            ..ListKeys::default()
        })
        .await
        .unwrap();
    let cursor = first.next_cursor.unwrap();
    for cursor in [cursor.as_str(), "", "AAAA", "\u{0}", &"A".repeat(10_000)] {
        let request = ListKeys {
            limit: 5,
            pattern: Some(b"key:*".to_vec()),
            cursor: Some(cursor.to_owned()),
            ..ListKeys::default()
        };
        let error = redis.list_keys(&request).await.unwrap_err();
        assert_eq!(error.code(), Code::ValidationFailed);
    }
}

#[tokio::test]
async fn keys_of_any_bytes_are_keys() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let names: Vec<Vec<u8>> = vec![
        b"line\r\nFLUSHALL\r\n".to_vec(),
        b"$3\r\nfoo\r\n".to_vec(),
        vec![0, 159, 146, 150],
        Vec::new(),
        "gr\u{fc}n".as_bytes().to_vec(),
        vec![b'x'; 100_000],
    ];
    for name in &names {
        let set = [b"SET".to_vec(), name.clone(), b"1".to_vec()];
        let role = bunbun_databases::redis::Role::Writer;
        redis.run_command(&set, role, None, None).await.unwrap();
    }
    let keys = all(
        &redis,
        ListKeys {
            limit: 100,
            details: true,
            ..ListKeys::default()
        },
    )
    .await;
    let found: BTreeSet<_> = keys.into_iter().collect();
    assert_eq!(found, names.iter().cloned().collect());
    for name in &names {
        assert!(redis.delete_key(name).await.unwrap());
        assert!(!redis.delete_key(name).await.unwrap());
    }
}

#[tokio::test]
async fn no_command_of_a_listing_can_hold_the_server_up() {
    let Some(server) = TestRedis::with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "100000",
    ]) else {
        return;
    };
    server.fill("key:", 5000);
    let redis = connect(&server).await;
    let _ = server.command(&["SLOWLOG", "RESET"]);
    for pattern in [None, Some(b"*99*".to_vec())] {
        let request = ListKeys {
            limit: 1000,
            details: true,
            size: true,
            pattern,
            ..ListKeys::default()
        };
        all(&redis, request).await;
    }
    let mut scans = 0;
    for entry in redis.list_slow_commands(100_000).await.unwrap() {
        let text: Vec<_> = entry
            .command
            .iter()
            .map(|part| String::from_utf8_lossy(part))
            .collect();
        match &*text[0] {
            "SCAN" => {
                scans += 1;
                let count = text.iter().position(|part| part == "COUNT").unwrap();
                assert!(text[count + 1].parse::<u32>().unwrap() <= 1000, "{text:?}");
            }
            "TYPE" | "PTTL" | "OBJECT" | "MEMORY" | "DBSIZE" | "SLOWLOG" | "HELLO" | "CLIENT" => {}
            other => panic!("{other}"),
        }
    }
    assert!((10..40).contains(&scans), "{scans}");
}

#[tokio::test]
async fn a_tree_counts_folders_and_goes_on_where_it_stopped() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("app:user:", 3000);
    server.fill("app:job:", 500);
    server.fill("app:", 5);
    server.fill("other:", 100);
    let redis = connect(&server).await;
    let tree = |cursor: Option<String>| {
        KeyTree::new(
            redis.clone(),
            b"app:".to_vec(),
            b":".to_vec(),
            cursor.as_deref(),
        )
        .unwrap()
    };
    let mut folders = BTreeMap::new();
    let mut keys = 0;
    let mut walk = tree(None);
    while let Some(step) = walk.step().await.unwrap() {
        for (folder, count) in step.folders {
            *folders.entry(folder).or_insert(0) += count;
        }
        keys += step.key_count;
        assert_eq!(step.total, 3605);
        let Some(cursor) = step.cursor else { break };
        // As if the client had gone and come back.
        walk = tree(Some(cursor));
    }
    let expected = [(b"job".to_vec(), 500), (b"user".to_vec(), 3000)];
    assert_eq!(folders, BTreeMap::from(expected));
    assert_eq!(keys, 5);
}

#[tokio::test]
async fn a_bulk_delete_counts_first_and_then_deletes_only_what_matches() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("gone:", 2500);
    server.fill("kept:", 30);
    let redis = connect(&server).await;
    for (dry_run, left) in [(true, ":2530"), (false, ":30")] {
        let mut work =
            BulkDelete::new(redis.clone(), b"gone:*".to_vec(), None, dry_run, None).unwrap();
        let (mut matched, mut deleted) = (0, 0);
        while let Some(step) = work.step().await.unwrap() {
            matched += step.matched;
            deleted += step.deleted;
            assert!(step.sample.iter().all(|key| key.starts_with(b"gone:")));
        }
        assert_eq!(matched, 2500);
        assert_eq!(deleted, if dry_run { 0 } else { 2500 });
        assert_eq!(server.command(&["DBSIZE"]), left);
    }
}

#[tokio::test]
async fn expiry_is_set_and_taken_away() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let _ = server.command(&["SET", "a", "1"]);
    let redis = connect(&server).await;
    let left = redis
        .expire_key(b"a", Expiry::After(60_000))
        .await
        .unwrap()
        .unwrap();
    assert!((59_000..=60_000).contains(&left), "{left}");
    assert_eq!(redis.expire_key(b"a", Expiry::Never).await.unwrap(), None);
    let error = redis.expire_key(b"b", Expiry::Never).await.unwrap_err();
    assert_eq!(error.code(), Code::KeyNotFound);
    assert_eq!(
        redis.expire_key(b"a", Expiry::At(1)).await.unwrap(),
        Some(0)
    );
    assert_eq!(server.command(&["EXISTS", "a"]), ":0");
}

#[tokio::test]
async fn a_rename_takes_no_other_key_unasked() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("k", 3);
    let redis = connect(&server).await;
    let error = redis.rename_key(b"k0", b"k1", false).await.unwrap_err();
    assert_eq!(error.code(), Code::KeyExists);
    redis.rename_key(b"k0", b"k1", true).await.unwrap();
    assert_eq!(server.command(&["GET", "k1"]), "0");
    redis.rename_key(b"k1", b"new\r\n", false).await.unwrap();
    let error = redis.rename_key(b"k0", b"k9", true).await.unwrap_err();
    assert_eq!(error.code(), Code::KeyNotFound);
    assert_eq!(server.command(&["DBSIZE"]), ":2");
}
