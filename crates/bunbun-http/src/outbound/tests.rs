//! Where requests may go, and how much may come back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bunbun_core::{
    Classify as _, Code,
    egress::{Egress, EgressError, EgressRule, Resolve, Resolved},
    task,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{Outbound, OutboundError, OutboundLimits};

/// Answers every request with these bytes and closes; counts connections.
async fn server(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    task::spawn("test server", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
            if answer.is_empty() {
                // Never answers.
                task::spawn("test silence", async move {
                    let _ = stream.read(&mut head).await;
                });
            }
        }
    });
    (address, count)
}

fn client(egress: Egress) -> Outbound {
    Outbound::new(
        egress,
        OutboundLimits {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            max_answer_bytes: 100,
        },
    )
}

async fn get(client: &Outbound, url: &str) -> Result<(u16, Bytes), OutboundError> {
    let request = Request::get(url).body(Full::default()).expect("a request");
    let answer = client.send(request).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
}

#[tokio::test]
async fn an_allowed_host_is_asked_and_others_are_not() {
    let (address, count) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let allowed = client(Egress::new(&EgressRule::loopback()));
    let (status, body) = get(&allowed, &format!("http://{address}/a")).await.unwrap();
    assert_eq!((status, &*body), (200, &b"ok"[..]));
    let before = count.load(Ordering::SeqCst);
    let closed = client(Egress::new(&[]));
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "127.1",
    ] {
        let error = get(&closed, &format!("http://{host}:{port}/")).await;
        let error = error.expect_err(host);
        assert_eq!(error.code(), Code::HostNotAllowed, "{host}: {error:?}");
        let message = error.public_message().expect("a message");
        assert!(!message.contains("127"), "{message}");
    }
    assert_eq!(count.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (address, count) =
        server(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    let allowed = client(Egress::new(&EgressRule::loopback()));
    let (status, _) = get(&allowed, &format!("http://{address}/")).await.unwrap();
    assert_eq!((status, count.load(Ordering::SeqCst)), (302, 1));
}

/// A name that is public when somebody looks and this machine when one connects.
struct Rebinding(AtomicUsize);

impl Resolve for Rebinding {
    fn resolve(&self, _: &str, port: u16) -> Resolved {
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let ip = if first { [1, 1, 1, 1] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((ip, port))]) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_refused_at_the_next_connection() {
    let (address, count) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let egress = Egress::with_resolver(&[], Arc::new(Rebinding(AtomicUsize::new(0))));
    assert!(egress.resolve("a.example", 80).await.is_ok());
    let url = format!("http://a.example:{}/", address.port());
    let error = get(&client(egress), &url).await.expect_err("refused");
    assert!(matches!(
        error.refused(),
        Some(EgressError::NotAllowed { .. })
    ));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let egress = || Egress::new(&EgressRule::loopback());
    let (large, _) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x").await;
    let error = get(&client(egress()), &format!("http://{large}/")).await;
    assert!(
        matches!(error, Err(OutboundError::TooLarge(100))),
        "{error:?}"
    );
    let (silent, _) = server(b"").await;
    let error = get(&client(egress()), &format!("http://{silent}/")).await;
    assert_eq!(error.expect_err("silence").code(), Code::Timeout);
    let (other, _) = server(b"220 mail.example ESMTP\r\n").await;
    let error = get(&client(egress()), &format!("http://{other}/")).await;
    let error = error.expect_err("no HTTP");
    let message = error.public_message().expect("a message");
    assert!(!message.contains("mail"), "{message}");
}

#[tokio::test]
async fn other_urls_are_refused() {
    let client = client(Egress::new(&EgressRule::loopback()));
    for url in ["ftp://a.example/", "/path", "http://user:pw@a.example/"] {
        let error = get(&client, url).await.expect_err(url);
        assert_eq!(error.code(), Code::ValidationFailed, "{url}");
        assert!(!error.public_message().unwrap_or_default().contains("pw"));
    }
}
