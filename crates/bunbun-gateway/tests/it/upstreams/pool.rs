//! Connections to upstreams: reuse, caps and timeouts.

use std::{net::Shutdown, time::Duration};

use crate::support::{
    Gate, Gateway, Http2Client, Origin, eventually, full_listener, http2::get, one_route,
};

#[test]
fn connections_are_reused() {
    let origin = Origin::echo();
    let config = one_route(&[&origin.url()], "", "");
    let gateway = Gateway::builder()
        .config(&config)
        .with(|b| b.options.workers = 1)
        .start();
    for _ in 0..50 {
        assert_eq!(gateway.get("/u", &[]).status, 200);
    }
    // A connection that is not ready in time is given up: a loaded machine may need a second one.
    assert!(
        origin.connections() < 5,
        "{} connections for 50 requests",
        origin.connections()
    );
    assert_eq!(origin.count(), 50);
    assert_eq!(gateway.load().in_flight, 0);
}

#[test]
fn unused_connections_are_closed_when_they_are_old() {
    let origin = Origin::echo();
    let config = one_route(&[&origin.url()], "keepalive_timeout = '50ms'", "");
    let gateway = Gateway::builder().config(&config).start();
    assert_eq!(gateway.get("/u", &[]).status, 200);
    eventually("the pool is empty", || gateway.load().idle == 0);
    assert_eq!(gateway.get("/u", &[]).status, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn no_more_requests_than_allowed_are_under_way_and_the_others_wait() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::with(move |_, peer| {
        at_gate.pass();
        peer.answer(200, "", "done");
        true
    });
    let config = one_route(
        &[&origin.url()],
        "max_connections = 2\nconnect_timeout = '20s'",
        "",
    );
    let gateway = Gateway::builder().config(&config).start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| gateway.get("/u", &[]).status))
            .collect();
        eventually("two are under way", || gate.waiting() == 2);
        gate.open();
        for client in clients {
            assert_eq!(client.join().expect("no panic"), 200);
        }
    });
    assert_eq!(gate.most(), 2);
    assert_eq!(origin.count(), 8);
}

#[test]
fn who_waits_too_long_for_a_busy_upstream_is_told_so() {
    for (dialect, body) in [
        ("kong2", "failure to get a peer from the ring-balancer"),
        ("envoy", "reset reason: overflow"),
    ] {
        let gate = Gate::default();
        let at_gate = gate.clone();
        let origin = Origin::with(move |_, peer| {
            at_gate.pass();
            peer.answer(200, "", "done");
            true
        });
        let caps = "max_connections = 1\nconnect_timeout = '100ms'";
        let config = one_route(&[&origin.url()], caps, "").replace("kong2", dialect);
        let gateway = Gateway::builder().config(&config).start();
        let mut first = gateway.connect();
        first.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("one is under way", || gate.waiting() == 1);
        let second = gateway.get("/u", &[]);
        assert_eq!(second.status, 503);
        assert!(second.text().contains(body), "{}", second.text());
        gate.open();
        assert_eq!(first.answer().status, 200);
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn an_address_that_does_not_accept_in_time_is_504() {
    let (listener, _waiting) = full_listener();
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let config = one_route(&[&url], "connect_timeout = '100ms'", "");
    let gateway = Gateway::builder().config(&config).start();
    let answer = gateway.get("/u", &[]);
    assert_eq!(
        (answer.status, answer.text()),
        (504, "The upstream server is timing out\n")
    );
    let reason = gateway
        .refused(answer.request_id())
        .expect("remembered")
        .reason;
    assert!(reason.contains("longer"), "{reason}");
}

#[test]
fn an_answer_that_does_not_begin_in_time_is_504_in_every_dialect() {
    for (dialect, body) in [
        ("kong2", "The upstream server is timing out"),
        ("kong3", "The upstream server is timing out"),
        ("envoy", "upstream request timeout"),
    ] {
        let gate = Gate::default();
        let at_gate = gate.clone();
        let origin = Origin::with(move |_, peer| {
            // Until the gateway gives up.
            while peer.read_more() {}
            at_gate.pass();
            false
        });
        let config = one_route(
            &[&origin.url()],
            "",
            "first_byte_timeout = '100ms'\nretries = 3",
        );
        let gateway = Gateway::builder()
            .config(&config.replace("kong2", dialect))
            .start();
        let answer = gateway.get("/u", &[]);
        assert_eq!(answer.status, 504);
        assert!(answer.text().contains(body), "{}", answer.text());
        eventually("the upstream's connection is closed", || {
            gate.waiting() == 1
        });
        gate.open();
        assert_eq!(
            origin.count(),
            1,
            "what may have been executed is not repeated after a timeout"
        );
    }
}

#[test]
fn an_answer_that_falls_silent_is_cut_off() {
    let origin = Origin::with(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789");
        while peer.read_more() {}
        false
    });
    let config = one_route(&[&origin.url()], "", "idle_timeout = '100ms'");
    let gateway = Gateway::builder().config(&config).start();
    let bytes = gateway.raw("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("content-length: 100") && text.ends_with("\r\n\r\n0123456789"),
        "{text}"
    );
    eventually("the log says so", || {
        gateway.log.text().contains("\"aborted\":true")
    });

    let answers = Http2Client::connect(gateway.address).send_all(vec![get("/u")]);
    assert!(
        answers[0]
            .as_ref()
            .is_none_or(|answer| answer.body.is_err())
    );
}

#[test]
fn a_client_that_goes_away_takes_its_upstream_request_along() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::with(move |_, peer| {
        while peer.read_more() {}
        at_gate.pass();
        false
    });
    let config = one_route(&[&origin.url()], "max_connections = 1", "");
    let gateway = Gateway::builder().config(&config).start();
    let mut client = gateway.connect();
    client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request is under way", || origin.count() == 1);
    client
        .stream()
        .shutdown(Shutdown::Both)
        .expect("a shutdown");
    eventually("the upstream's connection is closed", || {
        gate.waiting() == 1
    });
    gate.open();
    eventually("the place is free", || gateway.load().in_flight == 0);
}

#[test]
fn the_path_of_a_url_goes_before_each_requests() {
    let origin = Origin::echo();
    for (base, target, seen) in [
        ("", "/u", "/"),
        ("/", "/u/a?b=c", "/a?b=c"),
        ("/base", "/u/a?b=c", "/base/a?b=c"),
        ("/base/v1/", "/u", "/base/v1/"),
    ] {
        let config = one_route(&[&format!("{}{base}", origin.url())], "", "");
        let gateway = Gateway::builder().config(&config).start();
        // The second one goes over the first one's connection.
        for _ in 0..2 {
            assert_eq!(gateway.get(target, &[]).status, 200);
            let request = origin.only();
            assert_eq!(request.target, seen);
            assert_eq!(
                request.header("host"),
                Some(origin.address().to_string().as_str())
            );
        }
    }
}

#[test]
fn an_upload_that_takes_longer_than_the_first_byte_may_is_no_slow_answer() {
    let origin = Origin::echo();
    let config = one_route(&[&origin.url()], "", "first_byte_timeout = '300ms'");
    let gateway = Gateway::builder().config(&config).start();
    let mut client = gateway.connect();
    client.send("POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    for digit in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        client.send(format!("{digit}"));
    }
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.json()["body"].as_str()),
        (200, Some("0123456789"))
    );
}
