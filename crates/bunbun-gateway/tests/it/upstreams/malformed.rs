//! Answers that are no HTTP, or only nearly.

use crate::support::{Gateway, Http2Client, Origin, http2::get, one_route};

fn answers(bytes: impl AsRef<[u8]>) -> (Origin, Gateway) {
    let bytes = bytes.as_ref().to_vec();
    let origin = Origin::with(move |_, peer| {
        peer.send(&bytes);
        true
    });
    let breaker = "breaker = { failures = 1000000, open_for = '1s' }";
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], breaker, ""))
        .start();
    (origin, gateway)
}

#[test]
fn what_is_no_http_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300));
    for bytes in [
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 ok\r\n\r\n",
        "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nspace : before\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        // Nobody asked for another protocol.
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        &long,
        &many,
    ] {
        let (_origin, gateway) = answers(bytes);
        let answer = gateway.get("/u", &[]);
        let start = &bytes[..bytes.len().min(60)];
        assert_eq!(answer.status, 502, "{start:?}");
        assert_eq!(
            answer.text(),
            "An invalid response was received from the upstream server\n"
        );
        assert_eq!(gateway.load().idle, 0, "{start:?}");
    }
}

#[test]
fn informational_answers_are_not_the_answer() {
    let (_origin, gateway) = answers(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal",
    );
    for _ in 0..2 {
        let answer = gateway.get("/u", &[]);
        assert_eq!((answer.status, answer.text()), (200, "final"));
    }
}

#[test]
fn a_length_beside_chunks_is_not_passed_on() {
    for length in ["3", "5", "100"] {
        let (_origin, gateway) = answers(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\n01234\r\n0\r\n\r\n"
        ));
        let answer = gateway.get("/u", &[]);
        assert_eq!((answer.status, answer.text()), (200, "01234"));
        assert_eq!(answer.header("content-length"), None);
        let answer = Http2Client::connect(gateway.address).get("/u");
        assert_eq!(answer.text(), "01234");
        assert!(!answer.headers.contains_key("content-length"));
    }
}

#[test]
fn an_answer_may_arrive_in_any_pieces() {
    let sent = "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nx-empty:\r\n\r\n\
         5 \r\nhello\r\n6;a=\"b\"\r\n world\r\n00\r\nx-sum: 11\r\n\r\n";
    for size in [1, 2, 3, 7, 64, sent.len()] {
        let origin = Origin::with(move |_, peer| {
            for piece in sent.as_bytes().chunks(size) {
                peer.send(piece);
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            true
        });
        let gateway = Gateway::builder()
            .config(&one_route(&[&origin.url()], "", ""))
            .start();
        for _ in 0..2 {
            let answer = gateway.get("/u", &[]);
            assert_eq!(
                (answer.status, answer.text()),
                (200, "hello world"),
                "{size}"
            );
            assert_eq!(answer.header("x-empty"), Some(""));
        }
        let answer = Http2Client::connect(gateway.address).get("/u");
        assert_eq!(answer.text(), "hello world", "{size}");
        // One per worker at most.
        assert!(origin.connections() <= 2, "connections are used again");
    }
}

#[test]
fn framings_that_two_servers_could_read_differently_are_502() {
    for head in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity",
        "content-length: 4, 4",
        "content-length: +4",
        "content-length: 4\r\ncontent-length: 5",
    ] {
        let (_origin, gateway) = answers(format!(
            "HTTP/1.1 200 OK\r\n{head}\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        ));
        assert_eq!(gateway.get("/u", &[]).status, 502, "{head}");
        assert_eq!(gateway.load().idle, 0, "{head}");
    }
    // Twice the same is the same.
    let (_origin, gateway) =
        answers("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nbody");
    let answer = gateway.get("/u", &[]);
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert_eq!(answer.all("content-length"), ["4"]);
}

#[test]
fn answers_without_bodies_lose_what_follows_them() {
    for status in ["204 No Content", "304 Not Modified"] {
        let (origin, gateway) = answers(format!(
            "HTTP/1.1 {status}\r\ncontent-length: 6\r\netag: \"1\"\r\n\r\npoison\
             HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
        ));
        for _ in 0..20 {
            let answer = gateway.get("/u", &[]);
            assert_eq!(answer.status.to_string(), status[..3]);
            assert_eq!(answer.header("etag"), Some("\"1\""));
            assert!(answer.body.is_empty());
        }
        assert_eq!(
            origin.connections(),
            20,
            "such a connection cannot be used again"
        );
    }
}

#[test]
fn nothing_after_an_answer_becomes_somebody_elses() {
    let (_origin, gateway) = answers(
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood\
         HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    );
    for _ in 0..50 {
        let answer = gateway.get("/u", &[]);
        assert_eq!((answer.status, answer.text()), (200, "good"));
    }
    let client = Http2Client::connect(gateway.address);
    let all = client.send_all((0..50).map(|_| get("/u")).collect());
    assert!(
        all.iter()
            .all(|answer| answer.as_ref().expect("one").text() == "good")
    );
}

#[test]
fn an_answer_to_head_has_the_length_and_no_body() {
    let origin = Origin::with(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        true
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    for _ in 0..5 {
        let answer = gateway.request("HEAD", "/u", &[], b"");
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (200, Some("1000"))
        );
    }
    assert!(origin.connections() < 5);
    assert!(!gateway.log.text().contains("aborted"));
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
    ] {
        let body = "0123456789".repeat(10_000);
        let sent = body.clone();
        let origin = Origin::with(move |_, peer| {
            peer.send(format!("{head}{sent}"));
            false
        });
        let gateway = Gateway::builder()
            .config(&one_route(&[&origin.url()], "", ""))
            .start();
        for _ in 0..3 {
            let answer = gateway.get("/u", &[]);
            assert_eq!((answer.status, answer.text()), (200, body.as_str()));
        }
        assert_eq!(origin.connections(), 3);
    }
}

#[test]
fn headers_of_the_upstreams_connection_stay_there() {
    let (_origin, gateway) = answers(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nproxy-authenticate: Basic\r\nx-end: 2\r\ncontent-length: 2\r\n\r\nok",
    );
    let answer = gateway.request("GET", "/u", &[("connection", "keep-alive")], b"");
    assert_eq!(answer.text(), "ok");
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-end"), Some("2"));
    assert_eq!(answer.all("content-length"), ["2"]);
}

#[test]
fn the_upstreams_version_and_lengths_of_nothing_stay_there() {
    let (_origin, gateway) = answers("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let bytes = gateway.raw("GET /u HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(bytes.starts_with(b"HTTP/1.1 200 "));
    let (_origin, gateway) = answers("HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n");
    let answer = Http2Client::connect(gateway.address).get("/u");
    assert_eq!(
        (answer.status, answer.headers.contains_key("content-length")),
        (204, false)
    );
    let answer = gateway.request("HEAD", "/u", &[], b"");
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (204, None)
    );
}

#[test]
fn an_answer_that_began_is_no_reason_to_send_again() {
    let origin = Origin::with(|seen, peer| {
        if seen.target.ends_with("good") {
            peer.answer(200, "", "");
        } else {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n");
        }
        true
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .with(|builder| builder.options.workers = 1)
        .start();
    assert_eq!(gateway.get("/u/good", &[]).status, 200);
    assert_eq!(gateway.get("/u/bad", &[]).status, 502);
    assert_eq!(
        origin.count(),
        2,
        "the connection was a used one, but it answered"
    );
}
