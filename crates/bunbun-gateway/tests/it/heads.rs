//! Request heads as raw bytes: what two HTTP servers could frame or read differently is refused,
//! with an answer like every other one, and never reaches an origin (RFC 9112 §3, §5, §6, §11.2).

use std::time::Duration;

use crate::support::{Answer, Gateway, Origin, answers};

struct Stand {
    origin: Origin,
    gateway: Gateway,
}

fn stand() -> Stand {
    stand_with("")
}

fn stand_with(config: &str) -> Stand {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(config)
        .all_slots(origin.url())
        .start();
    Stand { origin, gateway }
}

impl Stand {
    /// A head to an open route, with the given lines after the request line and `Host`.
    fn post(lines: &str) -> String {
        format!("POST /storage/v1/object HTTP/1.1\r\nHost: gateway.test\r\n{lines}\r\n")
    }

    /// Sends bytes that must be refused: one answer of this status, with a body and an id that
    /// `explain` knows, then the connection is closed; the origin has seen nothing.
    #[track_caller]
    fn refuses(&self, what: &str, bytes: impl AsRef<[u8]>, status: u16) -> Answer {
        let all = answers(&self.gateway.raw(bytes));
        assert_eq!(all.len(), 1, "{what}: {all:?}");
        let answer = all.into_iter().next().expect("one answer");
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(!answer.body.is_empty(), "{what}: no body");
        assert_eq!(answer.header("connection"), Some("close"), "{what}");
        let told = self.gateway.refused(answer.request_id());
        let told = told.unwrap_or_else(|| panic!("{what}: explain does not know it"));
        assert_eq!(told.refused_with, Some(status), "{what}");
        assert!(told.reason.len() > 10, "{what}: {}", told.reason);
        assert_eq!(self.origin.take().len(), 0, "{what}: the origin saw it");
        answer
    }

    /// Sends bytes of one request that must be passed on and ends the connection.
    #[track_caller]
    fn passes(&self, what: &str, bytes: impl AsRef<[u8]>) -> crate::support::Seen {
        let mut client = self.gateway.connect();
        let answer = client.send(bytes).answer();
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        self.origin.only()
    }
}

#[test]
fn two_framings_of_one_body_are_refused() {
    let stand = stand();
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX-Between: 1\r\ncontent-length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        let smuggled = "0\r\n\r\nGET /pg/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
        stand.refuses(lines, Stand::post(lines) + smuggled, 400);
    }
}

#[test]
fn odd_lengths_are_refused() {
    let stand = stand();
    for value in [
        "",
        " ",
        "+5",
        "-1",
        "0x5",
        "5 5",
        "5;",
        "5.0",
        "five",
        "\"5\"",
        "0_5",
        "٥",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        let head = Stand::post(&format!("Content-Length: {value}\r\n"));
        stand.refuses(value, head + "hello", 400);
    }
}

#[test]
fn odd_transfer_encodings_are_refused() {
    let stand = stand();
    for line in [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: 'chunked'",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: chunked\u{c}",
        "Transfer-Encoding: chu\r\n nked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\u{b}Transfer-Encoding: chunked",
        "Transfer-Encoding: \rchunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
    ] {
        let head = Stand::post(&format!("{line}\r\n"));
        stand.refuses(line, head + "0\r\n\r\n", 400);
    }
    for line in [
        "Transfer-Encoding: chunked",
        "transfer-encoding:CHUNKED",
        "Transfer-Encoding: \tchunked \t",
    ] {
        let seen = stand.passes(
            line,
            Stand::post(&format!("{line}\r\n")) + "5\r\nhello\r\n0\r\n\r\n",
        );
        assert_eq!(seen.body, b"hello", "{line}");
    }
}

#[test]
fn http_1_0_has_no_chunks() {
    let stand = stand();
    let chunked = "POST /storage/v1/object HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    stand.refuses("chunks in HTTP/1.0", chunked, 400);
    let plain = "GET /storage/v1/object HTTP/1.0\r\nHost: gateway.test\r\n\r\n";
    let all = answers(&stand.gateway.raw(plain));
    assert_eq!(all.len(), 1, "closed after the answer");
    assert_eq!(all[0].status, 200);
    assert_eq!(stand.origin.only().target, "/object");
}

