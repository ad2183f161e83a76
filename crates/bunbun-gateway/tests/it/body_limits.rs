//! Limits of a request's body as the client meets them: in time, in size, in each dialect and on
//! our own routes. What the upstream notices of them is in [`crate::bodies`].

use std::time::Duration;

use crate::support::{Answer, Gateway, Origin};

const LIMIT: usize = 1000;

fn stand(dialect: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let config = format!(
        "dialect = '{dialect}'\n[upstreams.own]\nurls = ['{}']\n[[routes]]\nname = 'own'\npath = '/own'\nupstream = 'own'\naccess = 'open'\nmax_body_bytes = {LIMIT}\n",
        origin.url()
    );
    let gateway = Gateway::builder()
        .config(&config)
        .named_slots(origin.url())
        .with(|b| {
            b.max_api_body_bytes = LIMIT as u64;
            b.body_timeout = Duration::from_millis(300);
        })
        .start();
    (origin, gateway)
}

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for piece in body.chunks(100) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_is_measured_by_its_length_before_any_of_it_is_read() {
    for dialect in ["envoy", "kong2", "kong3"] {
        let (origin, gateway) = stand(dialect);
        for (path, envelope) in [("/own", false), ("/api/x", true)] {
            let body = vec![b'x'; LIMIT];
            assert_eq!(
                gateway.request("POST", path, &[], &body).status,
                200,
                "{path}: exactly the limit"
            );
            assert_eq!(origin.take().len() + gateway.api.take().len(), 1, "{path}");
            // Only the head is sent: an answer is there, and no invitation to go on.
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                LIMIT + 1
            );
            let answer = gateway.connect().send(head).answer();
            check_too_large(&gateway, &answer, envelope);
            let huge = format!(
                "POST {path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n",
                u64::MAX / 2
            );
            check_too_large(&gateway, &gateway.connect().send(huge).answer(), envelope);
            assert_eq!(origin.take().len() + gateway.api.take().len(), 0, "{path}");
        }
    }
}

#[track_caller]
fn check_too_large(gateway: &Gateway, answer: &Answer, envelope: bool) {
    assert_eq!(answer.status, 413, "{}", answer.text());
    if envelope {
        assert_eq!(answer.json()["error"]["code"], "TOO_LARGE");
    }
    let told = gateway
        .refused(answer.request_id())
        .expect("explain knows it");
    assert_eq!(told.refused_with, Some(413));
}

#[test]
fn chunks_are_measured_as_they_come() {
    let (origin, gateway) = stand("envoy");
    for path in ["/own", "/api/x"] {
        let fits = gateway
            .connect()
            .send(chunked(path, &[b'x'; LIMIT]))
            .answer();
        assert_eq!(fits.status, 200, "{path}");
        assert_eq!(origin.take().len() + gateway.api.take().len(), 1, "{path}");
        let over = gateway
            .connect()
            .send(chunked(path, &[b'x'; LIMIT + 1]))
            .answer();
        assert_eq!(over.status, 413, "{path}: {}", over.text());
        assert_eq!(origin.take().len(), 0, "{path}: no complete request");
        gateway.api.take();
    }
}

#[test]
fn what_follows_a_body_over_its_limit_is_never_a_request() {
    let (origin, gateway) = stand("envoy");
    let mut bytes = chunked("/own", &[b'x'; LIMIT * 5]);
    bytes.extend_from_slice(
        b"GET /own/smuggled HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n",
    );
    let mut client = gateway.connect();
    assert_eq!(client.send(bytes).answer().status, 413);
    let rest = client.rest();
    // The connection may be closed, or go on with what really is the next request.
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 200"),
        "{rest:?}"
    );
    let seen: Vec<String> = origin.take().into_iter().map(|seen| seen.target).collect();
    assert!(seen.is_empty() || seen == ["/smuggled"], "{seen:?}");
}

#[test]
fn a_body_that_stops_is_a_timeout_in_every_dialect() {
    for (dialect, text) in [
        ("envoy", "Request Timeout"),
        ("kong2", "Request timeout\n"),
        ("kong3", "Request timeout\n"),
    ] {
        let (origin, gateway) = stand(dialect);
        for framing in [
            "Content-Length: 10\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let mut client = gateway.connect();
            client.send(format!(
                "POST /own HTTP/1.1\r\nHost: gateway.test\r\n{framing}"
            ));
            let answer = client.answer();
            assert_eq!(answer.status, 408, "{dialect} {framing}: {}", answer.text());
            assert!(
                answer.text().starts_with(text),
                "{dialect}: {}",
                answer.text()
            );
            client.rest();
            assert_eq!(origin.take().len(), 0, "{dialect} {framing}");
        }
    }
}

#[test]
fn a_slow_body_that_moves_is_not_stopped() {
    let (origin, gateway) = stand("envoy");
    let mut client = gateway.connect();
    client.send("POST /own HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        // Together longer than the limit on silence; the pauses are what is tested.
        std::thread::sleep(Duration::from_millis(30));
        client.send("x");
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(origin.only().body.len(), 20);
}

#[test]
fn a_slow_body_for_a_service_in_this_process_is_no_slow_answer() {
    let config = "[[routes]]\nname = 'api'\npath = '/api/'\nslot = 'api'\nkeep_path = true\naccess = 'open'\nfirst_byte_timeout = '200ms'\n";
    let gateway = Gateway::builder().config(config).start();
    let mut client = gateway.connect();
    client.send("POST /api/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        // Together longer than the time to the first byte; the pauses are what is tested.
        std::thread::sleep(Duration::from_millis(30));
        client.send("x");
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn uploads_have_the_limit_of_files() {
    const FILE: usize = 200 * 1024;
    let gateway = Gateway::builder()
        .with(|b| {
            b.max_api_body_bytes = LIMIT as u64;
            b.file_size_limit = FILE as u64;
        })
        .start();
    let status = |path: &str, length: usize| {
        let body = vec![b'x'; length];
        gateway.request("POST", path, &[], &body).status
    };
    // The file, and room for the form around it.
    assert_eq!(status("/api/storage/upload", FILE + 64 * 1024), 200);
    assert_eq!(status("/api/storage/upload", FILE + 64 * 1024 + 1), 413);
    for path in ["/api/storage/uploads", "/api/storage/sign/b/a", "/api/x"] {
        assert_eq!(status(path, LIMIT + 1), 413, "{path}");
    }
}
