//! HTTP/2 by prior knowledge on the same port: the same decisions, no way to smuggle through the
//! translation to HTTP/1 (CVE-2023-27491), and floods that hurt only the flooder.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::{
    Gateway, Http2Client, Origin,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Outcome, PING,
        RST_STREAM, SETTINGS, block, string,
    },
};

fn stand() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    (origin, gateway)
}

/// A request without a body.
fn get(uri: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

/// A good request's head, with more lines.
fn head<'h>(path: &'h str, more: &[(&'h str, &'h [u8])]) -> Vec<(&'h str, &'h [u8])> {
    let mut head: Vec<(&str, &[u8])> = vec![
        (":method", b"GET"),
        (":scheme", b"http"),
        (":authority", b"gateway.test"),
        (":path", path.as_bytes()),
    ];
    head.extend_from_slice(more);
    head
}

#[test]
fn requests_get_the_same_decisions_as_over_http_1() {
    let (origin, gateway) = stand();
    let client = Http2Client::connect(gateway.address);
    let (anon, service) = (gateway.keys.anon.clone(), gateway.keys.service_role.clone());
    for (path, key, status) in [
        ("/storage/v1/object", None, 200),
        ("/rest/v1/todos?a=1", Some(&anon), 200),
        ("/rest/v1/todos", None, 401),
        ("/pg/tables", Some(&anon), 403),
        ("/pg/tables", Some(&service), 200),
        ("/rest/v1/../../pg/tables", Some(&anon), 403),
        ("/rest/v1/..%2f..%2fpg/tables", Some(&service), 400),
        ("//pg/tables", Some(&anon), 403),
    ] {
        let uri = format!("http://gateway.test{path}");
        let headers: Vec<(&str, &str)> = key.iter().map(|key| ("apikey", key.as_str())).collect();
        let response = client.send(get(&uri, &headers));
        assert_eq!(response.status, status, "{path}");
        let id = response.headers["x-request-id"].to_str().expect("ASCII");
        assert_eq!(gateway.refused(id).is_some(), status >= 400, "{path}");
        assert_eq!(origin.take().len(), usize::from(status == 200), "{path}");
    }
}