#[test]
fn connection_cannot_take_away_what_the_request_depends_on() {
    let stand = stand();
    for name in [
        "content-length",
        "Content-Length",
        "transfer-encoding",
        "host",
        "apikey",
        "authorization",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "x-consumer-id",
        "x-consumer-username",
        "cookie",
        "origin",
        "close, apikey",
        "keep-alive, CONTENT-LENGTH",
        "a b",
        "x:y",
        "\"apikey\"",
    ] {
        let key = &stand.gateway.keys.service_role;
        let head = format!(
            "POST /pg/query HTTP/1.1\r\nHost: gateway.test\r\napikey: {key}\r\nConnection: {name}\r\nContent-Length: 5\r\n\r\n"
        );
        let mut client = stand.gateway.connect();
        let answer = client.send(head + "hello").answer();
        assert_eq!(answer.status, 400, "{name}");
        assert!(
            stand.gateway.refused(answer.request_id()).is_some(),
            "{name}"
        );
        assert_eq!(stand.origin.take().len(), 0, "{name}");
    }
    // Two lines count as one list.
    let head = "GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\nConnection: host\r\n\r\n";
    stand.refuses("a second line", head, 400);
    let head = "GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Stays: 2\r\nTE: gzip, trailers\r\n\r\n";
    let seen = stand.passes("a private hop-by-hop header", head);
    assert_eq!(
        (seen.header("x-hop"), seen.header("keep-alive")),
        (None, None)
    );
    assert_eq!(seen.header("x-stays"), Some("2"));
    assert_eq!(seen.header("te"), Some("trailers"));
}

#[test]
fn malformed_lines_are_refused() {
    let stand = stand();
    for line in [
        "X-Folded: one\r\n two",
        "X-Folded: one\r\n\ttwo",
        "X : y",
        "X\t: y",
        ": y",
        "no colon",
        "X\0: y",
        "X: a\0b",
        "X: a\rb",
        "X: a\r",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        "X: a\u{1b}[0m",
        "X(y): z",
        "X[y]: z",
        "X@y: z",
        "X\"y: z",
        "X{y}: z",
        "X,y: z",
        "X/y: z",
        "Xé: z",
        "X: y\nZ: 1",
    ] {
        let head = format!("GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n{line}\r\n\r\n");
        stand.refuses(line, head, 400);
    }
    let folded_host = "GET /storage/v1/x HTTP/1.1\r\n Host: gateway.test\r\n\r\n";
    stand.refuses("the first line folded", folded_host, 400);
    stand.refuses(
        "bare LF",
        "GET /storage/v1/x HTTP/1.1\nHost: gateway.test\n\n",
        400,
    );
    let last_bare = "GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n\n";
    stand.refuses("a bare LF at the end", last_bare, 400);
    let latin = stand.passes(
        "Latin-1 in a value",
        b"GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nX-Name: Zo\xeb\r\nX-Tab: a\tb\r\n\r\n",
    );
    assert_eq!(latin.header("x-tab"), Some("a\tb"));
}

#[test]
fn malformed_request_lines_are_refused() {
    let stand = stand();
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/3",
        "GET / HTTP/0.9",
        "GET / http/1.1",
        "GET / HTTQ/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.1\0",
        "GET\t/\tHTTP/1.1",
        "G(T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET\0 / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET #/pg/ HTTP/1.1",
        "GET /a\u{7f} HTTP/1.1",
        "GET storage/v1/x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http:/storage/v1/x HTTP/1.1",
        "GET http:///storage/v1/x HTTP/1.1",
        "GET //@/x: HTTP/9",
        "CONNECT gateway.test:443 HTTP/1.1",
        "GET gateway.test:80 HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: gateway.test\r\nConnection: close\r\n\r\n");
        stand.refuses(line, head, 400);
    }
    let blank = "\r\nGET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    assert_eq!(stand.passes("one empty line before it", blank).target, "/x");
}

