//! Services in this process that take a connection over.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use bunbun_core::task;
use bunbun_http::{
    Body,
    body::{self, Embedded},
    context::Upgrading,
};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode, header::UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Gateway, PATIENCE};

/// Answers every request with 101. On a connection that it may take over it repeats each byte, and
/// says goodbye when the server ends.
struct Repeats;

impl Embedded for Repeats {
    fn call(&self, mut request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let connection = request.extensions_mut().remove::<OnUpgrade>();
        let upgrading = request.extensions_mut().remove::<Upgrading>();
        if let (Some(connection), Some(upgrading)) = (connection, upgrading) {
            task::spawn("repeats", async move {
                let Upgrading { shutdown, open } = upgrading;
                let mut connection = TokioIo::new(connection.await.expect("an upgrade"));
                let mut byte = [0];
                loop {
                    tokio::select! {
                        read = connection.read_exact(&mut byte) => {
                            if read.is_err() || connection.write_all(&byte).await.is_err() {
                                break;
                            }
                        }
                        () = shutdown.begun() => {
                            connection.write_all(b"goodbye").await.expect("written");
                            connection.shutdown().await.expect("closed");
                            break;
                        }
                    }
                }
                drop(open);
            });
        }
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert(UPGRADE, "repeat".parse().expect("a value"));
        Box::pin(std::future::ready(response))
    }
}

fn gateway() -> Gateway {
    Gateway::builder()
        .with(|builder| builder.embedded = Some(Arc::new(Repeats)))
        .start()
}

#[test]
fn a_service_takes_the_connection_over_and_ends_it_with_the_server() {
    let gateway = gateway();
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(
            b"GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: repeat\r\n\r\n",
        )
        .expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("UTF-8").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("\r\nupgrade: repeat\r\n"), "{head}");
    stream.write_all(b"\0hello\xff").expect("sent");
    let mut back = [0; 7];
    stream.read_exact(&mut back).expect("repeated");
    assert_eq!(&back, b"\0hello\xff");
    let ending = std::thread::spawn(move || {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    });
    drop(gateway);
    assert_eq!(ending.join().expect("no panic"), b"goodbye");
}

#[test]
fn a_101_that_nobody_asked_for_is_a_fault() {
    let gateway = gateway();
    for wish in ["", "connection: upgrade\r\nupgrade: websocket\r\n"] {
        let answer = gateway
            .connect()
            .send(format!("GET /api/x HTTP/1.1\r\nhost: a\r\n{wish}\r\n"))
            .answer();
        assert_eq!(answer.status, 500, "{wish}");
    }
}
