//! The response cache of routes with a `cache_ttl`, and mirrors.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::{Answer, ClosedPort, Gateway, Keys, Origin, eventually, one_route};

/// An origin whose every answer is another one.
fn counting(headers: &'static str) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::with(move |_, peer| {
        let number = count.fetch_add(1, Ordering::AcqRel) + 1;
        peer.answer(200, headers, number.to_string());
        true
    })
}

fn cached(origin: &Origin, ttl: &str) -> Gateway {
    let route = format!("cache_ttl = '{ttl}'");
    Gateway::builder()
        .config(&one_route(&[&origin.url()], "", &route))
        .start()
}

fn told(answer: &Answer) -> (u16, &str, Option<&str>) {
    (answer.status, answer.text(), answer.header("x-cache"))
}

#[test]
fn the_second_answer_comes_from_the_cache() {
    let origin = counting("etag: \"a\"\r\nx-own: 1\r\n");
    let gateway = cached(&origin, "1h");
    let first = gateway.get("/u/a?b=c", &[]);
    assert_eq!(told(&first), (200, "1", Some("MISS")));
    let second = gateway.get("/u/a?b=c", &[]);
    assert_eq!(told(&second), (200, "1", Some("HIT")));
    assert_eq!(
        (second.header("etag"), second.header("x-own")),
        (Some("\"a\""), Some("1"))
    );
    assert!(
        second
            .header("age")
            .is_some_and(|age| age.parse::<u64>().is_ok())
    );
    assert_ne!(second.request_id(), first.request_id());
    assert_eq!(origin.count(), 1);
    assert!(gateway.log.text().lines().count() <= 2);
}

#[test]
fn an_answer_is_another_ones_for_another_address() {
    let origin = counting("");
    let gateway = cached(&origin, "1h");
    for (target, host, accept) in [
        ("/u", "a.test", "*/*"),
        ("/u/", "a.test", "*/*"),
        ("/u?x", "a.test", "*/*"),
        ("/u?x=1", "a.test", "*/*"),
        ("/u", "b.test", "*/*"),
        ("/u", "a.test", "text/csv"),
    ] {
        let headers = [("host", host), ("accept", accept)];
        assert_eq!(
            told(&gateway.get(target, &headers)).2,
            Some("MISS"),
            "{target} {host}"
        );
        assert_eq!(
            told(&gateway.get(target, &headers)).2,
            Some("HIT"),
            "{target} {host}"
        );
    }
    assert_eq!(origin.count(), 6);
}

#[test]
fn roles_and_projects_share_nothing() {
    let (origin, other) = (counting(""), Keys::generate());
    let route = "cache_ttl = '1h'".to_owned();
    let config = one_route(&[&origin.url()], "", &route).replace("'open'", "'key'");
    let gateway = Gateway::builder()
        .config(&config)
        .project("otherprojectsreference", &other)
        .start();
    let keys = gateway.keys.clone();
    for (target, key) in [
        ("/u", &keys.anon),
        ("/u", &keys.service_role),
        ("/p/otherprojectsreference/u", &other.anon),
    ] {
        assert_eq!(
            told(&gateway.get(target, &[("apikey", key)])).2,
            Some("MISS"),
            "{target}"
        );
        assert_eq!(
            told(&gateway.get(target, &[("apikey", key)])).2,
            Some("HIT"),
            "{target}"
        );
    }
    // Whoever may not ask gets nothing of it.
    assert_eq!(gateway.get("/u", &[]).status, 401);
    assert_eq!(gateway.get("/u", &[("apikey", &other.anon)]).status, 401);
    assert_eq!(origin.count(), 3);
}

