//! Upgraded connections: `WebSocket`s by a real library at both ends, and bytes of any protocol.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc,
    time::Duration,
};

use tungstenite::{
    Error, Message, WebSocket,
    client::IntoClientRequest,
    handshake::derive_accept_key,
    protocol::{CloseFrame, Role, frame::coding::CloseCode},
};

use crate::support::{Client, Gateway, Origin, PATIENCE, Peer, Seen, eventually, one_route};

type Socket = WebSocket<TcpStream>;

/// An origin that accepts `WebSocket`s.
fn web_sockets(serve: impl Fn(Socket) + Send + Sync + 'static) -> Origin {
    Origin::with(move |seen, peer| {
        let Some(key) = seen.header("sec-websocket-key") else {
            peer.answer(200, "", "plain");
            return true;
        };
        let accept = derive_accept_key(key.as_bytes());
        let protocol = seen
            .header("sec-websocket-protocol")
            .map_or_else(String::new, |name| {
                format!("sec-websocket-protocol: {name}\r\n")
            });
        peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n{protocol}\r\n"
        ));
        let part = std::mem::take(&mut peer.buffered);
        let stream = peer.stream.try_clone().expect("a copy");
        serve(WebSocket::from_partially_read(
            stream,
            part,
            Role::Server,
            None,
        ));
        false
    })
}

/// Repeats every message until the other side closes.
fn echo(mut socket: Socket) {
    loop {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                socket.send(message).expect("it is sent");
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn open(gateway: &Gateway, target: &str) -> Socket {
    let stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let url = format!("ws://gateway.test{target}");
    let (socket, response) = tungstenite::client(url, stream).expect("a WebSocket");
    assert_eq!(response.status(), 101);
    socket
}

fn gateway(origin: &Origin, route: &str) -> Gateway {
    Gateway::builder()
        .config(&one_route(&[&origin.url()], "", route))
        .start()
}

#[test]
fn messages_of_all_kinds_come_back() {
    let origin = web_sockets(echo);
    let gateway = gateway(&origin, "");
    let mut socket = open(&gateway, "/u/socket?vsn=1");
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255, 10, 13]),
        Message::binary(vec![7; 70_000]),
    ] {
        socket.send(message.clone()).expect("it is sent");
        assert_eq!(socket.read().expect("an echo"), message);
    }
    socket
        .send(Message::Ping("are you there".into()))
        .expect("it is sent");
    assert_eq!(
        socket.read().expect("a pong"),
        Message::Pong("are you there".into())
    );
    let seen = origin.only();
    assert_eq!(seen.target, "/socket?vsn=1");
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(
        seen.header("connection")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("upgrade")
    );
}

#[test]
fn protocol_and_key_are_negotiated_by_the_two_ends() {
    let origin = web_sockets(echo);
    let gateway = gateway(&origin, "");
    let mut request = "ws://gateway.test/u"
        .into_client_request()
        .expect("a request");
    request.headers_mut().insert(
        "sec-websocket-protocol",
        "phoenix".parse().expect("a value"),
    );
    let stream = TcpStream::connect(gateway.address).expect("a connection");
    let (_socket, response) = tungstenite::client(request, stream).expect("a WebSocket");
    assert_eq!(response.headers()["sec-websocket-protocol"], "phoenix");
    assert!(response.headers().contains_key("x-request-id"));
}

#[test]
fn large_messages_pass_whole_in_both_directions() {
    let origin = web_sockets(echo);
    let gateway = gateway(&origin, "");
    let mut socket = open(&gateway, "/u");
    let large: Vec<u8> = (0..12_000_000_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..2 {
        socket
            .send(Message::binary(large.clone()))
            .expect("it is sent");
        assert!(socket.read().expect("an echo").into_data() == large);
    }
}

#[test]
fn many_tunnels_are_open_at_once() {
    let origin = web_sockets(echo);
    let gateway = gateway(&origin, "");
    let mut sockets: Vec<Socket> = (0..300).map(|_| open(&gateway, "/u")).collect();
    assert_eq!(gateway.load().in_flight, 300);
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket
            .send(Message::text(format!("I am {number}")))
            .expect("it is sent");
    }
    for (number, socket) in sockets.iter_mut().enumerate().rev() {
        assert_eq!(
            socket.read().expect("an echo"),
            Message::text(format!("I am {number}"))
        );
    }
    drop(sockets);
    eventually("all are closed", || gateway.load().in_flight == 0);
}

