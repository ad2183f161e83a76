//! HTTP/2 and TLS to upstreams.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bunbun_http::{Body, body};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::{
    Authority, Gateway, Http2Client, HyperOrigin, Names, eventually, http2::get, one_route,
};

fn h2c(origin: &HyperOrigin) -> String {
    format!("h2c://{}", origin.address)
}

#[test]
fn http2_in_the_clear_carries_requests_of_either_version() {
    let origin = HyperOrigin::echo(None, 100);
    let config = one_route(&[&format!("{}/base", h2c(&origin))], "", "");
    let gateway = Gateway::builder().config(&config).start();
    let answer = gateway.get("/u/a?b=c", &[]);
    let seen = format!("GET /base/a?b=c {} HTTP/2.0 0", origin.address);
    assert_eq!((answer.status, answer.text()), (200, seen.as_str()));

    let large = vec![b'x'; 3_000_000];
    let answer = gateway.request("POST", "/u", &[], &large);
    assert!(
        answer.text().starts_with("POST /base/ "),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().ends_with("HTTP/2.0 3000000"),
        "{}",
        answer.text()
    );

    let client = Http2Client::connect(gateway.address);
    assert!(client.get("/u").text().ends_with("HTTP/2.0 0"));
    // HTTP/1.1 goes through to an HTTP/1.1 upstream for a client of HTTP/2, too.
    let plain = one_route(&[&format!("http://{}", origin.address)], "", "");
    gateway.reload(&plain).expect("a good configuration");
    assert!(client.get("/u").text().ends_with("HTTP/1.1 0"));
}

#[test]
fn many_requests_share_one_connection_per_worker() {
    let origin = HyperOrigin::echo(None, 50);
    let gateway = Gateway::builder()
        .config(&one_route(&[&h2c(&origin)], "", ""))
        .start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| {
                    let client = Http2Client::connect(gateway.address);
                    // More than the upstream takes at once on a connection.
                    let requests = (0..100).map(|n| {
                        let mut request = get(&format!("/u/{n}"));
                        if n % 2 == 1 {
                            *request.method_mut() = Method::POST;
                        }
                        request
                    });
                    client.send_all(requests.collect())
                })
            })
            .collect();
        for client in clients {
            let answers = client.join().expect("no panic");
            let targets: HashSet<String> = answers
                .iter()
                .map(|answer| answer.as_ref().expect("an answer").text().to_owned())
                .collect();
            assert_eq!(targets.len(), 100, "every request has its own answer");
        }
    });
    assert_eq!(origin.requests(), 500);
    assert!(
        origin.connections() <= 2,
        "{} connections",
        origin.connections()
    );
}

#[test]
fn an_orderly_goodbye_of_the_upstream_costs_no_get() {
    let origin = HyperOrigin::echo(None, 100);
    let gateway = Gateway::builder()
        .config(&one_route(&[&h2c(&origin)], "", "retries = 1"))
        .start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    while !stop.load(Ordering::Acquire) {
                        let answer = client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n").answer();
                        assert_eq!(answer.status, 200, "{}", answer.text());
                    }
                })
            })
            .collect();
        eventually("there is load", || origin.requests() > 50);
        for _ in 0..20 {
            let (connections, requests) = (origin.connections(), origin.requests());
            origin.say_goodbye();
            eventually("it goes on", || {
                origin.connections() > connections && origin.requests() > requests + 50
            });
        }
        stop.store(true, Ordering::Release);
        clients
            .into_iter()
            .for_each(|client| client.join().expect("no failure"));
    });
}

#[test]
fn a_stream_that_is_reset_is_no_whole_answer() {
    let origin = HyperOrigin::start(None, 100, |_| async {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"half"))),
            Err("cut".into()),
        ];
        let body: Body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        Response::new(body)
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&h2c(&origin)], "", ""))
        .start();
    let request = "GET /u HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = String::from_utf8(gateway.raw(request)).expect("text");
    // The reset may overtake the answer's head.
    assert!(
        text.starts_with("HTTP/1.1 502") || !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
    let answers = Http2Client::connect(gateway.address).send_all(vec![get("/u")]);
    assert!(
        answers[0]
            .as_ref()
            .is_none_or(|answer| answer.status == 502 || answer.body.is_err())
    );
}

