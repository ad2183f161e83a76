//! Bodies: streamed both ways, bounded in memory and time, otherwise untouched.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    time::Duration,
};

use crate::support::{
    Client, Gate, Gateway, Http2Client, Origin, PATIENCE, eventually, http2::get, one_route,
};

/// More than all buffers of the kernel and the gateway between two ends together.
const MUCH: usize = 64 * 1024 * 1024;
const NEVER_TAKEN: usize = 48 * 1024 * 1024;

/// A server that gets each connection after the request's head.
fn raw_origin(serve: impl Fn(&str, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                serve(&String::from_utf8_lossy(&head), stream);
            });
        }
    });
    address
}

fn gateway(address: SocketAddr, route: &str) -> Gateway {
    // One failure of the upstream would be noticed by every later request.
    let breaker = "breaker = { failures = 1, open_for = '1h' }";
    let url = format!("http://{address}");
    Gateway::builder()
        .config(&one_route(&[&url], breaker, route))
        .with(|builder| builder.body_timeout = Duration::from_millis(500))
        .start()
}

fn patient(address: SocketAddr) -> Gateway {
    Gateway::builder()
        .config(&one_route(&[&format!("http://{address}")], "", ""))
        .start()
}

/// Writes until nothing more is taken; how much was.
fn fill(stream: &mut TcpStream, most: usize) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a timeout");
    let (chunk, mut taken) = (vec![b'x'; 256 * 1024], 0);
    while taken < most {
        match stream.write(&chunk[..chunk.len().min(most - taken)]) {
            Ok(count @ 1..) => taken += count,
            _ => break,
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    taken
}

/// Reads so many bytes; fewer where the stream ends.
fn drain(stream: &mut TcpStream, most: usize) -> usize {
    let (mut space, mut count) = (vec![0; 256 * 1024], 0);
    while count < most {
        let room = space.len().min(most - count);
        match stream.read(&mut space[..room]) {
            Ok(more @ 1..) => count += more,
            _ => break,
        }
    }
    count
}

#[test]
fn an_upstream_that_reads_slowly_holds_the_client_back() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let address = raw_origin(move |_, mut stream| {
        at_gate.pass();
        let count = drain(&mut stream, MUCH);
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{count:08}"
        );
    });
    let gateway = patient(address);
    let mut client = gateway.connect();
    client.send(format!(
        "POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: {MUCH}\r\n\r\n"
    ));
    let mut stream = client.stream().try_clone().expect("a copy");
    let taken = fill(&mut stream, MUCH);
    assert!(taken < NEVER_TAKEN, "{taken} bytes went somewhere");
    gate.open();
    stream
        .write_all(&vec![b'x'; MUCH - taken])
        .expect("the rest is taken");
    assert_eq!(client.answer().text(), MUCH.to_string());
}

#[test]
fn a_client_that_reads_slowly_holds_the_upstream_back() {
    let (sent, told) = mpsc::channel();
    let sent = Mutex::new(sent);
    let address = raw_origin(move |_, mut stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
        let taken = fill(&mut stream, MUCH);
        sent.lock()
            .expect("no panic")
            .send(taken)
            .expect("somebody listens");
        let _ = stream.write_all(&vec![b'x'; MUCH - taken]);
    });
    let gateway = patient(address);
    let mut client = gateway.connect();
    client.send("GET /u HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let taken = told.recv_timeout(PATIENCE).expect("it blocks");
    assert!(taken < NEVER_TAKEN, "{taken} bytes went somewhere");
    assert_eq!(client.answer().body.len(), MUCH);
}

#[test]
fn large_bodies_pass_whole_over_http2() {
    let origin = Origin::with(|_, peer| {
        peer.answer(200, "", vec![b'x'; 20_000_000]);
        true
    });
    let gateway = patient(origin.address());
    let client = Http2Client::connect(gateway.address);
    for answer in client.send_all((0..4).map(|_| get("/u")).collect()) {
        assert_eq!(
            answer.expect("one").body.expect("a whole body").len(),
            20_000_000
        );
    }
}

#[test]
fn what_is_there_of_an_answer_is_passed_on_at_once() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::with(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
        at_gate.pass();
        peer.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n");
        true
    });
    let gateway = patient(origin.address());
    let mut client = gateway.connect();
    client.send("GET /u HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: 1\n\n\r\n") {
        seen.extend(client.bytes(1));
    }
    gate.open();
    assert!(client.rest().ends_with(b"data: 2\n\n\r\n0\r\n\r\n"));
}

#[test]
fn an_answer_may_begin_before_the_request_has_ended() {
    let address = raw_origin(|_, mut stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
        for _ in 0..6 {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            let _ = stream.write_all(&byte);
        }
    });
    let gateway = patient(address);
    let mut client = gateway.connect();
    client.send("POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n1");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n1") {
        seen.extend(client.bytes(1));
    }
    for digit in 2..=6 {
        assert_eq!(
            client.send(digit.to_string()).bytes(1),
            digit.to_string().as_bytes()
        );
    }
}