#[test]
fn either_side_can_close() {
    let (closed, told) = mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let origin = web_sockets(move |mut socket| {
        if let Ok(Message::Text(text)) = socket.read()
            && text == "close"
        {
            let frame = CloseFrame {
                code: CloseCode::Library(4001),
                reason: "asked to".into(),
            };
            socket.close(Some(frame)).expect("it is sent");
        }
        let last = loop {
            if let Err(error) = socket.read() {
                break error;
            }
        };
        closed
            .lock()
            .expect("no panic")
            .send(last)
            .expect("somebody listens");
    });
    let gateway = gateway(&origin, "");

    let mut socket = open(&gateway, "/u");
    socket.send(Message::text("close")).expect("it is sent");
    let Message::Close(Some(frame)) = socket.read().expect("a frame") else {
        panic!("no close")
    };
    assert_eq!(
        (frame.code, frame.reason.as_str()),
        (CloseCode::Library(4001), "asked to")
    );
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    let at_origin = told.recv_timeout(PATIENCE).expect("it was told");
    assert!(matches!(at_origin, Error::ConnectionClosed), "{at_origin}");

    drop(socket);

    let mut socket = open(&gateway, "/u");
    socket.close(None).expect("it is sent");
    while socket.read().is_ok() {}
    let at_origin = told.recv_timeout(PATIENCE).expect("it was told");
    assert!(matches!(at_origin, Error::ConnectionClosed), "{at_origin}");
    drop(socket);
    eventually("both tunnels are gone", || gateway.load().in_flight == 0);
}

#[test]
fn a_silent_tunnel_is_closed_and_one_that_moves_is_not() {
    let origin = web_sockets(echo);
    let gateway = gateway(&origin, "idle_timeout = '1s'");
    let mut silent = open(&gateway, "/u");
    let mut lively = open(&gateway, "/u");
    for _ in 0..25 {
        lively.send(Message::text("tick")).expect("it is sent");
        assert_eq!(lively.read().expect("an echo"), Message::text("tick"));
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("the silent one is closed", || gateway.load().in_flight < 2);
    assert!(silent.read().is_err());
    eventually("the other one follows", || gateway.load().in_flight == 0);
}

#[test]
fn an_upstream_that_refuses_is_passed_on_and_both_connections_go_on() {
    let origin = Origin::with(|seen, peer| {
        match seen.target.as_str() {
            "/forbidden" => peer.answer(403, "x-why: policy\r\n", "no"),
            "/old" => peer.answer(
                426,
                "upgrade: websocket\r\nconnection: upgrade\r\n",
                "newer",
            ),
            _ => peer.answer(200, "", "plain"),
        }
        true
    });
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .with(|builder| builder.options.workers = 1)
        .start();
    let mut client = gateway.connect();
    for (path, status, body) in [
        ("forbidden", 403, "no"),
        ("old", 426, "newer"),
        ("x", 200, "plain"),
    ] {
        client.send(format!(
            "GET /u/{path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        ));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text()), (status, body));
        let answer = client.send("GET /u/y HTTP/1.1\r\nhost: a\r\n\r\n").answer();
        assert_eq!((answer.status, answer.text()), (200, "plain"));
    }
    assert_eq!(gateway.load().in_flight, 0);
}

/// An origin that switches to a protocol of bytes and then serves it.
fn bytes_origin(
    greeting: &'static str,
    serve: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> Origin {
    Origin::with(move |seen: &Seen, peer| {
        assert_eq!(seen.header("upgrade"), Some("foo/1"));
        peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo/1\r\n\r\n{greeting}"
        ));
        serve(peer);
        false
    })
}

const UPGRADE: &str = "GET /u HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo/1\r\n\r\n";

/// A client that has got its 101.
fn upgraded(gateway: &Gateway) -> Client {
    let mut client = gateway.connect();
    let answer = client.send(UPGRADE).answer();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("foo/1"))
    );
    client
}

