//! Forms as clients send them, in pieces of every size, and as nobody sends them in good faith.

use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;

use super::{MAX_HEAD_BYTES, Multipart, MultipartError, PartHead};
use crate::body::{Body, BoxError};

const TYPE: &str = "multipart/form-data; boundary=XX";

/// A body that arrives in pieces of the given size.
fn pieces(bytes: &[u8], size: usize) -> Body {
    let frames: Vec<Result<_, BoxError>> = bytes
        .chunks(size.max(1))
        .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn form(content_type: &str, body: &[u8], size: usize) -> Result<Multipart, MultipartError> {
    let content_type = HeaderValue::from_str(content_type).unwrap();
    Multipart::new(Some(&content_type), pieces(body, size))
}

type Parts = Vec<(PartHead, Vec<u8>)>;

async fn read(body: &[u8], size: usize) -> Result<Parts, MultipartError> {
    let mut form = form(TYPE, body, size)?;
    let mut parts = Vec::new();
    while let Some(head) = form.next_part().await? {
        let mut content = Vec::new();
        while let Some(chunk) = form.chunk().await? {
            assert!(!chunk.is_empty(), "no empty pieces");
            content.extend_from_slice(&chunk);
        }
        parts.push((head, content));
    }
    Ok(parts)
}

fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

#[tokio::test]
async fn a_form_of_curl_is_read_in_pieces_of_any_size() {
    let body = b"--XX\r\nContent-Disposition: form-data; name=\"bucket\"\r\n\r\nphotos\r\n\
        --XX\r\ncontent-disposition: form-data; filename=\"a \\\"b\\\" %22.png\"; name=file\r\n\
        Content-Type: image/png\r\n\r\n\r\n--X\r\n-\x00\xff\r\n--XX--\r\n";
    for size in 1..=body.len() {
        let parts = read(body, size).await.unwrap();
        assert_eq!(parts.len(), 2, "in pieces of {size}");
        assert_eq!(parts[0].0.name, "bucket");
        assert_eq!(parts[0].1, b"photos");
        assert_eq!(parts[1].0.name, "file");
        assert_eq!(parts[1].0.file_name.as_deref(), Some("a \"b\" \".png"));
        let media = parts[1].0.content_type.as_ref().unwrap();
        assert_eq!(media, "image/png");
        assert_eq!(parts[1].1, b"\r\n--X\r\n-\x00\xff");
    }
}

#[tokio::test]
async fn a_part_may_be_empty_and_a_form_may_have_none() {
    let body = [part("a", b""), b"--XX--".to_vec()].concat();
    let parts = read(&body, 7).await.unwrap();
    assert_eq!(parts.len(), 1);
    assert!(parts[0].1.is_empty());
    assert!(read(b"--XX--\r\n", 3).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_left_of_a_part_is_passed_over() {
    let body = [
        part("a", &[7; 100_000]),
        part("b", b"2"),
        b"--XX--".to_vec(),
    ]
    .concat();
    let mut form = form(TYPE, &body, 1000).unwrap();
    assert_eq!(form.next_part().await.unwrap().unwrap().name, "a");
    assert_eq!(form.next_part().await.unwrap().unwrap().name, "b");
    assert_eq!(form.text("b", 10).await.unwrap(), "2");
    assert!(form.next_part().await.unwrap().is_none());
    assert!(form.next_part().await.unwrap().is_none());
}

#[tokio::test]
async fn forms_that_break_a_rule_are_refused() {
    let cut = part("a", b"1");
    let long_head = format!("--XX\r\nX: {}", "x".repeat(2 * MAX_HEAD_BYTES));
    let no_boundary = "x".repeat(2 * MAX_HEAD_BYTES);
    let bodies: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("without a closing boundary", &cut),
        ("cut in a head", b"--XX\r\nContent-Disposition: form-data; na"),
        ("without a name", b"--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--"),
        ("without a disposition", b"--XX\r\nContent-Type: a/b\r\n\r\n1\r\n--XX--"),
        ("no form-data", b"--XX\r\nContent-Disposition: file; name=\"a\"\r\n\r\n1\r\n--XX--"),
        (
            "a disposition twice",
            b"--XX\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\n1\r\n--XX--",
        ),
        ("an open quote", b"--XX\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--XX--"),
        ("a line that is no header", b"--XX\r\nnonsense\r\n\r\n1\r\n--XX--"),
        ("a longer boundary", b"--XXY\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--XX--"),
        ("no UTF-8", b"--XX\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\n1\r\n--XX--"),
        ("a head without end", long_head.as_bytes()),
        ("no boundary at all", no_boundary.as_bytes()),
    ];
    for (what, body) in bodies {
        let outcome = read(body, 1024).await;
        assert!(
            matches!(outcome, Err(MultipartError::Malformed(_))),
            "{what}: {outcome:?}"
        );
    }
}

#[test]
fn other_media_types_are_refused() {
    for media in [
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=XX",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a ",
        "multipart/form-data; boundary=\"a \"",
        &format!("multipart/form-data; boundary={}", "x".repeat(71)),
    ] {
        let outcome = form(media, b"", 1);
        assert!(
            matches!(outcome, Err(MultipartError::NotMultipart)),
            "{media}"
        );
    }
    for media in [
        "Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"",
        "multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    ] {
        assert!(form(media, b"", 1).is_ok(), "{media}");
    }
}

#[tokio::test]
async fn a_text_has_a_limit_and_is_utf_8() {
    let body = [part("a", b"12345"), part("b", b"\xff"), b"--XX--".to_vec()].concat();
    let mut form = form(TYPE, &body, 2).unwrap();
    form.next_part().await.unwrap();
    let error = form.text("a", 4).await.unwrap_err();
    assert_eq!(error.to_string(), "The field 'a' is longer than 4 bytes.");
    form.next_part().await.unwrap();
    assert!(matches!(
        form.text("b", 4).await,
        Err(MultipartError::Malformed(_))
    ));
}

proptest! {
    #[test]
    fn any_content_comes_out_as_it_went_in(
        contents in prop::collection::vec(prop::collection::vec(
            prop::sample::select(b"\r\n-Xab\0\xff".to_vec()), 0..40), 0..4),
        size in 1_usize..20,
    ) {
        // A content with its own boundary in it would be another form.
        prop_assume!(contents.iter().all(|content| {
            ![&b"\r\n"[..], content].concat().windows(6).any(|window| window == b"\r\n--XX")
        }));
        let mut body: Vec<u8> = contents.iter().flat_map(|content| part("p", content)).collect();
        body.extend_from_slice(b"--XX--\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let parts = runtime.block_on(read(&body, size)).unwrap();
        let read: Vec<_> = parts.into_iter().map(|(_, content)| content).collect();
        prop_assert_eq!(read, contents);
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise(body in prop::collection::vec(any::<u8>(), 0..300), size in 1_usize..50) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _ = runtime.block_on(read(&body, size));
        let framed = [&b"--XX\r\n"[..], &body, b"\r\n--XX--"].concat();
        let _ = runtime.block_on(read(&framed, size));
    }
}
