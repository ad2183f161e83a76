//! Users' Redis servers through the whole binary: paths that the edge normalises, a WebSocket and
//! server-sent events that pass it, and its end.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use bunbun_databases::postgres::cluster::Binaries;
use bunbun_test::TestRedis;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::IntoClientRequest as _, protocol::CloseFrame};

use crate::{binary::command, running::Running};

const PATIENCE: Duration = Duration::from_secs(20);
const PATH: &str = "/api/platform/redis/default";

fn start(folder: &Path) -> Running {
    let env = [("LOG", "error"), ("ACCESS_LOG", "false")];
    Running::start(command(folder, &["dev", "--port", "0", "--json"], &env))
}

/// `bunbun dev` with a Redis that is stored as its primary one.
fn stage(folder: &Path) -> Option<(Running, TestRedis)> {
    if Binaries::find().is_err() {
        bunbun_test::skip("no PostgreSQL server programs");
        return None;
    }
    let server = TestRedis::with_password("a-secret-of-redis")?;
    let dev = start(folder);
    let body = json!({ "identifier": "main", "url": server.url() });
    let (status, answer) = call(&dev, "POST", "/connections", &body);
    assert_eq!(status, 201, "{answer}");
    Some((dev, server))
}

fn call(dev: &Running, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let key = dev.text("service_role_key");
    dev.call(
        method,
        &format!("{PATH}{path}"),
        Some(key),
        &body.to_string(),
    )
}

fn socket(dev: &Running, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(&dev.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let url = format!("ws://{}{PATH}{path}", dev.address);
    let mut request = url.into_client_request().expect("a URL");
    let bearer = format!("Bearer {}", dev.text("service_role_key"));
    request
        .headers_mut()
        .insert("authorization", bearer.parse().expect("a header"));
    tungstenite::client(request, stream).expect("a WebSocket").0
}

/// The next message; pings are answered on the way.
fn next(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        match socket.read().expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn publish(dev: &Running, channel: &str, data: &str) {
    let body = json!({ "channel": channel, "data": data });
    let (status, answer) = call(dev, "POST", "/pubsub/publish", &body);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn keys_of_any_bytes_pass_the_edge() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, server)) = stage(folder.path()) else {
        return;
    };
    let value = json!({ "type": "string", "value": "x" });
    for (path, name) in [
        ("a%2Fb", "a/b"),
        ("a%3Fb%23c%25d", "a?b#c%d"),
        ("a%0D%0AFLUSHALL%0D%0A", "a\r\nFLUSHALL\r\n"),
        ("Li4vLi4?key_encoding=base64", "../.."),
    ] {
        let path = format!("/keys/{path}");
        let (status, answer) = call(&dev, "PUT", &path, &value);
        // The edge may refuse control characters and encoded slashes; base64 always passes.
        if status == 200 {
            assert_eq!(server.command(&["EXISTS", name]), ":1", "{path}");
            assert_eq!(call(&dev, "DELETE", &path, &json!({})).0, 204);
        } else {
            assert_eq!(status, 400, "{path}: {answer}");
            assert!(!path.contains("base64"), "{path}: {answer}");
        }
        assert_eq!(server.command(&["DBSIZE"]), ":0");
    }
    dev.stop();
}

#[test]
fn requests_errors_caches_and_pools_are_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, _server)) = stage(folder.path()) else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(call(&dev, "GET", "/info", &json!({})).0, 200);
    }
    assert_eq!(call(&dev, "GET", "/keys/none", &json!({})).0, 404);
    let metrics = dev.metrics();
    let value = |name: &str, labels: &[&str]| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        let number = line.and_then(|line| line.rsplit(' ').next());
        number
            .and_then(|number| number.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {name} {labels:?} in {metrics}"))
    };
    let kind = "database_type=\"redis\"";
    let cache = |outcome: &str| {
        let labels = ["kind=\"server_info\"", outcome];
        value("bunbun_database_cache_total", &labels)
    };
    assert!(
        (cache("\"hit\""), cache("\"miss\"")) == (2.0, 1.0),
        "{metrics}"
    );
    let info = "operation=\"GET /api/platform/redis/{ref}/info\"";
    let count = value("bunbun_database_request_seconds_count", &[kind, info]);
    assert!((count - 3.0).abs() < f64::EPSILON, "{metrics}");
    value(
        "bunbun_database_errors_total",
        &[kind, "code=\"KEY_NOT_FOUND\""],
    );
    let pools = value("bunbun_database_pools", &[kind]);
    assert!((pools - 1.0).abs() < f64::EPSILON, "{metrics}");
    for state in ["size", "in_use", "idle", "waiting"] {
        let state = format!("state=\"{state}\"");
        value("bunbun_database_pool_connections", &[kind, &state]);
    }
    dev.stop();
}