#[test]
fn a_request_has_one_host() {
    let stand = stand();
    for (what, head) in [
        (
            "none",
            "GET /storage/v1/x HTTP/1.1\r\nConnection: close\r\n\r\n",
        ),
        (
            "two",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        ),
        (
            "two equal",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n",
        ),
        (
            "empty",
            "GET /storage/v1/x HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        ),
        (
            "a list",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n",
        ),
        (
            "a path",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
        ),
        (
            "a user",
            "GET /storage/v1/x HTTP/1.1\r\nHost: user@a\r\nConnection: close\r\n\r\n",
        ),
        (
            "a query",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a?b\r\nConnection: close\r\n\r\n",
        ),
        (
            "an empty port",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a:\r\nConnection: close\r\n\r\n",
        ),
        (
            "a port of letters",
            "GET /storage/v1/x HTTP/1.1\r\nHost: a:http@b\r\nConnection: close\r\n\r\n",
        ),
        (
            "another in the target",
            "GET http://evil.test/storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n",
        ),
        (
            "another port in the target",
            "GET http://gateway.test:81/storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n",
        ),
        (
            "a user in the target",
            "GET http://user@gateway.test/storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n",
        ),
        (
            "only in the target",
            "GET http://gateway.test/storage/v1/x HTTP/1.1\r\nConnection: close\r\n\r\n",
        ),
    ] {
        stand.refuses(what, head, 400);
    }
    let absolute =
        "GET http://Gateway.Test/storage/v1/x?y=1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let seen = stand.passes("the same in the target", absolute);
    assert_eq!(seen.target, "/x?y=1");
    assert_eq!(
        seen.header("host"),
        Some(stand.origin.address().to_string().as_str())
    );
    for host in ["[::1]:80", "a.b-c_d:65535", "127.0.0.1"] {
        let head = format!("GET /storage/v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stand.passes(host, head);
    }
}

#[test]
fn an_absolute_target_is_routed_by_its_path() {
    let stand = stand();
    let anon = &stand.gateway.keys.anon;
    let head = format!(
        "GET http://gateway.test/pg/tables HTTP/1.1\r\nHost: gateway.test\r\napikey: {anon}\r\nConnection: close\r\n\r\n"
    );
    stand.refuses("the anon key", head, 403);
}

#[test]
fn oversized_heads_get_the_dialects_status() {
    for (dialect, status) in [("envoy", 431), ("kong2", 494), ("kong3", 400)] {
        let stand = stand_with(&format!("dialect = \"{dialect}\""));
        let megabyte = "a".repeat(1024 * 1024);
        let long = Stand::post(&format!("X-Long: {megabyte}\r\n"));
        stand.refuses("1 MiB in one header", long, status);
        let many: String = (0..10_000).map(|i| format!("X-{i}: {i}\r\n")).collect();
        stand.refuses("10 000 headers", Stand::post(&many), status);
        let over: String = (0..101).map(|i| format!("X-{i}: 1\r\n")).collect();
        stand.refuses("more than 100 headers", Stand::post(&over), status);
        let target = format!(
            "GET /storage/v1/{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
            "a".repeat(20_000)
        );
        stand.refuses("a long target", target, 414);
        let endless = format!("GET /{megabyte} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        stand.refuses("an endless target", endless, 414);
    }
}

#[test]
fn heads_up_to_the_limits_pass() {
    let stand = stand();
    let lines: String = (0..98)
        .map(|i| format!("X-{i}: {}\r\n", "v".repeat(500)))
        .collect();
    let seen = stand.passes("99 headers, 50 kB", Stand::post(&lines));
    assert_eq!(seen.header("x-97").map(str::len), Some(500));
    let target = format!(
        "GET /storage/v1/{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
        "a".repeat(16_000)
    );
    assert_eq!(
        stand.passes("a target of 16 kB", target).target.len(),
        16_001
    );
}

/// A client that gets a reset while it is sending may never look at its answer.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let stand = stand();
    for lines in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        // Refused for its key, with most of its body to come.
        "Content-Length: 2000000\r\nConnection: close\r\n",
    ] {
        let mut client = stand.gateway.connect();
        client.send(Stand::post(lines).replace("/storage/v1/", "/pg/"));
        assert!(matches!(client.answer().status, 400 | 401), "{lines}");
        assert!(
            client.rest().is_empty(),
            "{lines}: nothing after the answer"
        );
        for _ in 0..100 {
            client
                .try_send(&[b'x'; 8 * 1024])
                .unwrap_or_else(|error| panic!("{lines}: {error}"));
        }
    }
    assert_eq!(stand.origin.take().len(), 0);
}

#[test]
fn slow_heads_are_cut_off_and_others_go_on() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .all_slots(origin.url())
        .with(|b| b.options.header_timeout = Duration::from_millis(300))
        .start();
    let stand = Stand { origin, gateway };
    stand.refuses(
        "a head that stops",
        "GET /storage/v1/x HTTP/1.1\r\nHost: gate",
        408,
    );
    stand.refuses("one byte", "G", 408);
    // Each byte is in time, the head is not.
    let mut client = stand.gateway.connect();
    let dribble = "GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n"
        .bytes()
        .chain(std::iter::repeat(b'x'));
    let stopped = client.stream().try_clone().expect("a socket");
    stopped.set_nonblocking(true).expect("an option");
    for byte in dribble {
        client.send([byte]);
        let mut first = [0];
        if stopped.peek(&mut first).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    stopped.set_nonblocking(false).expect("an option");
    assert_eq!(client.answer().status, 408);
    client.rest();
    // The second head of a connection has the same deadline.
    let mut client = stand.gateway.connect();
    client.send("GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n\r\nGET /");
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 408);
    client.rest();
    assert_eq!(stand.origin.take().len(), 1);
}