#[test]
fn a_users_own_requests_are_neither_answered_from_it_nor_kept() {
    let origin = counting("");
    let gateway = cached(&origin, "1h");
    for (number, header) in [
        ("authorization", "Bearer x"),
        ("cookie", "session=1"),
        ("x-api-key", "bb_1"),
        ("range", "bytes=0-1"),
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
    ]
    .into_iter()
    .enumerate()
    {
        for turn in 1..=2 {
            let answer = gateway.get("/u", &[header]);
            assert_eq!(
                told(&answer),
                (200, (2 * number + turn).to_string().as_str(), None),
                "{header:?}"
            );
        }
    }
    assert_eq!(
        gateway.request("POST", "/u", &[], b"").header("x-cache"),
        None
    );
    assert_eq!(
        gateway.request("HEAD", "/u", &[], b"").header("x-cache"),
        None
    );
}

#[test]
fn answers_that_forbid_it_are_not_kept() {
    for headers in [
        "cache-control: no-store\r\n",
        "cache-control: private, max-age=60\r\n",
        "cache-control: no-cache\r\n",
        "cache-control: max-age=0\r\n",
        "cache-control: public, s-maxage=0\r\n",
        "cache-control: No-Store\r\n",
        "set-cookie: session=1\r\n",
        "vary: cookie\r\n",
        "vary: accept, authorization\r\n",
        "vary: *\r\n",
    ] {
        let origin = counting(headers);
        let gateway = cached(&origin, "1h");
        assert_eq!(told(&gateway.get("/u", &[])), (200, "1", None), "{headers}");
        assert_eq!(told(&gateway.get("/u", &[])), (200, "2", None), "{headers}");
    }
}

#[test]
fn answers_other_than_200_and_large_or_unending_ones_are_not_kept() {
    let large = "x".repeat(1024 * 1024 + 1);
    for answer in [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno".to_owned(),
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-1/5\r\ncontent-length: 2\r\n\r\nno"
            .to_owned(),
        "HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno".to_owned(),
        "HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{large}",
            large.len()
        ),
    ] {
        let sent = answer.clone();
        let origin = Origin::with(move |_, peer| {
            peer.send(&sent);
            true
        });
        let gateway = cached(&origin, "1h");
        for _ in 0..2 {
            assert_eq!(
                gateway.get("/u", &[]).header("x-cache"),
                None,
                "{answer:.40}"
            );
        }
        assert_eq!(origin.count(), 2);
    }
}

#[test]
fn an_answer_that_broke_off_is_not_kept() {
    let count = AtomicUsize::new(0);
    let origin = Origin::with(move |_, peer| {
        if count.fetch_add(1, Ordering::AcqRel) == 0 {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234");
            return false;
        }
        peer.answer(200, "", "whole");
        true
    });
    let gateway = cached(&origin, "1h");
    let broken = gateway.raw("GET /u HTTP/1.1\r\nhost: gateway.test\r\n\r\n");
    let text = String::from_utf8(broken).expect("text");
    assert!(
        text.is_empty() || text.contains("content-length: 10"),
        "{text}"
    );
    assert_eq!(told(&gateway.get("/u", &[])), (200, "whole", Some("MISS")));
    assert_eq!(told(&gateway.get("/u", &[])), (200, "whole", Some("HIT")));
}

#[test]
fn answers_that_vary_by_what_is_in_the_key_are_kept_apart() {
    let origin = counting("vary: Accept-Encoding, Origin\r\n");
    let gateway = cached(&origin, "1h");
    for (encoding, body) in [("gzip", "1"), ("br", "2"), ("gzip", "1"), ("br", "2")] {
        assert_eq!(
            gateway.get("/u", &[("accept-encoding", encoding)]).text(),
            body
        );
    }
    assert_eq!(gateway.get("/u", &[("prefer", "count=exact")]).text(), "3");
    assert_eq!(gateway.get("/u", &[]).text(), "4");
}

#[test]
fn answers_grow_old_at_the_routes_or_their_own_age() {
    for (headers, ttl) in [("", "50ms"), ("cache-control: max-age=1\r\n", "1h")] {
        let origin = counting(headers);
        let gateway = cached(&origin, ttl);
        assert_eq!(gateway.get("/u", &[]).text(), "1");
        eventually("it is asked for again", || {
            gateway.get("/u", &[]).text() != "1"
        });
        assert!(
            gateway
                .get("/u", &[])
                .header("age")
                .is_none_or(|age| age == "0")
        );
    }
}

