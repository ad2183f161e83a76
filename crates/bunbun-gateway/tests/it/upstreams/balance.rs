//! Several addresses: balance, active checks, breakers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::support::{ClosedPort, Gate, Gateway, Origin, eventually, full_listener, one_route};

fn answers_of(gateway: &Gateway, count: usize) -> Vec<String> {
    let answers = (0..count).map(|_| gateway.get("/u", &[]));
    answers
        .map(|answer| format!("{} {}", answer.status, answer.text()))
        .collect()
}

#[test]
fn requests_go_to_the_address_with_fewer_under_way() {
    let gate = Gate::default();
    let origins: Vec<Origin> = (0..2)
        .map(|_| {
            let at_gate = gate.clone();
            Origin::with(move |_, peer| {
                at_gate.pass();
                peer.answer(200, "", "");
                true
            })
        })
        .collect();
    let config = one_route(&[&origins[0].url(), &origins[1].url()], "", "");
    // One worker: then no two requests choose at the same moment.
    let gateway = Gateway::builder()
        .config(&config)
        .with(|b| b.options.workers = 1)
        .start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| gateway.get("/u", &[]).status))
            .collect();
        eventually("all are under way", || gate.waiting() == 12);
        assert_eq!((origins[0].count(), origins[1].count()), (6, 6));
        gate.open();
        assert!(
            clients
                .into_iter()
                .all(|client| client.join().expect("no panic") == 200)
        );
    });
}

#[test]
fn an_address_that_fails_its_check_is_left_out_until_it_recovers() {
    let is_ill = Arc::new(AtomicBool::new(false));
    let checked = Arc::clone(&is_ill);
    let first = Origin::with(move |seen, peer| {
        let ill = seen.target == "/health" && checked.load(Ordering::Acquire);
        peer.answer(if ill { 500 } else { 200 }, "", "first");
        true
    });
    let second = Origin::named("second");
    let health = "health = { path = '/health', interval = '100ms', timeout = '5s' }";
    let config = one_route(&[&first.url(), &second.url()], health, "");
    let gateway = Gateway::builder().config(&config).start();
    eventually("both serve", || answers_of(&gateway, 1) == ["200 first"]);

    is_ill.store(true, Ordering::Release);
    eventually("one is out", || gateway.load().unavailable == 1);
    assert_eq!(answers_of(&gateway, 40), vec!["200 second"; 40]);

    is_ill.store(false, Ordering::Release);
    eventually("it is back", || gateway.load().unavailable == 0);
    eventually("both serve again", || {
        answers_of(&gateway, 1) == ["200 first"]
    });
    let check = first
        .take()
        .into_iter()
        .find(|seen| seen.target == "/health");
    let agent = check.as_ref().and_then(|seen| seen.header("user-agent"));
    assert_eq!(agent, Some("bunbun-health-check"));
}

#[test]
fn a_breaker_opens_after_failures_and_closes_after_a_probe() {
    let port = ClosedPort::reserve();
    let config = one_route(
        &[&port.url()],
        "breaker = { failures = 3, open_for = '300ms' }",
        "",
    );
    let gateway = Gateway::builder().config(&config).start();
    for _ in 0..3 {
        assert_eq!(
            gateway.get("/u", &[]).status,
            502,
            "each request is one failure"
        );
    }
    let open = gateway.get("/u", &[]);
    // 503 unless the machine was so slow that this was a probe.
    assert!(matches!(open.status, 502 | 503), "{}", open.status);
    eventually("it is refused without an attempt", || {
        gateway.get("/u", &[]).status == 503
    });

    let _origin = Origin::on(port.open(16), |_, peer| {
        peer.answer(200, "", "back");
        true
    });
    eventually("a probe closes it", || gateway.get("/u", &[]).status == 200);
    assert_eq!(answers_of(&gateway, 20), vec!["200 back"; 20]);
}

#[test]
fn a_request_that_makes_the_upstream_drop_connections_does_not_close_it_to_others() {
    let origin = Origin::with(|seen, peer| {
        if seen.target.contains("die") {
            return false;
        }
        peer.answer(200, "", "fine");
        true
    });
    let breaker = "breaker = { failures = 2, open_for = '1h' }";
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], breaker, ""))
        .start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/u/die", &[]).status, 502);
        assert_eq!(gateway.get("/u/good", &[]).status, 200);
    }
}

#[test]
fn a_half_open_breaker_lets_one_probe_through() {
    let port = ClosedPort::reserve();
    let config = one_route(
        &[&port.url()],
        "breaker = { failures = 1, open_for = '50ms' }",
        "",
    );
    let gateway = Gateway::builder().config(&config).start();
    assert_eq!(gateway.get("/u", &[]).status, 502);
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::on(port.open(16), move |_, peer| {
        at_gate.pass();
        peer.answer(200, "", "back");
        true
    });
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            loop {
                let answer = gateway.get("/u", &[]);
                if answer.status != 503 {
                    return answer.status;
                }
            }
        });
        eventually("the probe is under way", || gate.waiting() == 1);
        for _ in 0..20 {
            assert_eq!(gateway.get("/u", &[]).status, 503);
        }
        assert_eq!(origin.count(), 1);
        gate.open();
        assert_eq!(probe.join().expect("no panic"), 200);
    });
    assert_eq!(answers_of(&gateway, 10), vec!["200 back"; 10]);
}

#[test]
fn a_probe_whose_client_goes_away_does_not_keep_the_breaker_open() {
    let (listener, waiting) = full_listener();
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let breaker = "connect_timeout = '1s'\nbreaker = { failures = 1, open_for = '1ms' }";
    let gateway = Gateway::builder()
        .config(&one_route(&[&url], breaker, ""))
        .start();
    assert_eq!(gateway.get("/u", &[]).status, 504);
    // The probe hangs in its connecting when its client leaves.
    let mut probe = gateway.connect();
    probe.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the probe is under way", || gateway.load().in_flight == 1);
    drop(probe);
    eventually("the probe is over", || gateway.load().in_flight == 0);
    drop(waiting);
    let _origin = Origin::on(listener, |_, peer| {
        peer.answer(200, "", "back");
        true
    });
    eventually("there is another probe", || {
        gateway.get("/u", &[]).status == 200
    });
}

#[test]
fn a_dead_address_among_several_costs_no_request_and_comes_back() {
    let port = ClosedPort::reserve();
    let alive = Origin::named("alive");
    let breaker = "breaker = { failures = 2, open_for = '100ms' }";
    let config = one_route(&[&port.url(), &alive.url()], breaker, "");
    let gateway = Gateway::builder().config(&config).start();
    assert_eq!(answers_of(&gateway, 50), vec!["200 alive"; 50]);
    // What cannot have been executed goes elsewhere, whatever its method.
    for _ in 0..20 {
        assert_eq!(gateway.request("POST", "/u", &[], b"body").status, 200);
    }
    let _dead = Origin::on(port.open(16), |_, peer| {
        peer.answer(200, "", "risen");
        true
    });
    eventually("it takes part again", || {
        answers_of(&gateway, 1) == ["200 risen"]
    });
    eventually("its breaker is closed", || gateway.load().unavailable == 0);
    assert!(
        answers_of(&gateway, 50)
            .iter()
            .all(|answer| answer.starts_with("200 "))
    );
}
