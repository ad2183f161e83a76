//! Servers that die, stand still, are slow, or are not Redis at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bunbun_core::{Classify, Code};
use bunbun_databases::{
    Database, Limits,
    redis::{Content, ListKeys, NewValue, ReadValue, Redis, Ttl, WriteMode},
};
use bunbun_test::TestRedis;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{connect, eventually, limits, try_connect};

const READ: ReadValue = ReadValue {
    limit: 10,
    bytes: 100,
    cursor: None,
    size: false,
};

fn short() -> Limits {
    Limits {
        connect_timeout: Duration::from_millis(300),
        operation_timeout: Duration::from_millis(300),
        max_connections: 4,
        max_waiting: 8,
    }
}

fn list() -> ListKeys {
    ListKeys {
        limit: 10,
        details: true,
        ..ListKeys::default()
    }
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_used_again() {
    let Some(mut server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for _ in 0..3 {
        redis.list_keys(&list()).await.unwrap();
        server.kill();
        let error = redis.list_keys(&list()).await.unwrap_err();
        assert_eq!(error.code(), Code::ConnectionFailed, "{error:?}");
        assert!(error.retry_after().is_some());
        server.restart();
        eventually(async || redis.list_keys(&list()).await.ok()).await;
        let error = redis.read_value(b"none", &READ).await.unwrap_err();
        assert_eq!(error.code(), Code::KeyNotFound);
    }
}

#[tokio::test]
async fn reads_are_repeated_over_a_restart_that_nobody_noticed() {
    let Some(mut server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let missing = async || redis.read_value(b"none", &READ).await.unwrap_err().code();
    assert_eq!(missing().await, Code::KeyNotFound);
    server.restart();
    assert_eq!(missing().await, Code::KeyNotFound);
}

#[tokio::test]
async fn a_server_that_stands_still_costs_no_more_than_the_timeout() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = try_connect(&server.url(), short()).await.unwrap();
    redis.list_keys(&list()).await.unwrap();
    server.freeze();
    let started = Instant::now();
    let error = redis.read_value(b"k", &READ).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error:?}");
    let error = redis.list_keys(&list()).await.unwrap_err();
    assert!(
        matches!(error.code(), Code::Timeout | Code::ConnectionFailed),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(3));
    server.thaw();
    eventually(async || redis.list_keys(&list()).await.ok()).await;
}

/// Passes bytes on, and none at all after so many from the server.
async fn leaky(port: u16, passes: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    bunbun_core::task::spawn("leaky", async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let passes = Arc::clone(&passes);
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            bunbun_core::task::spawn("to the server", async move {
                tokio::io::copy(&mut from_client, &mut to_server).await
            });
            bunbun_core::task::spawn("to the client", async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    if passes.load(Ordering::SeqCst) == 0 {
                        // Half open: nothing is closed, nothing comes.
                        std::future::pending::<()>().await;
                    }
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn connections_that_are_half_open_are_replaced() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let passes = Arc::new(AtomicU64::new(1));
    let port = leaky(server.port(), Arc::clone(&passes)).await;
    let redis = try_connect(&format!("redis://127.0.0.1:{port}"), short())
        .await
        .unwrap();
    redis.list_keys(&list()).await.unwrap();
    passes.store(0, Ordering::SeqCst);
    for _ in 0..3 {
        redis.list_keys(&list()).await.unwrap_err();
    }
    // New connections work; the old ones never will.
    passes.store(1, Ordering::SeqCst);
    eventually(async || redis.list_keys(&list()).await.ok()).await;
    let status = redis.status();
    assert!(status.in_use + status.idle <= status.size, "{status:?}");
}

#[tokio::test]
async fn when_all_connections_are_taken_some_wait_and_the_rest_is_refused() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = Arc::new(try_connect(&server.url(), short()).await.unwrap());
    redis.list_keys(&list()).await.unwrap();
    server.freeze();
    let callers = (0..50).map(|_| {
        let redis = Arc::clone(&redis);
        async move { redis.list_clients(10, None).await.map(drop) }
    });
    let started = Instant::now();
    let results = futures_util::future::join_all(callers).await;
    let refused = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .filter(|error| error.code() == Code::PoolExhausted)
        .collect::<Vec<_>>();
    assert!(refused.len() >= 50 - 2 - 8, "{}", refused.len());
    assert!(refused[0].retry_after().is_some());
    assert!(started.elapsed() < Duration::from_secs(3));
    server.thaw();
    eventually(async || redis.list_clients(10, None).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_at_once_get_their_own_answers() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let callers = (0..1000).map(|n| {
        let redis = Arc::clone(&redis);
        bunbun_core::task::spawn("caller", async move {
            let key = format!("key {n}").into_bytes();
            let value = NewValue {
                content: Content::String(key.clone()),
                ttl: Ttl::Keep,
                mode: WriteMode::Create,
            };
            redis.write_value(&key, &value).await.unwrap();
            let page = redis.read_value(&key, &READ).await.unwrap();
            assert_eq!(page.content, Content::String(key));
            redis.list_keys(&list()).await.unwrap();
        })
    });
    for caller in futures_util::future::join_all(callers).await {
        caller.unwrap();
    }
    let clients = redis.list_clients(100, None).await.unwrap().clients;
    assert!(
        clients.len() <= Limits::default().max_connections,
        "{}",
        clients.len()
    );
}

#[tokio::test]
async fn callers_who_go_away_leave_no_answers_to_others() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    server.fill("k", 500);
    for n in 0..200_u64 {
        let key = format!("k{n}").into_bytes();
        let abandoned = redis.read_value(&key, &READ);
        let _ = tokio::time::timeout(Duration::from_micros(n * 7), abandoned).await;
        let request = list();
        let abandoned = redis.list_keys(&request);
        let _ = tokio::time::timeout(Duration::from_micros(n * 7), abandoned).await;
        let page = redis.read_value(&key, &READ).await.unwrap();
        assert_eq!(page.content, Content::String(n.to_string().into_bytes()));
    }
}

#[tokio::test]
async fn a_server_that_is_no_redis_is_an_error_and_nothing_worse() {
    let answers: Vec<&'static [u8]> = vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*9223372036854775807\r\n",
        b"%4294967295\r\n",
        b"$99999999999\r\nabc",
        b"!-5\r\n",
        b">0\r\n>1\r\n:1\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n$-1\r\n",
        b"",
        b"\xff\xff\xff\xff",
        b"-ERR wrong\r\n",
        b"%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n+OK\r\n+OK\r\n%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n*1\r\n*2\r\n:0\r\n:99999\r\n",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = bunbun_core::task::spawn("no redis", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(answer).await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            }
        });
        let result = try_connect(&format!("redis://127.0.0.1:{port}"), short()).await;
        assert!(result.is_err(), "{answer:?}");
        server.abort();
    }
}

#[tokio::test]
async fn a_server_that_sends_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let server = bunbun_core::task::spawn("endless", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"$9999999999\r\n").await.unwrap();
        let chunk = vec![b'x'; 1 << 20];
        while stream.write_all(&chunk).await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let url = format!("redis://127.0.0.1:{port}");
    let result = try_connect(&url, limits()).await;
    assert!(result.is_err());
    tokio::time::timeout(Duration::from_secs(10), server)
        .await
        .expect("it was cut off")
        .unwrap();
    assert!(
        sent.load(Ordering::SeqCst) < 80,
        "{} MiB",
        sent.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn a_redis_that_is_unused_holds_nothing() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis: Redis = try_connect(&server.url(), limits()).await.unwrap();
    redis.list_keys(&list()).await.unwrap();
    drop(redis);
    eventually(async || {
        let lines = server.command(&["CLIENT", "LIST"]);
        (!lines.contains("lib-name=bunbun")).then_some(())
    })
    .await;
}