#[test]
fn a_websocket_gets_messages_changes_its_channels_and_ends_with_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, _server)) = stage(folder.path()) else {
        return;
    };
    let mut socket = socket(&dev, "/pubsub/subscribe?channel=news&pattern=n*");
    publish(&dev, "news", "hello");
    let mut patterns = 0;
    for _ in 0..2 {
        let message = next(&mut socket);
        assert_eq!(message["type"], "message");
        assert_eq!(message["channel"], "news");
        assert_eq!(
            (&message["data"], &message["encoding"]),
            (&json!("hello"), &json!("utf8"))
        );
        assert!(
            message["ts"]
                .as_i64()
                .is_some_and(|ts| ts > 1_600_000_000_000)
        );
        patterns += usize::from(message["pattern"] == "n*");
    }
    assert_eq!(patterns, 1);
    let wish = json!({ "subscribe": ["other"], "unsubscribe": ["news"], "punsubscribe": ["n*"] });
    socket.send(Message::text(wish.to_string())).expect("sent");
    assert_eq!(next(&mut socket), json!({ "type": "subscribed" }));
    publish(&dev, "news", "unheard");
    publish(&dev, "other", "heard");
    assert_eq!(next(&mut socket)["data"], "heard");
    socket.send(Message::text("nonsense")).expect("sent");
    assert_eq!(next(&mut socket)["type"], "error");

    let ending = std::thread::spawn(move || {
        loop {
            match socket.read() {
                Ok(Message::Close(Some(CloseFrame { code, .. }))) => return u16::from(code),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    dev.stop();
    assert_eq!(ending.join().expect("no panic"), 1001);
}

#[test]
fn numbers_come_every_second_over_a_websocket() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, server)) = stage(folder.path()) else {
        return;
    };
    server.fill("k", 5);
    let mut socket = socket(&dev, "/stats");
    assert_eq!(next(&mut socket)["keys"], 5);
    server.fill("k", 9);
    while next(&mut socket)["keys"] != 9 {}
    dev.stop();
}

#[test]
fn who_may_not_look_gets_no_websocket() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, _server)) = stage(folder.path()) else {
        return;
    };
    for bearer in [None, Some("anon_key")] {
        let stream = TcpStream::connect(&dev.address).expect("it listens");
        let url = format!("ws://{}{PATH}/pubsub/subscribe?channel=a", dev.address);
        let mut request = url.into_client_request().expect("a URL");
        if let Some(name) = bearer {
            let value = format!("Bearer {}", dev.text(name));
            let value = value.parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        let refused = tungstenite::client(request, stream).expect_err("no WebSocket");
        let text = refused.to_string();
        assert!(text.contains("401") || text.contains("403"), "{text}");
    }
    dev.stop();
}

#[test]
fn a_subscriber_that_stops_reading_loses_messages_and_costs_no_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, server)) = stage(folder.path()) else {
        return;
    };
    let mut slow = socket(&dev, "/pubsub/subscribe?channel=fast");
    let mut quick = socket(&dev, "/pubsub/subscribe?channel=fast");
    let data = "x".repeat(100_000);
    let before = dev.resident_bytes();
    // 200 MB, far more than sockets and inbox hold.
    for _ in 0..2000 {
        let _ = server.command(&["PUBLISH", "fast", &data]);
        assert_eq!(next(&mut quick)["type"], "message");
    }
    let grown = dev.resident_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "grew by {} MiB", grown >> 20);
    let lost = loop {
        let message = next(&mut slow);
        if message["type"] == "lost" {
            break message["count"].as_u64().expect("a number");
        }
    };
    assert!(lost > 1000, "{lost}");
    dev.stop();
}

#[test]
fn messages_come_as_server_sent_events_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((dev, server)) = stage(folder.path()) else {
        return;
    };
    let mut stream = TcpStream::connect(&dev.address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let key = dev.text("service_role_key");
    write!(
        stream,
        "GET {PATH}/pubsub/subscribe?channel=news HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\r\n",
        dev.address
    )
    .expect("it reads");
    let mut lines = BufReader::new(stream).lines();
    let mut find = |start: &str| {
        lines
            .by_ref()
            .map(|line| line.expect("a line"))
            .find(|line| line.starts_with(start))
            .expect("it comes")
    };
    assert_eq!(find("HTTP/1.1"), "HTTP/1.1 200 OK");
    // The head comes with the first event at the latest, and the channel is there before.
    let _ = server.command(&["PUBLISH", "news", "hello"]);
    assert_eq!(find("event: "), "event: message");
    let data: Value =
        serde_json::from_str(find("data: ").trim_start_matches("data: ")).expect("JSON");
    assert_eq!(data["data"], "hello");
    drop(lines);
    dev.stop();
}