#[test]
fn any_protocol_passes_byte_by_byte() {
    let origin = bytes_origin("welcome", |peer| {
        while peer.read_more() {
            let bytes = std::mem::take(&mut peer.buffered);
            peer.send(bytes);
        }
    });
    let gateway = gateway(&origin, "");
    let mut client = upgraded(&gateway);
    assert_eq!(
        client.bytes(7),
        b"welcome",
        "what comes with the 101 is not lost"
    );
    // What looks like HTTP is none any more.
    for text in [
        "\0\r\n\r\n",
        "GET /pg/ HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        assert_eq!(client.send(text).bytes(text.len()), text.as_bytes());
    }
}

#[test]
fn nothing_reaches_the_upstream_before_its_101() {
    let origin = Origin::with(|_, peer| {
        let _ = peer
            .stream
            .set_read_timeout(Some(Duration::from_millis(200)));
        let early = peer.stream.read(&mut [0; 16]).map_err(|error| error.kind());
        let is_silent = peer.buffered.is_empty() && early == Err(ErrorKind::WouldBlock);
        let _ = peer.stream.set_read_timeout(Some(PATIENCE));
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo/1\r\n\r\n",
        );
        let after = peer.bytes(5);
        peer.send(format!("{is_silent} {}", String::from_utf8_lossy(&after)));
        false
    });
    let gateway = gateway(&origin, "");
    let mut client = gateway.connect();
    client.send(format!("{UPGRADE}early"));
    assert_eq!(client.answer().status, 101);
    assert_eq!(
        String::from_utf8(client.rest()).expect("text"),
        "true early"
    );
}

#[test]
fn each_direction_ends_by_itself() {
    let origin = bytes_origin("", |peer| {
        while peer.read_more() {}
        let count = peer.buffered.len();
        peer.send(format!("{count} bytes, goodbye"));
    });
    let gateway = gateway(&origin, "");
    let mut client = upgraded(&gateway);
    client.send(vec![7; 200_000]).finish();
    assert_eq!(client.rest(), b"200000 bytes, goodbye");

    let origin = bytes_origin("", |peer| {
        peer.send("I am done");
        let _ = peer.stream.shutdown(Shutdown::Write);
        while peer.read_more() {}
        assert_eq!(peer.buffered, b"I am not");
    });
    let gateway = self::gateway(&origin, "");
    let mut client = upgraded(&gateway);
    assert_eq!(client.rest(), b"I am done");
    client.try_send(b"I am not").expect("it is taken");
    client.finish();
    eventually("the tunnel is gone", || gateway.load().in_flight == 0);
}

#[test]
fn an_end_that_dies_takes_the_other_one_along() {
    let origin = bytes_origin("alive", |peer| while peer.read_more() {});
    let gateway = gateway(&origin, "");
    let mut client = upgraded(&gateway);
    assert_eq!(client.bytes(5), b"alive");
    origin.cut();
    assert!(client.rest().is_empty());
    drop(client);
    eventually("the tunnel is gone", || gateway.load().in_flight == 0);

    let mut client = upgraded(&gateway);
    assert_eq!(client.bytes(5), b"alive");
    drop(client);
    eventually("the tunnel is gone", || gateway.load().in_flight == 0);
}

#[test]
fn a_tunnel_counts_as_a_connection_of_its_upstream() {
    let origin = bytes_origin("", |peer| while peer.read_more() {});
    let caps = "max_connections = 1\nconnect_timeout = '100ms'";
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], caps, ""))
        .start();
    let client = upgraded(&gateway);
    assert_eq!(gateway.connect().send(UPGRADE).answer().status, 503);
    drop(client);
    eventually("the place is free", || {
        gateway.connect().send(UPGRADE).answer().status == 101
    });
}

