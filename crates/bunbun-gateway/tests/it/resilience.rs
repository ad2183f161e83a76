//! Clients that dribble, crowds, panics, and the drain.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bunbun_http::{
    Body,
    body::{self, Embedded},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::support::{Gate, Gateway, Http2Client, Origin, eventually, http2::get, one_route};

const DRIBBLERS: usize = 500;

/// Half of them never finish a head, half of them never finish a body; until they are cut off or
/// told to stop.
fn dribble(gateway: &Gateway, stop: &AtomicBool) {
    let mut open: Vec<TcpStream> = (0..DRIBBLERS)
        .map(|number| {
            let mut stream = TcpStream::connect(gateway.address).expect("a connection");
            let begin = if number % 2 == 0 {
                "GET /u HTTP/1.1\r\nhost: a\r\nx-slow: "
            } else {
                "POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
            };
            stream.write_all(begin.as_bytes()).expect("it is taken");
            stream.set_nonblocking(true).expect("an option");
            stream
        })
        .collect();
    while !stop.load(Ordering::Acquire) {
        open.retain_mut(|stream| {
            let is_open = |result: std::io::Result<usize>| {
                !matches!(result, Err(error) if error.kind() != ErrorKind::WouldBlock)
            };
            is_open(stream.write(b"x")) && !matches!(stream.read(&mut [0; 512]), Ok(0))
        });
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn five_hundred_dribbling_clients_keep_nobody_from_being_served() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", "max_body_bytes = 200000"))
        .with(|builder| builder.options.header_timeout = Duration::from_secs(2))
        .start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let dribblers = scope.spawn(|| dribble(&gateway, &stop));
        let good: Vec<_> = (0..8)
            .map(|number| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let mut client = gateway.connect();
                    (0..250)
                        .filter(|turn| {
                            let body = format!("{number}/{turn}");
                            let length = body.len();
                            client.send(format!("PUT /u HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"));
                            let answer = client.answer();
                            answer.status == 200 && answer.json()["body"] == body.as_str()
                        })
                        .count()
                })
            })
            .collect();
        let served: usize = good
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .sum();
        assert_eq!(served, 2000);
        // Heads are bounded as a whole, bodies only in their silence.
        eventually("slow heads are refused", || {
            gateway.log.text().matches("head_timeout").count() == DRIBBLERS / 2
        });
        assert_eq!(gateway.load().in_flight, DRIBBLERS / 2);
        stop.store(true, Ordering::Release);
        dribblers.join().expect("no panic");
    });
}

#[test]
fn no_more_connections_than_allowed_are_open() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .with(|builder| builder.options.max_connections = 10)
        .start();
    let request = "GET /u HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut clients: Vec<_> = (0..10).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.send(request).answer().status, 200);
    }
    assert!(
        gateway.connect().send(request).rest().is_empty(),
        "the eleventh is closed"
    );
    for client in &mut clients {
        assert_eq!(
            client.send(request).answer().status,
            200,
            "the others go on"
        );
    }
    clients.pop();
    eventually("there is room again", || {
        let close = "GET /u HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        gateway
            .connect()
            .send(close)
            .rest()
            .starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn a_thousand_requests_at_once_get_their_own_answers() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    std::thread::scope(|scope| {
        let over_http2: Vec<_> = (0..8)
            .map(|client| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let connection = Http2Client::connect(gateway.address);
                    let targets: Vec<String> =
                        (0..100).map(|n| format!("/u/{client}/{n}")).collect();
                    let answers =
                        connection.send_all(targets.iter().map(|target| get(target)).collect());
                    for (target, answer) in targets.iter().zip(answers) {
                        let answer = answer.expect("an answer");
                        assert_eq!(answer.status, 200);
                        assert!(
                            answer.text().contains(&format!("\"{}\"", &target[2..])),
                            "{target}"
                        );
                    }
                })
            })
            .collect();
        let mut clients: Vec<_> = (0..200).map(|_| gateway.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /u/h1/{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.answer();
            assert_eq!(
                (answer.status, answer.json()["target"].as_str()),
                (200, Some(format!("/h1/{number}").as_str()))
            );
        }
        over_http2
            .into_iter()
            .for_each(|client| client.join().expect("no failure"));
    });
    assert_eq!(origin.count(), 1000);
    eventually("nothing is left over", || gateway.load().in_flight == 0);
}

/// A service that panics where it is asked to.
struct Panics;

impl Embedded for Panics {
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let path = request.uri().path().to_owned();
        assert!(!path.ends_with("/call"), "asked to");
        Box::pin(async move {
            assert!(!path.ends_with("/answer"), "asked to");
            if path.ends_with("/body") {
                let frames = (0..2).map(|n| {
                    assert!(n == 0, "asked to");
                    Ok(Frame::data(Bytes::from_static(b"half")))
                });
                return Response::new(
                    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync(),
                );
            }
            Response::new(body::full("fine"))
        })
    }
}

