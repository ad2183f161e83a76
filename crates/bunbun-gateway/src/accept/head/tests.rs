//! Heads that must pass and heads that must not.

use proptest::prelude::*;

use super::{Advance, Framing, HeadFault, HeadScanner, MAX_HEAD_BYTES, Next, check};

fn head(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

fn framing(lines: &str) -> Result<Framing, HeadFault> {
    check(head(lines).as_bytes())
}

#[test]
fn framing_is_read_from_the_head() {
    assert_eq!(framing(""), Ok(Framing::None));
    assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
    assert_eq!(framing("content-length:5 \r\n"), Ok(Framing::Length(5)));
    assert_eq!(
        framing("Transfer-Encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
    assert_eq!(framing("Upgrade: websocket\r\n"), Ok(Framing::Upgrade));
    assert_eq!(
        framing("Upgrade: h2c\r\nContent-Length: 3\r\n"),
        Ok(Framing::Length(3))
    );
}

#[test]
fn ambiguous_heads_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tfolded\r\n",
        ": empty\r\n",
        "no colon\r\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        "X: a\n",
        "X: a\nContent-Length: 5\r\n",
    ] {
        assert_eq!(framing(lines), Err(HeadFault::Malformed), "{lines:?}");
    }
}

#[test]
fn request_lines_are_checked() {
    for line in [
        "GET",
        "GET /",
        "GET  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\x01 HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(
            check(head.as_bytes()),
            Err(HeadFault::Malformed),
            "{line:?}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    assert_eq!(check(long.as_bytes()), Err(HeadFault::TargetTooLong));
    let chunked_1_0 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(check(chunked_1_0.as_bytes()), Err(HeadFault::Malformed));
}

#[test]
fn large_heads_are_refused_before_their_end() {
    let mut scanner = HeadScanner::default();
    let line = format!("GET /{}", "a".repeat(MAX_HEAD_BYTES));
    assert_eq!(
        scanner.advance(line.as_bytes()).next,
        Next::Refused(HeadFault::TargetTooLong)
    );
    let headers = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD_BYTES));
    assert_eq!(
        scanner.advance(headers.as_bytes()).next,
        Next::Refused(HeadFault::HeadTooLarge)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(
        scanner.advance(many.as_bytes()).next,
        Next::Refused(HeadFault::HeadTooLarge)
    );
}

#[test]
fn pipelined_requests_are_told_apart_whatever_their_framing() {
    let stream = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET \
        POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;ext=\"a\"\r\nhello\r\n0\r\nTrailer: x\r\n\r\n\
        \r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n";
    let bad = "POST /5 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
    let bytes = format!("{stream}{bad}");
    let mut scanner = HeadScanner::default();
    let advance = scanner.advance(bytes.as_bytes());
    assert_eq!(
        advance,
        Advance {
            pass: stream.len(),
            next: Next::Refused(HeadFault::Malformed)
        }
    );
}

#[test]
fn nothing_passes_after_an_upgrade_request() {
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let bytes = format!("{upgrade}GET /smuggled HTTP/1.1\r\n\r\n");
    let advance = HeadScanner::default().advance(bytes.as_bytes());
    assert_eq!(
        advance,
        Advance {
            pass: upgrade.len(),
            next: Next::Upgrade
        }
    );
}

#[test]
fn broken_chunks_end_the_connection() {
    for body in [
        "x\r\n",
        "\r\n",
        "5\nhello",
        "5\r\nhelloX",
        "5\r\nhello\r\n0\r\n\n",
        "fffffffffffffffff\r\n",
        "5 \r\n",
    ] {
        let mut scanner = HeadScanner::default();
        let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert!(
            matches!(scanner.advance(bytes.as_bytes()).next, Next::Refused(_)),
            "{body:?}"
        );
    }
}

/// Feeds a stream in pieces as a socket would, holding back what the scanner holds back.
fn feed(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Next) {
    let (mut scanner, mut held, mut passed, mut at) =
        (HeadScanner::default(), Vec::new(), Vec::new(), 0);
    let mut next = Next::More;
    for cut in cuts.iter().chain([&stream.len()]) {
        let end = (at + cut).min(stream.len());
        held.extend_from_slice(&stream[at..end]);
        at = end;
        let advance = scanner.advance(&held);
        passed.extend(held.drain(..advance.pass));
        next = advance.next;
        if matches!(next, Next::Refused(_) | Next::Upgrade) {
            break;
        }
    }
    (passed, next)
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_bytes_arrive(cuts in prop::collection::vec(1_usize..40, 0..12)) {
        let stream = b"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET GET / HTTP/1.1\r\n\r\n\
            GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        prop_assert_eq!(feed(stream, &cuts), feed(stream, &[]));
    }

    #[test]
    fn arbitrary_bytes_never_panic_or_overrun(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let advance = HeadScanner::default().advance(&bytes);
        prop_assert!(advance.pass <= bytes.len());
    }

    #[test]
    fn what_passes_is_parsed_by_httparse_too(lines in "([A-Za-z-]{1,9}: ?[ -~]{0,9}\r\n){0,5}") {
        let text = head(&lines);
        if check(text.as_bytes()).is_ok() {
            let mut headers = [httparse::EMPTY_HEADER; 128];
            let parsed = httparse::Request::new(&mut headers).parse(text.as_bytes());
            prop_assert!(matches!(parsed, Ok(httparse::Status::Complete(n)) if n == text.len()), "{:?}", parsed);
        }
    }
}
