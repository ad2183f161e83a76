//! Names: they change, fail and have several addresses.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::support::{ClosedPort, Gateway, Names, Origin, eventually, one_route};

fn named(names: &Names, url: &str, upstream: &str) -> Gateway {
    let names = names.clone();
    Gateway::builder()
        .config(&one_route(&[url], upstream, ""))
        .with(|builder| builder.resolver = Some(Arc::new(names)))
        .start()
}

fn serve(listener: TcpListener, text: &'static str) -> Origin {
    Origin::on(listener, move |_, peer| {
        peer.answer(200, "", text);
        true
    })
}

#[test]
fn the_systems_resolver_finds_localhost() {
    let listener = TcpListener::bind(("localhost", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let _origin = serve(listener, "local");
    let gateway = Gateway::builder()
        .config(&one_route(&[&format!("http://localhost:{port}")], "", ""))
        .start();
    assert_eq!(gateway.get("/u", &[]).text(), "local");
}

#[test]
fn a_name_that_does_not_resolve_is_answered_as_the_dialect_does() {
    for (dialect, body) in [
        ("kong2", "{\n  \"message\":\"name resolution failed\"\n}"),
        ("envoy", "no healthy upstream"),
    ] {
        let config = one_route(&["http://nowhere.test"], "", "").replace("kong2", dialect);
        let gateway = Gateway::builder()
            .config(&config)
            .with(|builder| builder.resolver = Some(Arc::new(Names::default())))
            .start();
        let answer = gateway.get("/u", &[]);
        assert_eq!((answer.status, answer.text()), (503, body));
    }
    // As the system says it, whose resolver may take its time.
    let config = one_route(&["http://nowhere.invalid"], "", "");
    let answer = Gateway::builder().config(&config).start().get("/u", &[]);
    assert_eq!(
        (answer.status, answer.json()["message"].as_str()),
        (503, Some("name resolution failed"))
    );
}

#[test]
fn a_name_without_addresses_is_one_that_does_not_resolve() {
    let names = Names::default();
    names.set("empty.test", &[]);
    assert_eq!(
        named(&names, "http://empty.test", "").get("/u", &[]).status,
        503
    );
}

#[test]
fn a_resolver_that_fails_later_takes_nothing_away() {
    let (names, origin) = (Names::default(), Origin::named("here"));
    names.set("service.test", &[origin.address()]);
    let gateway = named(&names, "http://service.test", "");
    assert_eq!(gateway.get("/u", &[]).status, 200);
    names.forget("service.test");
    origin.cut();
    for _ in 0..20 {
        assert_eq!(gateway.get("/u", &[]).text(), "here");
    }
}

#[test]
fn all_addresses_of_a_name_serve() {
    let (names, first, second) = (
        Names::default(),
        Origin::named("first"),
        Origin::named("second"),
    );
    names.set("service.test", &[first.address(), second.address()]);
    let gateway = named(&names, "http://service.test", "");
    eventually("both serve", || {
        assert_eq!(gateway.get("/u", &[]).status, 200);
        first.count() > 0 && second.count() > 0
    });
    assert_eq!(gateway.load().addresses, 2);
    assert_eq!(first.take()[0].header("host"), Some("service.test"));
}

#[test]
fn a_recreated_containers_new_address_is_used_at_once() {
    let names = Names::default();
    let first = Origin::named("first");
    names.set("service.test", &[first.address()]);
    let gateway = named(&names, "http://service.test", "");
    for _ in 0..10 {
        assert_eq!(gateway.get("/u", &[]).text(), "first");
    }
    for round in 0..5 {
        // The old one is gone with its connections before anyone asks for the new one.
        let next = Origin::named("next");
        names.set("service.test", &[next.address()]);
        if round == 0 {
            first.stop();
            closed(first.address());
        }
        for _ in 0..10 {
            assert_eq!(gateway.get("/u", &[]).text(), "next", "round {round}");
        }
        for _ in 0..10 {
            let answer = gateway.request("POST", "/u", &[], b"body");
            assert_eq!(answer.text(), "next", "round {round}");
        }
        next.stop();
        closed(next.address());
    }
}

#[test]
fn a_new_address_is_found_while_the_old_ones_breaker_is_open() {
    let (names, port) = (Names::default(), ClosedPort::reserve());
    names.set("service.test", &[port.address]);
    let breaker = "breaker = { failures = 1, open_for = '1h' }";
    let gateway = named(&names, "http://service.test", breaker);
    eventually("the breaker is open", || {
        gateway.get("/u", &[]).status == 503
    });
    let origin = Origin::named("new");
    names.set("service.test", &[origin.address()]);
    // While no address takes requests, names are resolved again every 100 ms at most.
    std::thread::sleep(Duration::from_millis(150));
    for _ in 0..20 {
        assert_eq!(gateway.get("/u", &[]).text(), "new");
    }
}

#[test]
fn clients_notice_nothing_of_a_move() {
    let (names, first, second) = (
        Names::default(),
        Origin::named("first"),
        Origin::named("second"),
    );
    names.set("service.test", &[first.address()]);
    // A request that the old one took and did not answer needs a retry.
    let resolver = names.clone();
    let gateway = Gateway::builder()
        .config(&one_route(&["http://service.test"], "", "retries = 1"))
        .with(|builder| builder.resolver = Some(Arc::new(resolver)))
        .start();
    let (moved, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut served) = (gateway.connect(), 0);
                    while !stop.load(Ordering::Acquire) {
                        let late = moved.load(Ordering::Acquire);
                        let answer = client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n").answer();
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        assert!(
                            !late || answer.text() == "second",
                            "the old address is gone"
                        );
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        eventually("the first one serves", || first.count() > 100);
        names.set("service.test", &[second.address()]);
        first.stop();
        closed(first.address());
        moved.store(true, Ordering::Release);
        eventually("the second one serves", || second.count() > 100);
        stop.store(true, Ordering::Release);
        assert!(
            clients
                .into_iter()
                .map(|client| client.join().expect("no failure"))
                .sum::<i32>()
                > 200
        );
    });
}

/// Waits until nobody listens there any more.
fn closed(address: SocketAddr) {
    eventually("the port is closed", || {
        std::net::TcpStream::connect(address).is_err()
    });
}