#[test]
fn the_origin_learns_the_authority_as_it_learns_a_host() {
    let (origin, gateway) = stand();
    let client = Http2Client::connect(gateway.address);
    client.send(get("http://gateway.test:8000/storage/v1/x", &[]));
    let seen = origin.only();
    assert_eq!(seen.all("host"), [origin.address().to_string()]);
    assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test:8000"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

#[test]
fn a_host_header_that_contradicts_the_authority_is_refused() {
    let (origin, gateway) = stand();
    let client = Http2Client::connect(gateway.address);
    let uri = "http://gateway.test/storage/v1/x";
    let response = client.send(get(uri, &[("host", "evil.test")]));
    assert_eq!(response.status, 400);
    assert_eq!(origin.take().len(), 0);
    let response = client.send(get(uri, &[("host", "gateway.test")]));
    assert_eq!(response.status, 200);
    assert_eq!(origin.only().all("host").len(), 1);
}

#[test]
fn bodies_pass_in_both_directions() {
    let (origin, gateway) = stand();
    let client = Http2Client::connect(gateway.address);
    let body = Bytes::from(vec![b'x'; 300_000]);
    let request = Request::post("http://gateway.test/storage/v1/x").body(body.clone().into());
    let response = client.send(request.expect("a request"));
    assert_eq!(response.status, 200);
    assert!(response.text().len() > 300_000);
    let seen = origin.only();
    assert_eq!(seen.body, body);
    assert_eq!(seen.all("content-length"), ["300000"]);
    assert_eq!(seen.header("transfer-encoding"), None);
}

#[test]
fn what_http_1_could_read_differently_never_arrives() {
    let (origin, gateway) = stand();
    let bad = [
        (
            "CR LF in a value",
            head("/storage/v1/x", &[("x", b"a\r\nEvil: 1")]),
        ),
        (
            "LF in a value",
            head("/storage/v1/x", &[("x", b"a\nEvil: 1")]),
        ),
        ("NUL in a value", head("/storage/v1/x", &[("x", b"a\0b")])),
        ("a colon in a name", head("/storage/v1/x", &[("x:y", b"1")])),
        (
            "CR LF in a name",
            head("/storage/v1/x", &[("x\r\ny", b"1")]),
        ),
        ("a space in a name", head("/storage/v1/x", &[("x y", b"1")])),
        ("an empty name", head("/storage/v1/x", &[("", b"1")])),
        ("upper case", head("/storage/v1/x", &[("X-Y", b"1")])),
        (
            "connection",
            head("/storage/v1/x", &[("connection", b"apikey")]),
        ),
        (
            "transfer-encoding",
            head("/storage/v1/x", &[("transfer-encoding", b"chunked")]),
        ),
        (
            "upgrade",
            head("/storage/v1/x", &[("upgrade", b"websocket")]),
        ),
        ("keep-alive", head("/storage/v1/x", &[("keep-alive", b"5")])),
        ("te", head("/storage/v1/x", &[("te", b"gzip")])),
        (
            "a late pseudo-header",
            head("/storage/v1/x", &[("x", b"1"), (":path", b"/pg/")]),
        ),
        ("two paths", head("/storage/v1/x", &[(":path", b"/pg/")])),
        (
            "two authorities",
            head("/storage/v1/x", &[(":authority", b"evil.test")]),
        ),
        (
            "an unknown pseudo-header",
            head("/storage/v1/x", &[(":evil", b"1")]),
        ),
        (
            "two hosts",
            head(
                "/storage/v1/x",
                &[("host", b"gateway.test"), ("host", b"evil.test")],
            ),
        ),
        ("a space in the path", head("/storage/v1/x HTTP/1.1", &[])),
        ("CR LF in the path", head("/storage/v1/x\r\nEvil: 1", &[])),
        ("a path without a slash", head("storage/v1/x", &[])),
        ("an empty path", head("", &[])),
        (
            "a body shorter than its length",
            head("/storage/v1/x", &[("content-length", b"5")]),
        ),
    ];
    for (what, headers) in bad {
        let mut client = Frames::connect(gateway.address);
        client.request(1, &headers);
        let outcome = client.outcome(1);
        assert!(
            matches!(
                outcome,
                Outcome::Reset | Outcome::Closed | Outcome::Answered(400)
            ),
            "{what}: {outcome:?}"
        );
        assert_eq!(origin.take().len(), 0, "{what}");
    }
    let mut client = Frames::connect(gateway.address);
    client.request(
        1,
        &head("/storage/v1/x", &[("x-fine", b"1"), ("te", b"trailers")]),
    );
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(origin.only().header("x-fine"), Some("1"));
    // A fragment is no part of the path, for the decision as for the origin (CVE-2021-32779).
    let mut client = Frames::connect(gateway.address);
    client.request(1, &head("/storage/v1/x#/../../pg/", &[]));
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(origin.only().target, "/x");
}

#[test]
fn a_body_longer_than_its_length_never_arrives_whole() {
    let (origin, gateway) = stand();
    let mut client = Frames::connect(gateway.address);
    let mut headers = head("/storage/v1/x", &[("content-length", b"5")]);
    headers[0].1 = b"POST";
    client.send(HEADERS, END_HEADERS, 1, &block(&headers));
    client.send(
        DATA,
        END_STREAM,
        1,
        b"helloGET /pg/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    );
    let outcome = client.outcome(1);
    assert!(
        matches!(
            outcome,
            Outcome::Reset | Outcome::Closed | Outcome::Answered(400)
        ),
        "{outcome:?}"
    );
    assert_eq!(gateway.get("/storage/v1/after", &[]).status, 200);
    assert_eq!(origin.only().target, "/after");
}

#[test]
fn tunnels_by_connect_are_refused() {
    let (origin, gateway) = stand();
    let mut client = Frames::connect(gateway.address);
    client.request(
        1,
        &[(":method", b"CONNECT"), (":authority", b"127.0.0.1:22")],
    );
    let outcome = client.outcome(1);
    assert!(
        matches!(outcome, Outcome::Reset | Outcome::Answered(400)),
        "{outcome:?}"
    );
    let extended = head("/realtime/v1/websocket", &[(":protocol", b"websocket")]);
    let mut client = Frames::connect(gateway.address);
    client.request(1, &extended);
    assert_ne!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(origin.take().len(), 0);
}

#[test]
fn header_lists_over_the_limit_are_refused_and_the_connection_goes_on() {
    let (origin, gateway) = stand();
    let client = Http2Client::connect(gateway.address);
    let long = "v".repeat(10_000);
    let names: Vec<String> = (0..8).map(|i| format!("x-{i}")).collect();
    let headers: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), long.as_str()))
        .collect();
    let refused = client
        .send_all(vec![get("http://gateway.test/storage/v1/x", &headers)])
        .remove(0);
    assert!(refused.is_none_or(|answer| answer.status == 431));
    assert_eq!(origin.take().len(), 0);
    let under = client.send(get("http://gateway.test/storage/v1/x", &headers[..5]));
    assert_eq!(under.status, 200, "on the same connection, below the limit");
}