#[test]
fn another_configuration_begins_with_an_empty_cache() {
    let origin = counting("");
    let gateway = cached(&origin, "1h");
    assert_eq!(gateway.get("/u", &[]).text(), "1");
    assert_eq!(gateway.get("/u", &[]).text(), "1");
    gateway
        .reload(&one_route(&[&origin.url()], "", "cache_ttl = '1h'"))
        .expect("a good configuration");
    assert_eq!(told(&gateway.get("/u", &[])), (200, "2", Some("MISS")));
}

fn mirrored(origin: &str, mirror: &str) -> Gateway {
    let config = one_route(
        &[origin],
        &format!("[upstreams.mirror]\nurls = ['{mirror}']"),
        "mirror = 'mirror'",
    );
    Gateway::builder().config(&config).start()
}

#[test]
fn the_mirror_gets_a_copy_of_small_requests() {
    let (origin, mirror) = (Origin::named("real"), Origin::named("mirror"));
    let gateway = mirrored(&origin.url(), &mirror.url());
    let small = vec![b'x'; 64 * 1024];
    for (method, body) in [
        ("GET", &b""[..]),
        ("POST", b"pay"),
        ("DELETE", b""),
        ("PUT", &small),
    ] {
        let answer = gateway.request(method, "/u/a?b=c", &[("x-it", "1")], body);
        assert_eq!((answer.status, answer.text()), (200, "real"));
        eventually("the copy arrives", || mirror.count() == 1);
        let (real, copy) = (origin.only(), mirror.only());
        assert_eq!(
            (real.method, real.target, real.body),
            (copy.method.clone(), copy.target.clone(), copy.body.clone())
        );
        assert_eq!(copy.header("x-it"), Some("1"));
        assert_eq!(
            copy.header("host"),
            Some(mirror.address().to_string().as_str())
        );
        assert_eq!(copy.header("x-request-id"), Some(answer.request_id()));
    }
}

#[test]
fn large_and_unending_bodies_are_not_copied() {
    let (origin, mirror) = (Origin::named("real"), Origin::named("mirror"));
    let gateway = mirrored(&origin.url(), &mirror.url());
    let large = vec![b'x'; 64 * 1024 + 1];
    assert_eq!(gateway.request("POST", "/u", &[], &large).text(), "real");
    let chunked = [("transfer-encoding", "chunked")];
    assert_eq!(
        gateway
            .request("POST", "/u", &chunked, b"2\r\nhi\r\n0\r\n\r\n")
            .text(),
        "real"
    );
    // One that is copied, after them.
    assert_eq!(gateway.request("POST", "/u", &[], b"small").text(), "real");
    eventually("the copy arrives", || mirror.count() == 1);
    assert_eq!(mirror.only().body, b"small");
    assert_eq!(origin.count(), 3);
}

#[test]
fn a_mirror_that_fails_or_hangs_is_nobodys_trouble() {
    let refusing = ClosedPort::reserve();
    let hanging = Origin::with(|_, peer| {
        while peer.read_more() {}
        false
    });
    let cutting = Origin::with(|_, _| false);
    let failing = Origin::with(|_, peer| {
        peer.answer(500, "", "no");
        true
    });
    for url in [
        refusing.url(),
        hanging.url(),
        cutting.url(),
        failing.url(),
        "http://nowhere.invalid".to_owned(),
    ] {
        let origin = Origin::named("real");
        let gateway = Arc::new(mirrored(&origin.url(), &url));
        // More than may be under way to a mirror at once.
        for number in 0..300 {
            let body = if number % 2 == 0 { &b""[..] } else { b"post" };
            let method = if number % 2 == 0 { "GET" } else { "POST" };
            let answer = gateway.request(method, "/u", &[], body);
            assert_eq!((answer.status, answer.text()), (200, "real"), "{url}");
        }
        assert_eq!(origin.count(), 300);
    }
}
