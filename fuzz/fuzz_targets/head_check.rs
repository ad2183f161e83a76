//! The head scanner: whatever arrives, in whatever pieces, it and the HTTP parser behind it
//! agree on where heads end and how bodies are framed.

#![no_main]

use bunbun_gateway::accept::head::{Advance, Framing, HeadScanner, MAX_HEADERS, Next, check};
use httparse::{EMPTY_HEADER, Request, Status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    check_agrees_with_the_parser(bytes);
    pieces_make_no_difference(usize::from(step).max(1), bytes);
});

/// A head that passes is one that the parser reads to the same end, or refuses for good: never
/// one that it goes on reading, or whose end it sees earlier.
fn check_agrees_with_the_parser(bytes: &[u8]) {
    let Ok(framing) = check(bytes) else { return };
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) => assert!(length <= bytes.len()),
        Ok(Status::Partial) => panic!("the parser waits for more of a complete head"),
        Err(_) => return,
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii()).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(
        lengths.is_empty() || codings.is_empty(),
        "both framings passed"
    );
    assert!(
        lengths.len() <= 1 && codings.len() <= 1,
        "one framing twice"
    );
    match framing {
        Framing::Chunked => assert!(codings[0].eq_ignore_ascii_case(b"chunked")),
        Framing::Length(length) => {
            let text = std::str::from_utf8(lengths[0]).expect("a decimal number");
            assert_eq!(text.parse(), Ok(length));
        }
        Framing::None | Framing::Upgrade => {
            assert!(codings.is_empty());
            assert!(
                lengths
                    .iter()
                    .all(|length| length.iter().all(|digit| *digit == b'0'))
            );
        }
    }
}

/// The same connection in one piece and in many ends the same way after the same bytes.
fn pieces_make_no_difference(step: usize, bytes: &[u8]) {
    let (whole, whole_heads) = scan(bytes, bytes.len().max(1));
    let (pieces, pieces_heads) = scan(bytes, step);
    assert_eq!(whole, pieces);
    assert_eq!(whole_heads, pieces_heads);
}

fn scan(bytes: &[u8], step: usize) -> (Advance, u64) {
    let mut scanner = HeadScanner::default();
    let (mut passed, mut end) = (0, 0);
    let mut next = Next::More;
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        let advance = scanner.advance(&bytes[passed..end]);
        assert!(advance.pass <= end - passed);
        passed += advance.pass;
        next = advance.next;
        match next {
            Next::More => assert_eq!(passed, end),
            Next::PartialHead => {}
            Next::Upgrade | Next::Refused(_) => break,
        }
    }
    (Advance { pass: passed, next }, scanner.heads())
}