/// A connection with the beginning of a body: the upstream has it when this returns.
fn begin(gateway: &Gateway, gate: &Gate, framing: &str, beginning: &str) -> Client {
    let mut client = gateway.connect();
    client.send(format!(
        "POST /u HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{beginning}"
    ));
    eventually("the upstream has the request", || gate.waiting() == 1);
    client
}

/// An upstream that waits for its request's end, and tells what came after the head and whether
/// the stream ended in the middle.
fn witness() -> (SocketAddr, Gate, mpsc::Receiver<String>) {
    let (gate, (sent, told)) = (Gate::default(), mpsc::channel());
    let (at_gate, sent) = (gate.clone(), Mutex::new(sent));
    let address = raw_origin(move |head, mut stream| {
        if head.starts_with("GET") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            return;
        }
        at_gate.pass();
        let mut body = Vec::new();
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.read_to_end(&mut body);
        let text = String::from_utf8_lossy(&body).into_owned();
        sent.lock()
            .expect("no panic")
            .send(text)
            .expect("somebody listens");
    });
    (address, gate, told)
}

const FRAMINGS: [(&str, &str, &str); 2] = [
    ("content-length: 10", "0123", "0123"),
    (
        "transfer-encoding: chunked",
        "4\r\n0123\r\n",
        "4\r\n0123\r\n",
    ),
];

#[test]
fn a_client_that_leaves_in_mid_upload_aborts_its_request_and_harms_nobody() {
    for (framing, beginning, seen) in FRAMINGS {
        let (address, gate, told) = witness();
        let gateway = gateway(address, "");
        let client = begin(&gateway, &gate, framing, beginning);
        client
            .stream()
            .shutdown(Shutdown::Both)
            .expect("a shutdown");
        gate.open();
        assert_eq!(told.recv_timeout(PATIENCE).expect("its stream ends"), seen);
        assert_eq!(
            gateway.get("/u", &[]).status,
            200,
            "the upstream is not to blame"
        );
    }
}

#[test]
fn a_body_that_stops_coming_is_408_and_harms_nobody() {
    for (framing, beginning, seen) in FRAMINGS {
        let (address, gate, told) = witness();
        let gateway = gateway(address, "first_byte_timeout = '200ms'");
        let mut client = begin(&gateway, &gate, framing, beginning);
        gate.open();
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (408, "Request timeout\n"));
        assert!(client.rest().is_empty(), "the connection is closed");
        assert_eq!(told.recv_timeout(PATIENCE).expect("its stream ends"), seen);
        assert_eq!(
            gateway.get("/u", &[]).status,
            200,
            "the upstream is not to blame"
        );
    }
}