/// One long value in the dynamic table, then as many references to it as a frame holds: 64 MiB.
#[test]
fn a_header_bomb_does_not_go_off() {
    let (origin, gateway) = stand();
    let mut client = Frames::connect(gateway.address);
    let mut bomb = block(&head("/storage/v1/x", &[]));
    bomb.push(0x40);
    string(&mut bomb, b"x");
    string(&mut bomb, &[b'a'; 4000]);
    bomb.extend_from_slice(&[0xbe; 12_000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    assert_ne!(client.outcome(1), Outcome::Answered(200));
    assert_eq!(origin.take().len(), 0);
}

#[test]
fn the_limits_are_announced_and_kept() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::with(move |_, peer| {
        let _ = wait.lock().expect("no panic").recv();
        peer.answer(200, "", "");
        true
    });
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let mut client = Frames::connect(gateway.address);
    let settings = client
        .until(|f| f.kind == SETTINGS && f.flags == 0)
        .expect("settings");
    let value = |id: u16| {
        let mut entries = settings.payload.chunks(6);
        let entry = entries.find(|e| e[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    assert_eq!(value(3), Some(100), "MAX_CONCURRENT_STREAMS");
    assert_eq!(value(6), Some(64 * 1024), "MAX_HEADER_LIST_SIZE");
    for i in 0..101 {
        client.request(2 * i + 1, &head("/storage/v1/x", &[]));
    }
    // The 101st is refused while a hundred wait.
    let refused = client.until(|f| matches!(f.kind, HEADERS | RST_STREAM | GOAWAY));
    let refused = refused.expect("a frame");
    assert_eq!((refused.kind, refused.stream), (RST_STREAM, 201));
    drop(release);
}

#[test]
fn a_flood_of_resets_ends_the_flooders_connection_only() {
    let (origin, gateway) = stand();
    let address = gateway.address;
    let flooder = std::thread::spawn(move || {
        let mut client = Frames::connect(address);
        for i in 0..50_000 {
            let stream = 2 * i + 1;
            let sent = client.request(stream, &head("/storage/v1/flood", &[]))
                && client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if !sent {
                break;
            }
        }
        client
            .until(|frame| frame.kind == GOAWAY)
            .map(|frame| frame.payload[4..8].to_vec())
    });
    for i in 0..200 {
        let answer = gateway.get(&format!("/storage/v1/good/{i}"), &[]);
        assert_eq!(answer.status, 200);
    }
    let reason = flooder.join().expect("no panic");
    // 11: ENHANCE_YOUR_CALM. The connection may also be gone before the frame is read.
    assert!(reason.is_none_or(|code| code == [0, 0, 0, 11]));
    let good = origin
        .take()
        .iter()
        .filter(|seen| seen.target.starts_with("/good/"))
        .count();
    assert_eq!(good, 200);
}

#[test]
fn endless_continuations_and_pings_end_in_a_closed_connection() {
    let (origin, gateway) = stand();
    let mut client = Frames::connect(gateway.address);
    client.send(HEADERS, END_STREAM, 1, &block(&head("/storage/v1/x", &[])));
    let piece = block(&[("x", &[b'a'; 8000])]);
    let endless = (0..5000).all(|_| client.send(CONTINUATION, 0, 1, &piece));
    assert!(!endless, "40 MB of continuations were taken");

    let mut client = Frames::connect(gateway.address);
    client.request(1, &head("/storage/v1/x", &[]));
    for _ in 0..100 {
        client.send(PING, 0, 0, b"12345678");
    }
    assert_eq!(
        client.outcome(1),
        Outcome::Answered(200),
        "some pings are fine"
    );
    assert_eq!(origin.take().len(), 1);
}

#[test]
fn a_preface_that_never_ends_is_cut_off() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .all_slots(origin.url())
        .with(|b| {
            b.options.header_timeout = Duration::from_millis(200);
            b.options.keepalive_timeout = Duration::from_millis(400);
        })
        .start();
    for begun in ["P", "PRI * HTTP/2.0\r\n\r\nS"] {
        let mut client = gateway.connect();
        let rest = client.send(begun).rest();
        let status = rest.get(9..12);
        assert!(
            rest.is_empty() || matches!(status, Some(b"400" | b"408")),
            "{begun}: {status:?}"
        );
    }
    // What begins like it and is not goes to HTTP/1.
    let answer = gateway
        .connect()
        .send("PRI * HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        .answer();
    assert_eq!(answer.status, 400);
    let answer = gateway.request("PUT", "/storage/v1/x", &[], b"P");
    assert_eq!(answer.status, 200);
}