#[test]
fn trailers_of_an_answer_pass() {
    let origin = HyperOrigin::start(None, 100, |_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"message"))),
            Ok(Frame::trailers(trailers)),
        ];
        let body: Body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("grpc-status"));
        response
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&h2c(&origin)], "", ""))
        .start();
    let answer = Http2Client::connect(gateway.address).get("/u");
    assert_eq!(answer.text(), "message");
    assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
    // HTTP/1.1 carries them for who can take them.
    let bytes =
        gateway.raw("GET /u HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n");
    let text = String::from_utf8(bytes).expect("text");
    assert!(
        text.ends_with("7\r\nmessage\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn a_stream_that_ends_in_a_frame_of_its_own_is_not_reset() {
    // As Go and Node do it. HTTP/2 libraries end a connection after so many resets.
    let origin = HyperOrigin::start(None, 100, |_| async {
        let data = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"message")))]);
        let end = futures_util::stream::once(tokio::time::sleep(Duration::from_micros(500)))
            .filter_map(|()| async { None });
        let mut response = Response::new(StreamBody::new(data.chain(end)).boxed_unsync());
        response
            .headers_mut()
            .insert("content-length", HeaderValue::from_static("7"));
        response
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&h2c(&origin)], "", ""))
        .with(|builder| builder.options.workers = 1)
        .start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for _ in 0..300 {
                    let answer = client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n").answer();
                    assert_eq!((answer.status, answer.text()), (200, "message"));
                }
            });
        }
    });
    assert_eq!(origin.connections(), 1);
    eventually("every request is over", || gateway.load().in_flight == 0);
}

/// A gateway that finds `secure.test` and trusts one authority.
fn trusting(
    authority: &Authority,
    origin: &HyperOrigin,
    host: &str,
) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("written");
    let names = Names::default();
    names.set(host, &[origin.address]);
    let config = one_route(
        &[&format!("https://{host}:{}", origin.address.port())],
        &format!("ca_file = {file:?}\nbreaker = {{ failures = 1000, open_for = '1s' }}"),
        "",
    );
    let gateway = Gateway::builder()
        .config(&config)
        .with(|builder| builder.resolver = Some(Arc::new(names)))
        .start();
    (gateway, folder)
}

#[test]
fn tls_upstreams_are_spoken_to_in_the_version_they_offer() {
    let authority = Authority::new();
    for (offered, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let tls = authority.issue("secure.test").server(offered);
        let origin = HyperOrigin::echo(Some(tls), 100);
        let (gateway, _folder) = trusting(&authority, &origin, "secure.test");
        for _ in 0..10 {
            let answer = gateway.get("/u/a", &[]);
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(
                answer.text().contains(version),
                "{offered:?}: {}",
                answer.text()
            );
        }
        assert!(
            origin.connections() < 10,
            "{} connections",
            origin.connections()
        );
    }
}

#[test]
fn an_upstream_that_cannot_prove_its_name_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (certificate, trusted) in [
        (ours.issue("other.test"), &ours),
        (other.issue("secure.test"), &ours),
    ] {
        let origin = HyperOrigin::echo(Some(certificate.server(&["h2", "http/1.1"])), 100);
        let (gateway, _folder) = trusting(trusted, &origin, "secure.test");
        assert_eq!(gateway.get("/u", &[]).status, 502);
        assert_eq!(origin.requests(), 0);
    }
    // The public authorities vouch for neither.
    let origin = HyperOrigin::echo(Some(ours.issue("127.0.0.1").server(&["http/1.1"])), 100);
    let config = one_route(&[&format!("https://{}", origin.address)], "", "");
    assert_eq!(
        Gateway::builder()
            .config(&config)
            .start()
            .get("/u", &[])
            .status,
        502
    );
}

#[test]
fn an_address_can_have_a_certificate() {
    let authority = Authority::new();
    let origin = HyperOrigin::echo(Some(authority.issue("127.0.0.1").server(&["h2"])), 100);
    let (gateway, _folder) = trusting(&authority, &origin, "127.0.0.1");
    assert_eq!(gateway.get("/u", &[]).status, 200);
}

#[test]
fn a_plain_upstream_behind_an_https_url_is_refused() {
    let origin = HyperOrigin::start(None, 100, |_| async { Response::new(body::empty()) });
    let config = one_route(&[&format!("https://{}", origin.address)], "", "");
    assert_eq!(
        Gateway::builder()
            .config(&config)
            .start()
            .get("/u", &[])
            .status,
        502
    );
    assert_eq!(origin.requests(), 0);
}
