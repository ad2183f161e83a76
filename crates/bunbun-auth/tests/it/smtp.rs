//! Mails over SMTP (RFC 5321), with a server on a socket.

use std::sync::Arc;

use bunbun_auth::mail::{Mail, Mailer as _, smtp::Smtp};
use bunbun_core::config::auth::SmtpConfig;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What a client said, line by line.
type Said = Arc<Mutex<Vec<String>>>;

/// A server whose answer to `RCPT` is the given one.
async fn server(recipient: &'static str) -> (u16, Said) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let said = Said::default();
    let shared = Arc::clone(&said);
    bunbun_core::task::spawn("a mail server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = converse(stream, &shared, recipient).await;
        }
    });
    (port, said)
}

async fn converse(stream: TcpStream, said: &Said, recipient: &str) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 test\r\n").await?;
    let mut in_data = false;
    while let Some(line) = lines.next_line().await? {
        said.lock().push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        let answer = match verb {
            _ if in_data && line == "." => {
                in_data = false;
                "250 taken"
            }
            _ if in_data => continue,
            "EHLO" => "250-test\r\n250 8BITMIME",
            "RCPT" => recipient,
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

fn config(port: u16, tls: bool) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        tls,
        credentials: None,
        admin_email: "noreply@app.example".to_owned(),
        sender_name: Some("Our App".to_owned()),
    }
}

fn mail(subject: &str) -> Mail {
    Mail {
        to: "ada@example.com".to_owned(),
        subject: subject.to_owned(),
        html: "<p>Grüße: <strong>123456</strong></p>".to_owned(),
        kind: "signup",
        link: String::new(),
        token: "123456".to_owned(),
        token_hash: String::new(),
    }
}

#[tokio::test]
async fn a_mail_is_handed_over() {
    let (port, said) = server("250 fine").await;
    let smtp = Smtp::new(&config(port, false)).unwrap();
    smtp.deliver(&mail("Bestätigung")).await.unwrap();
    let said = said.lock().join("\n");
    for expected in [
        "MAIL FROM:<noreply@app.example>",
        "RCPT TO:<ada@example.com>",
        "\"Our App\" <noreply@app.example>",
        "To: ada@example.com",
        "Subject: =?utf-8?",
        "text/html; charset=utf-8",
    ] {
        assert!(said.contains(expected), "no {expected} in\n{said}");
    }
}

#[tokio::test]
async fn a_subject_adds_no_header() {
    let (port, said) = server("250 fine").await;
    let smtp = Smtp::new(&config(port, false)).unwrap();
    let _ = smtp
        .deliver(&mail("Hello\r\nBcc: everyone@example.com"))
        .await;
    let said = said.lock().clone();
    assert!(
        !said.iter().any(|line| line.starts_with("Bcc")),
        "{said:#?}"
    );
}

#[tokio::test]
async fn what_may_be_tried_again_is_told_apart() {
    for (answer, may_retry) in [("451 later", true), ("550 nobody", false)] {
        let (port, _) = server(answer).await;
        let smtp = Smtp::new(&config(port, false)).unwrap();
        let error = smtp.deliver(&mail("Hello")).await.unwrap_err();
        assert_eq!(error.may_retry, may_retry, "{answer}");
    }
    // Nobody listens.
    let smtp = Smtp::new(&config(1, false)).unwrap();
    assert!(smtp.deliver(&mail("Hello")).await.unwrap_err().may_retry);
}

#[tokio::test]
async fn nothing_is_said_in_clear_where_tls_is_required() {
    let (port, said) = server("250 fine").await;
    let smtp = Smtp::new(&config(port, true)).unwrap();
    assert!(smtp.deliver(&mail("Hello")).await.is_err());
    let said = said.lock().join("\n");
    assert!(
        !said.contains("MAIL FROM") && !said.contains("123456"),
        "{said}"
    );
}