#[test]
fn a_panic_of_a_service_costs_its_own_request_only() {
    let gateway = Gateway::builder()
        .with(|builder| {
            builder.embedded = Some(Arc::new(Panics));
            builder.options.max_connections = 4;
        })
        .start();
    let mut client = gateway.connect();
    for path in ["call", "answer"] {
        for _ in 0..10 {
            let answer = client
                .send(format!("GET /api/{path} HTTP/1.1\r\nhost: a\r\n\r\n"))
                .answer();
            assert_eq!(
                (answer.status, answer.json()["error"]["code"].as_str()),
                (500, Some("INTERNAL"))
            );
            assert!(!answer.text().contains("asked to"), "{}", answer.text());
            let reason = gateway
                .refused(answer.request_id())
                .expect("remembered")
                .reason;
            assert!(reason.contains("unexpected"), "{reason}");
        }
        let answer = client
            .send("GET /api/fine HTTP/1.1\r\nhost: a\r\n\r\n")
            .answer();
        assert_eq!((answer.status, answer.text()), (200, "fine"));
    }
    // A body that has begun can only be broken off, with its connection.
    for _ in 0..20 {
        let text = String::from_utf8(gateway.raw("GET /api/body HTTP/1.1\r\nhost: a\r\n\r\n"))
            .expect("text");
        assert!(!text.ends_with("0\r\n\r\n"), "{text}");
    }
    let answer = client
        .send("GET /api/fine HTTP/1.1\r\nhost: a\r\n\r\n")
        .answer();
    assert_eq!((answer.status, answer.text()), (200, "fine"));
    drop(client);
    // Four may be open: the places of those that panicked are free.
    eventually("all places are free", || {
        let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
        clients.iter_mut().all(|client| {
            client
                .send("GET /api/fine HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .rest()
                .starts_with(b"HTTP/1.1 200")
        })
    });
    let http2 = Http2Client::connect(gateway.address);
    let mut answers = http2.send_all(vec![get("/api/call"), get("/api/body"), get("/api/fine")]);
    assert_eq!(answers.remove(0).expect("an answer").status, 500);
    assert!(answers.remove(0).is_none_or(|answer| answer.body.is_err()));
    assert_eq!(answers.remove(0).expect("an answer").text(), "fine");
}

#[test]
fn the_drain_finishes_what_has_begun() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::with(move |seen, peer| {
        if seen.target == "/slow" {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
            at_gate.pass();
            peer.send("done");
        } else {
            at_gate.pass();
            peer.answer(200, "", "whole");
        }
        true
    });
    let mut gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    let mut idle = gateway.connect();
    let mut silent = gateway.connect();
    let mut clients: Vec<_> = ["/u/slow", "/u/x"]
        .into_iter()
        .map(|target| {
            let mut client = gateway.connect();
            client.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
            client
        })
        .collect();
    let http2 = Http2Client::connect(gateway.address);
    std::thread::scope(|scope| {
        let over_http2 = scope.spawn(|| http2.send_all(vec![get("/u/slow"), get("/u/x")]));
        eventually("all have begun", || gate.waiting() == 4);
        gateway.shutdown.begin();
        assert!(
            idle.rest().is_empty() && silent.rest().is_empty(),
            "they have nothing to wait for"
        );
        eventually("nobody is accepted any more", || {
            TcpStream::connect(gateway.address).is_err()
        });
        gate.open();
        for (client, body) in clients.iter_mut().zip(["halfdone", "whole"]) {
            let answer = client.answer();
            assert_eq!((answer.status, answer.text()), (200, body));
            assert!(client.rest().is_empty());
        }
        for (answer, body) in over_http2
            .join()
            .expect("no panic")
            .into_iter()
            .zip(["halfdone", "whole"])
        {
            assert_eq!(answer.expect("an answer").text(), body);
        }
    });
    gateway.stop();
}

#[test]
fn who_has_connected_when_the_drain_begins_is_served() {
    let origin = Origin::echo();
    let mut gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    let mut clients: Vec<_> = (0..50).map(|_| gateway.connect()).collect();
    for client in &mut clients[..25] {
        client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    gateway.shutdown.begin();
    for client in &mut clients[25..] {
        client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().status, 200, "client {number}");
    }
    gateway.stop();
}

#[test]
fn the_drain_is_bounded() {
    let origin = Origin::with(|_, peer| {
        while peer.read_more() {}
        false
    });
    let mut gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .with(|builder| builder.options.drain_timeout = Duration::from_millis(300))
        .start();
    let mut client = gateway.connect();
    client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it has begun", || origin.count() == 1);
    gateway.stop();
    assert!(client.rest().is_empty());
}
