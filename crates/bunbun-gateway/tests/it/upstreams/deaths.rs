//! Upstreams that die in mid-answer, and that come back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use socket2::SockRef;

use crate::support::{Gateway, Http2Client, Origin, Seen, eventually, http2::get, one_route};

/// Sends the beginning of an answer and then cuts the connection, with a reset or not.
fn dies_after(beginning: &'static str) -> Origin {
    Origin::with(move |seen: &Seen, peer| {
        peer.send(beginning);
        if seen.target == "/reset" {
            let _ = SockRef::from(&peer.stream).set_linger(Some(std::time::Duration::ZERO));
        }
        false
    })
}

#[test]
fn a_body_with_a_length_that_breaks_off_never_looks_complete() {
    let origin = dies_after("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789");
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    for path in ["/u", "/u/reset"] {
        let bytes = gateway.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let text = String::from_utf8(bytes).expect("text");
        // A reset may overtake the answer.
        if text.starts_with("HTTP/1.1 502") {
            assert_eq!(path, "/u/reset");
            continue;
        }
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("content-length: 1000"), "{head}");
        assert!("0123456789".starts_with(body), "{body}");
    }
    eventually("the log says so", || {
        gateway.log.text().contains("\"aborted\":true")
    });
}

#[test]
fn a_chunked_body_that_breaks_off_never_looks_complete() {
    for beginning in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\nffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234XX\r\n0\r\n\r\n",
    ] {
        let origin = dies_after(beginning);
        let gateway = Gateway::builder()
            .config(&one_route(&[&origin.url()], "", ""))
            .start();
        let bytes = gateway.raw("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(
            matches!(body, "" | "5\r\n01234\r\n"),
            "{beginning:?} became {body:?}"
        );

        let answers = Http2Client::connect(gateway.address).send_all(vec![get("/u")]);
        assert!(
            answers[0]
                .as_ref()
                .is_none_or(|answer| answer.body.is_err()),
            "{beginning:?}"
        );
    }
}

#[test]
fn an_answer_that_breaks_off_in_its_head_is_502() {
    for beginning in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
    ] {
        let origin = dies_after(beginning);
        let gateway = Gateway::builder()
            .config(&one_route(&[&origin.url()], "", ""))
            .start();
        for method in ["GET", "POST"] {
            let answer = gateway.request(method, "/u", &[], b"");
            assert_eq!(answer.status, 502, "{beginning:?}");
        }
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn other_requests_on_the_clients_connection_are_not_mixed_with_a_broken_answer() {
    let origin = Origin::with(|seen, peer| {
        if seen.target == "/dies" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789");
            return false;
        }
        peer.answer(200, "", "whole");
        true
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    // Pipelined behind it: an answer there would be read as the rest of the first one's body.
    let bytes = gateway
        .raw("GET /u/dies HTTP/1.1\r\nhost: a\r\n\r\nGET /u/whole HTTP/1.1\r\nhost: a\r\n\r\n");
    let text = String::from_utf8(bytes).expect("text");
    assert!(!text.contains("whole"), "{text}");

    let client = Http2Client::connect(gateway.address);
    let answers = client.send_all(vec![get("/u/dies"), get("/u/whole"), get("/u/whole")]);
    assert!(
        answers[0]
            .as_ref()
            .is_none_or(|answer| answer.body.is_err())
    );
    assert!(
        answers[1..]
            .iter()
            .all(|answer| answer.as_ref().expect("one").text() == "whole")
    );
}

#[test]
fn an_upstream_that_restarts_under_load_is_there_again_without_a_failure() {
    let answer = |_: &Seen, peer: &mut crate::support::Peer| {
        peer.answer(200, "", "up");
        true
    };
    let origin = Origin::with(answer);
    let address = origin.address();
    let breaker = "breaker = { failures = 5, open_for = '100ms' }";
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], breaker, ""))
        .start();
    // 0: up, 1: stopping or stopped, 2: started again, 3: seen up again, 4: the end
    let phase = AtomicUsize::new(0);
    let failed_fast = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut served) = (gateway.connect(), [0; 5]);
                    loop {
                        let before = phase.load(Ordering::Acquire);
                        if before == 4 {
                            return served;
                        }
                        let answer = client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n").answer();
                        let is_good = answer.status == 200 && answer.text() == "up";
                        match before {
                            1 if !is_good => failed_fast.store(true, Ordering::Release),
                            0 if phase.load(Ordering::Acquire) == 0 => {
                                assert!(is_good, "{answer:?}");
                            }
                            2 if is_good => {
                                let _ = phase.compare_exchange(
                                    2,
                                    3,
                                    Ordering::AcqRel,
                                    Ordering::Acquire,
                                );
                            }
                            3 => assert!(is_good, "{answer:?}"),
                            _ => {}
                        }
                        assert!(is_good || matches!(answer.status, 502 | 503), "{answer:?}");
                        served[before] += 1;
                    }
                })
            })
            .collect();
        eventually("it serves", || origin.count() > 200);
        phase.store(1, Ordering::Release);
        origin.stop();
        eventually("requests fail", || failed_fast.load(Ordering::Acquire));
        let mut listener = None;
        eventually("the port is free", || {
            listener = std::net::TcpListener::bind(address).ok();
            listener.is_some()
        });
        let again = Origin::on(listener.expect("just bound"), answer);
        phase.store(2, Ordering::Release);
        eventually("it serves again", || again.count() > 400);
        phase.store(4, Ordering::Release);
        let served: [i32; 5] = clients.into_iter().fold([0; 5], |all, client| {
            let served: [i32; 5] = client.join().expect("no failure");
            std::array::from_fn(|phase| all[phase] + served[phase])
        });
        assert!(served[0] > 0 && served[3] > 0, "{served:?}");
    });
}