#[test]
fn five_hundred_dribbling_clients_do_not_stop_others() {
    let stand = stand();
    let slow: Vec<_> = (0..500)
        .map(|_| {
            let mut client = stand.gateway.connect();
            client.send("GET /storage/v1/x HTTP/1.1\r\nHost: g");
            client
        })
        .collect();
    let mut client = stand.gateway.connect();
    for i in 0..100 {
        let request = format!("GET /storage/v1/{i} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        assert_eq!(client.send(request).answer().status, 200);
    }
    assert_eq!(stand.origin.take().len(), 100);
    drop(slow);
}

#[test]
fn expectations_are_met_only_for_requests_that_pass() {
    let stand = stand();
    let mut client = stand.gateway.connect();
    client.send(Stand::post("Content-Length: 5\r\nExpect: 100-continue\r\n"));
    assert_eq!(client.answer().status, 100);
    let answer = client.send("hello").answer();
    assert_eq!(answer.status, 200);
    assert_eq!(stand.origin.only().body, b"hello");

    let mut client = stand.gateway.connect();
    client.send("POST /pg/query HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 401, "no 100 before it");
    assert_eq!(stand.origin.take().len(), 0);
}

#[test]
fn answers_to_head_have_no_body() {
    let stand = stand();
    let mut client = stand.gateway.connect();
    let head = "HEAD /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let get = "GET /storage/v1/y HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let answer = client.send(head).answer_to("HEAD");
    assert_eq!(answer.status, 200);
    let length = answer
        .header("content-length")
        .expect("the length of the GET's answer");
    assert_ne!(length, "0");
    // What follows is the next answer, not a body.
    assert_eq!(client.send(get).answer().json()["target"], "/y");
    let refused = client
        .send("HEAD /pg/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        .answer_to("HEAD");
    assert_eq!(refused.status, 401);
    assert_eq!(client.send(get).answer().json()["target"], "/y");
    assert_eq!(stand.origin.take().len(), 3);
}

#[test]
fn options_of_the_server_are_the_catch_alls_business() {
    let stand = stand();
    let answer = stand.gateway.request("OPTIONS", "*", &[], b"");
    assert_eq!(answer.status, 401);
    assert_eq!(stand.origin.take().len(), 0);
}
