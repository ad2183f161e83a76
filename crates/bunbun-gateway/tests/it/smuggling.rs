//! What follows on a connection: pipelined requests, bodies and their ends, and upgrades. Nothing
//! after a refused request is read, and nothing after an upgrade request reaches the upstream
//! before its 101 (CVE-2026-2833).

use std::{sync::mpsc, time::Duration};

use crate::support::{Gateway, Origin, answers};

const GET: &str = "GET /storage/v1/good HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
const LAST: &str =
    "GET /storage/v1/last HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";
const BAD: &str = "POST /storage/v1/bad HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &str = "GET /storage/v1/socket HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn targets(origin: &Origin) -> Vec<String> {
    origin.take().into_iter().map(|seen| seen.target).collect()
}

#[test]
fn what_follows_a_refused_request_is_never_read() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let all = answers(&gateway.raw([GET, BAD, "0\r\n\r\n", GET, GET].concat()));
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(targets(&origin), ["/good"]);
    assert!(gateway.refused(all[1].request_id()).is_some());

    let three = answers(&gateway.raw([GET, GET, GET, BAD, GET].concat()));
    let statuses: Vec<u16> = three.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 400]);
    assert_eq!(targets(&origin).len(), 3);
}

#[test]
fn a_good_request_is_answered_though_a_bad_one_waits_behind_it() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (arrived, arrivals) = mpsc::channel();
    let origin = Origin::with(move |_, peer| {
        arrived.send(()).expect("the test listens");
        wait.lock()
            .expect("no panic")
            .recv()
            .expect("the test sends");
        peer.answer(200, "", "slow");
        true
    });
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let mut client = gateway.connect();
    client.send([GET, BAD, "0\r\n\r\n", GET].concat());
    arrivals.recv().expect("the origin sees the good one");
    release.send(()).expect("the origin waits");
    assert_eq!(client.answer().text(), "slow");
    assert_eq!(client.answer().status, 400);
    client.rest();
    assert_eq!(origin.take().len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order_whatever_their_bodies() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let length =
        "POST /storage/v1/length HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nGET /";
    let chunks = "POST /storage/v1/chunks HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nGET\r\n0002\r\n /\r\n0\r\nX-Trailer: 1\r\nApikey: x\r\n\r\n";
    let all = answers(&gateway.raw([length, GET, chunks, GET, chunks, length, LAST].concat()));
    let told: Vec<String> = all
        .iter()
        .map(|answer| format!("{} {}", answer.json()["target"], answer.json()["body"]))
        .collect();
    let (length, chunks, good) = (
        "\"/length\" \"GET /\"",
        "\"/chunks\" \"GET /\"",
        "\"/good\" \"\"",
    );
    assert_eq!(
        told,
        [length, good, chunks, good, chunks, length, "\"/last\" \"\""]
    );
    let seen = origin.take();
    assert_eq!(seen.len(), 7);
    assert!(
        seen.iter().all(|seen| seen.header("apikey").is_none()),
        "a trailer is no header"
    );
}

#[test]
fn the_same_bytes_in_any_pieces_mean_the_same() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let chunks = "POST /storage/v1/chunks HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let bytes = [GET, chunks, GET, LAST].concat();
    for size in [1, 2, 3, 7, 64, 100] {
        let mut client = gateway.connect();
        for piece in bytes.as_bytes().chunks(size) {
            client.send(piece);
        }
        let all = answers(&client.rest());
        assert!(
            all.iter().all(|answer| answer.status == 200),
            "pieces of {size}"
        );
        assert_eq!(
            targets(&origin),
            ["/good", "/chunks", "/good", "/last"],
            "pieces of {size}"
        );
    }
}

#[test]
fn broken_chunks_end_the_connection_and_smuggle_nothing() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\n\n",
    ] {
        let head = "POST /storage/v1/chunks HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let all = answers(&gateway.raw([head, body, GET].concat()));
        assert_eq!(all.len(), 1, "{body:?}");
        assert_eq!(all[0].status, 400, "{body:?}");
        let told = gateway.refused(all[0].request_id());
        assert!(told.is_some(), "{body:?}: explain does not know it");
        assert_eq!(
            targets(&origin),
            [""; 0],
            "{body:?}: not a complete request"
        );
    }
    // None of that is the upstream's fault: it is still in use.
    assert_eq!(gateway.get("/storage/v1/x", &[]).status, 200);
}

