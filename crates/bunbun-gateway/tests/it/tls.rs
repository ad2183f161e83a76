//! TLS towards clients.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use bunbun_gateway::accept::tls::Tls;
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use tempfile::TempDir;

use crate::support::{Authority, Gateway, Http2Client, Origin, PATIENCE, client_config, one_route};

type Stream = StreamOwned<ClientConnection, TcpStream>;

struct Secure {
    gateway: Gateway,
    tls: Arc<Tls>,
    authority: Authority,
    folder: TempDir,
    origin: Origin,
}

fn secure() -> Secure {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let files = authority.issue("gateway.test").write(folder.path());
    let tls = Arc::new(Tls::new(&files).expect("good files"));
    let origin = Origin::echo();
    let for_gateway = Arc::clone(&tls);
    let gateway = Gateway::builder()
        .config(&one_route(&[&origin.url()], "", ""))
        .with(|builder| {
            builder.tls = Some(for_gateway);
            builder.options.header_timeout = Duration::from_millis(500);
        })
        .start();
    Secure {
        gateway,
        tls,
        authority,
        folder,
        origin,
    }
}

impl Secure {
    fn connect(&self, protocols: &[&str]) -> Stream {
        let config = Arc::new(client_config(&self.authority, protocols));
        let name = ServerName::try_from("gateway.test").expect("a name");
        let stream = TcpStream::connect(self.gateway.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut stream = StreamOwned::new(
            ClientConnection::new(config, name).expect("a client"),
            stream,
        );
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .expect("a handshake");
        }
        stream
    }
}

/// One request on a kept connection; its answer has a length.
fn ask(stream: &mut Stream) -> String {
    stream
        .write_all(b"GET /u HTTP/1.1\r\nhost: gateway.test\r\n\r\n")
        .expect("it is sent");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|text| text.parse::<usize>().ok())
                .expect("a length");
            if body.len() == length {
                return text.into_owned();
            }
        }
        let mut space = [0; 1024];
        let count = stream.read(&mut space).expect("more of the answer");
        assert!(count > 0, "ended after {text}");
        answer.extend_from_slice(&space[..count]);
    }
}

#[test]
fn the_version_of_http_is_negotiated() {
    let secure = secure();
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = secure.connect(protocols);
        assert_eq!(
            stream.conn.alpn_protocol(),
            protocols.first().map(|p| p.as_bytes())
        );
        assert!(ask(&mut stream).starts_with("HTTP/1.1 200"));
        assert!(
            ask(&mut stream).starts_with("HTTP/1.1 200"),
            "the connection is kept"
        );
    }
    let config = client_config(&secure.authority, &["h2", "http/1.1"]);
    let client = Http2Client::connect_tls(secure.gateway.address, "gateway.test", config);
    assert_eq!(client.get("/u").status, 200);
    for seen in secure.origin.take() {
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        let port = secure.gateway.address.port().to_string();
        assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
    }
}

#[test]
fn a_new_certificate_is_used_without_dropping_a_connection() {
    let secure = secure();
    let mut before = secure.connect(&["http/1.1"]);
    let certificate_of = |stream: &Stream| {
        stream.conn.peer_certificates().expect("a certificate")[0]
            .clone()
            .into_owned()
    };
    assert!(ask(&mut before).starts_with("HTTP/1.1 200"));
    let new = secure.authority.issue("gateway.test");
    new.write(secure.folder.path());
    assert_ne!(
        certificate_of(&secure.connect(&[])),
        new.der,
        "not before it is told"
    );
    secure.tls.reload().expect("good files");
    assert_eq!(certificate_of(&secure.connect(&[])), new.der);
    assert!(
        ask(&mut before).starts_with("HTTP/1.1 200"),
        "the old connection goes on"
    );
}

#[test]
fn files_that_cannot_be_used_leave_the_certificate_of_before() {
    let secure = secure();
    let cert = secure.folder.path().join("cert.pem");
    let key = secure.folder.path().join("key.pem");
    let good = std::fs::read(&cert).expect("readable");
    for broken in [
        Some(
            secure
                .authority
                .issue("gateway.test")
                .chain_pem
                .into_bytes(),
        ), // another key's
        Some(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n".to_vec()),
        Some(Vec::new()),
        None,
    ] {
        match broken {
            Some(bytes) => std::fs::write(&cert, bytes).expect("written"),
            None => std::fs::remove_file(&cert).expect("removed"),
        }
        let error = secure.tls.reload().expect_err("nothing usable").to_string();
        assert!(error.contains("cert.pem"), "{error}");
        assert!(ask(&mut secure.connect(&[])).starts_with("HTTP/1.1 200"));
    }
    std::fs::write(&cert, good).expect("written");
    secure.tls.reload().expect("good files again");
    std::fs::write(&key, "").expect("written");
    assert!(secure.tls.reload().is_err());
    assert!(ask(&mut secure.connect(&[])).starts_with("HTTP/1.1 200"));
}

#[test]
fn what_is_no_tls_is_closed() {
    let secure = secure();
    for bytes in [
        &b"GET /u HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = secure.gateway.connect();
        let rest = client.send(bytes).rest();
        assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    }
    assert_eq!(secure.origin.count(), 0);
    assert!(ask(&mut secure.connect(&[])).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let secure = secure();
    // The beginning of a handshake record of 512 bytes.
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = secure.gateway.connect();
        client.send(bytes);
        client.rest();
    }
    assert!(ask(&mut secure.connect(&[])).starts_with("HTTP/1.1 200"));
}

#[test]
fn who_has_just_shaken_hands_when_the_drain_begins_is_served() {
    let secure = secure();
    let mut stream = secure.connect(&["http/1.1"]);
    secure.gateway.shutdown.begin();
    let answer = ask(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