#[test]
fn a_slow_reader_holds_the_sender_back() {
    let (sent, told) = mpsc::channel();
    let sent = std::sync::Mutex::new(sent);
    let origin = bytes_origin("", move |peer| {
        let _ = peer
            .stream
            .set_write_timeout(Some(Duration::from_millis(500)));
        let (chunk, mut taken) = (vec![7; 64 * 1024], 0);
        while let Ok(count @ 1..) = peer.stream.write(&chunk) {
            taken += count;
        }
        sent.lock()
            .expect("no panic")
            .send(taken)
            .expect("somebody listens");
    });
    let gateway = gateway(&origin, "");
    let mut client = upgraded(&gateway);
    let taken = told.recv_timeout(PATIENCE).expect("it blocks");
    assert!(taken < 64 * 1024 * 1024, "{taken} bytes went somewhere");
    assert_eq!(client.rest().len(), taken, "and all of them arrive");
}

#[test]
fn the_drain_ends_tunnels_in_an_orderly_way() {
    let (ended, told) = mpsc::channel();
    let ended = std::sync::Mutex::new(ended);
    let origin = bytes_origin("", move |peer| {
        let end = loop {
            match peer.stream.read(&mut [0; 1024]) {
                Ok(0) => break Ok(()),
                Ok(_) => peer.send("still here"),
                Err(error) => break Err(error.kind()),
            }
        };
        ended
            .lock()
            .expect("no panic")
            .send(end)
            .expect("somebody listens");
    });
    let mut gateway = gateway(&origin, "");
    let mut client = upgraded(&gateway);
    assert_eq!(client.send("ping").bytes(10), b"still here");
    // Bytes that are on their way when the end comes must not turn it into a reset.
    let mut chatter = client.stream().try_clone().expect("a copy");
    let chattering = std::thread::spawn(move || while chatter.write_all(b"and so on").is_ok() {});
    gateway.shutdown.begin();
    let end = loop {
        match client.stream().read(&mut [0; 1024]) {
            Ok(1..) => {}
            Ok(0) => break Ok(0),
            Err(error) => break Err(error.kind()),
        }
    };
    assert_eq!(end, Ok(0), "the stream ends, it is not reset");
    client
        .stream()
        .shutdown(Shutdown::Both)
        .expect("a shutdown");
    chattering.join().expect("no panic");
    assert_eq!(told.recv_timeout(PATIENCE).expect("it was told"), Ok(()));
    gateway.stop();
}

#[test]
fn the_key_of_a_web_socket_is_in_no_log() {
    let origin = web_sockets(echo);
    let gateway = Gateway::builder().slot("realtime", origin.url()).start();
    let key = gateway.keys.anon.clone();
    let mut socket = open(
        &gateway,
        &format!("/realtime/v1/websocket?apikey={key}&vsn=1.0.0"),
    );
    socket.send(Message::text("hello")).expect("it is sent");
    assert_eq!(socket.read().expect("an echo"), Message::text("hello"));
    drop(socket);
    eventually("it is logged", || {
        gateway.log.text().contains("\"status\":101")
    });
    let log = gateway.log.text();
    assert!(
        log.contains("/realtime/v1/websocket") && !log.contains("apikey"),
        "{log}"
    );
    assert!(
        !log.contains(&key) && !log.contains(key.rsplit('.').next().expect("a part")),
        "{log}"
    );
    // Without a key there is no tunnel.
    let refused = gateway
        .connect()
        .send(UPGRADE.replace("/u", "/realtime/v1/websocket"))
        .answer();
    assert_eq!(refused.status, 401);
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_protocol_that_nobody_asked_for_is_not_changed_to() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
    ] {
        let origin = Origin::with(move |_, peer| {
            peer.send(answer);
            true
        });
        let gateway = Gateway::builder()
            .config(&one_route(&[&origin.url()], "", ""))
            .start();
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(gateway.get("/u", &upgrade).status, 502, "{answer}");
    }
    // HTTP/1.0 has no upgrade to ask for.
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .start();
    let bytes = gateway
        .raw("GET /u HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert!(bytes.starts_with(b"HTTP/1.0 200"));
    assert_eq!(origin.only().header("upgrade"), None);
}