#[test]
fn a_small_body_that_is_held_for_a_retry_is_as_bounded() {
    let origin = Origin::echo();
    let gateway = gateway(origin.address(), "retries = 1");
    let mut client = gateway.connect();
    client.send("PUT /u HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123");
    assert_eq!(client.answer().status, 408);
    let mut client = gateway.connect();
    client
        .send("PUT /u HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123")
        .finish();
    client.rest();
    assert_eq!(gateway.get("/u", &[]).status, 200);
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_body_over_its_limit_is_413_and_harms_nobody() {
    let (address, gate, told) = witness();
    let gateway = gateway(address, "max_body_bytes = 10");
    let head = "POST /u HTTP/1.1\r\nhost: a\r\n";
    let answer = gateway
        .connect()
        .send(format!("{head}content-length: 11\r\n\r\n01234567890"))
        .answer();
    assert_eq!((answer.status, answer.text()), (413, "Payload too large\n"));
    let mut client = begin(
        &gateway,
        &gate,
        "transfer-encoding: chunked",
        "4\r\n0123\r\n",
    );
    gate.open();
    client.send("8\r\n01234567\r\n");
    assert_eq!(client.answer().status, 413);
    let seen = told.recv_timeout(PATIENCE).expect("its stream ends");
    assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
    assert_eq!(
        gateway.get("/u", &[]).status,
        200,
        "the upstream is not to blame"
    );
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let (sent, told) = mpsc::channel();
    let sent = Mutex::new(sent);
    let address = raw_origin(move |_, mut stream| {
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n");
        let written = stream
            .write_all(&vec![b'x'; MUCH])
            .map_err(|error| error.kind());
        sent.lock()
            .expect("no panic")
            .send(written)
            .expect("somebody listens");
    });
    let gateway = gateway(address, "");
    let mut client = gateway.connect();
    client.send("GET /u HTTP/1.1\r\nhost: a\r\n\r\n");
    let written = told
        .recv_timeout(PATIENCE)
        .expect("the upstream's connection is closed");
    assert!(
        matches!(
            written,
            Err(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
        ),
        "{written:?}"
    );
}

#[test]
fn a_clients_trailers_are_dropped() {
    let (address, gate, told) = witness();
    let gateway = patient(address);
    gate.open();
    let mut client = gateway.connect();
    client.send(
        "POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-consumer-username\r\n\r\n\
         3\r\nabc\r\n0\r\nx-consumer-username: service_role\r\n\r\n",
    );
    // The upstream reads to the end of the stream, which the client's leaving brings.
    eventually("the request is under way", || gateway.load().in_flight == 1);
    std::thread::sleep(Duration::from_millis(50));
    drop(client);
    assert_eq!(
        told.recv_timeout(PATIENCE).expect("its stream ends"),
        "3\r\nabc\r\n0\r\n\r\n"
    );

    let origin = crate::support::HyperOrigin::start(None, 10, |request| async move {
        use http_body_util::BodyExt;
        let body = request.into_body().collect().await.expect("a whole body");
        let text = format!("{:?}", body.trailers());
        http::Response::new(bunbun_http::body::full(text))
    });
    let config = one_route(&[&format!("h2c://{}", origin.address)], "", "");
    let gateway = Gateway::builder().config(&config).start();
    let mut client = gateway.connect();
    client.send(
        "POST /u HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx-consumer-username: service_role\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "None");
}

#[test]
fn encodings_ranges_and_validators_are_the_two_ends_business() {
    let origin = Origin::with(|seen, peer| {
        match seen.target.as_str() {
            "/gzip" => peer.answer(
                200,
                "content-encoding: gzip\r\nvary: accept-encoding\r\n",
                [31, 139, 8, 0],
            ),
            "/range" => peer.answer(
                206,
                "content-range: bytes 2-3/10\r\netag: \"a\"\r\naccept-ranges: bytes\r\n",
                "23",
            ),
            "/none" => peer.send("HTTP/1.1 304 Not Modified\r\netag: W/\"a\"\r\n\r\n"),
            _ => peer.answer(412, "etag: \"b\"\r\n", ""),
        }
        true
    });
    let gateway = patient(origin.address());
    let answer = gateway.get("/u/gzip", &[("accept-encoding", "gzip, br")]);
    assert_eq!(answer.body, [31, 139, 8, 0]);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(origin.only().header("accept-encoding"), Some("gzip, br"));

    let answer = gateway.get("/u/range", &[("range", "bytes=2-3"), ("if-range", "\"a\"")]);
    assert_eq!((answer.status, answer.text()), (206, "23"));
    assert_eq!(answer.header("content-range"), Some("bytes 2-3/10"));
    let seen = origin.only();
    assert_eq!(
        (seen.header("range"), seen.header("if-range")),
        (Some("bytes=2-3"), Some("\"a\""))
    );

    let answer = gateway.get("/u/none", &[("if-none-match", "W/\"a\"")]);
    assert_eq!(
        (answer.status, answer.header("etag")),
        (304, Some("W/\"a\""))
    );
    assert_eq!(origin.only().header("if-none-match"), Some("W/\"a\""));

    let answer = gateway.request("PUT", "/u/put", &[("if-match", "\"a\"")], b"x");
    assert_eq!((answer.status, answer.header("etag")), (412, Some("\"b\"")));
    assert_eq!(origin.only().header("if-match"), Some("\"a\""));
}

#[test]
fn a_client_that_asks_first_is_told_to_continue_or_not_to() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .slot("rest", origin.url())
        .start();
    let mut client = gateway.connect();
    let head = "content-length: 4\r\nexpect: 100-continue\r\n\r\n";
    client.send(format!("POST /u HTTP/1.1\r\nhost: a\r\n{head}"));
    assert_eq!(client.answer().status, 100);
    let answer = client.send("body").answer();
    assert_eq!(
        (answer.status, answer.json()["body"].as_str()),
        (200, Some("body"))
    );
    // Who may not, is told so without the detour.
    let mut client = gateway.connect();
    client.send(format!("POST /rest/v1/todos HTTP/1.1\r\nhost: a\r\n{head}"));
    assert_eq!(client.answer().status, 401);
    assert_eq!(origin.count(), 1);
}

#[test]
fn an_early_refusal_arrives_though_the_upload_was_cut() {
    let address = raw_origin(|_, mut stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig",
        );
        // Closed with unread bytes: the kernel resets the connection.
    });
    let gateway = gateway(address, "");
    let body = vec![b'x'; 2 * 1024 * 1024];
    for _ in 0..40 {
        let mut client = TcpStream::connect(gateway.address).expect("a connection");
        let head = format!(
            "POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // The gateway may stop reading, too.
        let _ = client
            .write_all(head.as_bytes())
            .and_then(|()| client.write_all(&body));
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut answer = [0; 1024];
        let count = client.read(&mut answer).unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..count]);
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }
}