/// Asks for an upgrade at an origin that first looks whether anything follows the request's head,
/// then accepts and repeats what the tunnel brings.
#[test]
fn what_follows_an_upgrade_request_waits_for_its_101() {
    let (early, looked) = mpsc::channel();
    let origin = Origin::with(move |_, peer| {
        // The time in which smuggled bytes would have come.
        let brief = Some(Duration::from_millis(200));
        peer.stream.set_read_timeout(brief).expect("an option");
        peer.read_more();
        early.send(peer.buffered.clone()).expect("the test listens");
        peer.stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("an option");
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let arrived = peer.bytes(GET.len());
        peer.send(&arrived);
        false
    });
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let mut client = gateway.connect();
    client.send([UPGRADE, GET].concat());
    let early = looked.recv().expect("the origin looks");
    assert!(early.is_empty(), "{:?}", String::from_utf8_lossy(&early));
    let answer = client.answer();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(
        client.bytes(GET.len()),
        GET.as_bytes(),
        "afterwards all of it comes"
    );
    let seen = origin.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("upgrade"), Some("websocket"));
}

#[test]
fn after_a_declined_upgrade_the_next_request_passes_all_checks() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let keyless = "GET /pg/tables HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let all = answers(&gateway.raw([UPGRADE, keyless, UPGRADE, GET, LAST].concat()));
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 401, 200, 200, 200]);
    assert_eq!(targets(&origin), ["/socket", "/socket", "/good", "/last"]);

    let all = answers(&gateway.raw([UPGRADE, BAD, "0\r\n\r\n", GET].concat()));
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].status, 400);
    assert_eq!(targets(&origin), ["/socket"]);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_refusal() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let refused = UPGRADE.replace("/storage/v1/socket", "/realtime/v1/websocket");
    let all = answers(&gateway.raw([refused.as_str(), GET, LAST].concat()));
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [401, 200, 200]);
    assert_eq!(targets(&origin), ["/good", "/last"]);
}

#[test]
fn only_a_request_without_a_body_can_ask_for_an_upgrade() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let head = format!("POST /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n{lines}");
        let all = answers(&gateway.raw([head.as_str(), LAST].concat()));
        assert_eq!(all.len(), 2, "{lines}");
        let seen = origin.take();
        assert_eq!(
            (seen[0].header("upgrade"), seen[0].body.as_slice()),
            (None, &b"hello"[..])
        );
        assert_eq!(seen[1].target, "/last");
    }
    for lines in [
        // Without the nomination, or by HTTP/2's optional upgrade, it is an ordinary request.
        "Upgrade: websocket\r\n\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: H2C\r\n\r\n",
    ] {
        let head = format!("GET /storage/v1/x HTTP/1.1\r\nHost: gateway.test\r\n{lines}");
        let all = answers(&gateway.raw([head.as_str(), LAST].concat()));
        assert_eq!(all.len(), 2, "{lines}");
        let seen = origin.take();
        assert_eq!(seen[0].header("upgrade"), None, "{lines}");
        assert_eq!(seen[0].header("http2-settings"), None, "{lines}");
        assert_eq!(seen[0].header("connection"), None, "{lines}");
    }
}

#[test]
fn a_101_that_nobody_asked_for_is_no_answer() {
    let origin = Origin::with(|_, peer| {
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nSMUGGLED");
        true
    });
    let gateway = Gateway::builder()
        .config("dialect = \"kong2\"")
        .all_slots(origin.url())
        .start();
    let all = answers(&gateway.raw([GET, LAST].concat()));
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [502, 502]);
    assert!(all.iter().all(|answer| !answer.text().contains("SMUGGLED")));
}

#[test]
fn an_upstreams_extra_bytes_are_no_answer_to_the_next_client() {
    let origin = Origin::with(|seen, peer| {
        if seen.target == "/poison" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nPOISON");
        } else {
            peer.answer(200, "", "fine");
        }
        true
    });
    let gateway = Gateway::builder()
        .all_slots(origin.url())
        .with(|b| b.options.workers = 1)
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.get("/storage/v1/poison", &[]).text(), "ok");
        assert_eq!(gateway.get("/storage/v1/other", &[]).text(), "fine");
    }
}
