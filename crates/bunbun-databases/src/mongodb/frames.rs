//! The messages between the driver and a server (`OP_MSG` and `OP_REPLY` of MongoDB's wire protocol),
//! as far as they have to be looked at before the driver reads them.
//!
//! The driver makes values of whole answers by recursion, so that a server could end this process
//! with a deeply nested one; it would also take an answer to another request for its own. What
//! passes here is framed, nested no deeper than MongoDB's documents may be, and the one answer to the
//! request before it.

use std::{
    io,
    sync::atomic::{AtomicI64, Ordering},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::raw::{self, Malformed, kind};

/// Longest message: the servers' own limit, and what its frame takes.
const MAX_BYTES: usize = 48_000_000 + (16 << 10);
/// Deepest nesting: what MongoDB itself allows (200), in an answer that has a few levels of its own.
const MAX_DEPTH: usize = 250;
/// A message with fewer bytes cannot be nested deeper than that: a level takes eight.
const SHALLOW_BYTES: usize = MAX_DEPTH * 8;
/// What a connection keeps of its buffer between two messages.
const KEPT_BYTES: usize = 256 << 10;
/// What is read at once.
const READ_BYTES: usize = 16 << 10;
const HEAD: usize = 16;
const OP_REPLY: i32 = 1;
const OP_MSG: i32 = 2013;
/// Flags of `OP_MSG`.
const HAS_CHECKSUM: i32 = 1;

/// The id of the request that waits for an answer.
#[derive(Debug)]
pub(super) struct Awaited(AtomicI64);

impl Awaited {
    /// No id is this.
    const NOTHING: i64 = i64::MIN;
}

impl Default for Awaited {
    fn default() -> Self {
        Self(AtomicI64::new(Self::NOTHING))
    }
}

fn refused(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The next message, whole; false at the end.
async fn read(from: &mut (impl AsyncRead + Unpin), message: &mut Vec<u8>) -> io::Result<bool> {
    message.clear();
    message.shrink_to(KEPT_BYTES);
    message.resize(HEAD, 0);
    if from.read(&mut message[..1]).await? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut message[1..]).await?;
    let length = usize::try_from(raw::int32(message)?).unwrap_or_default();
    if !(HEAD..=MAX_BYTES).contains(&length) {
        return Err(refused("a message has an impossible length"));
    }
    // As it comes, not as it is announced.
    let left = length - HEAD;
    message.reserve(left.min(KEPT_BYTES));
    let read = from.take(left as u64).read_to_end(message).await?;
    if read != left {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(true)
}

/// Hands the driver's requests on.
pub(super) async fn forward_requests(
    driver: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
    awaited: &Awaited,
) -> io::Result<()> {
    let mut driver = BufReader::with_capacity(READ_BYTES, driver);
    let mut message = Vec::new();
    while read(&mut driver, &mut message).await? {
        let id = raw::int32(&message[4..])?;
        awaited.0.store(id.into(), Ordering::Release);
        server.write_all(&message).await?;
        server.flush().await?;
    }
    Ok(())
}

/// Hands the server's answers on, until one is not what it should be.
pub(super) async fn forward_answers(
    server: impl AsyncRead + Unpin,
    mut driver: impl AsyncWrite + Unpin,
    awaited: &Awaited,
) -> io::Result<()> {
    let mut server = BufReader::with_capacity(READ_BYTES, server);
    let mut message = Vec::new();
    while read(&mut server, &mut message).await? {
        // One answer to each.
        let awaited = awaited.0.swap(Awaited::NOTHING, Ordering::AcqRel);
        if i64::from(raw::int32(&message[8..])?) != awaited {
            return Err(refused("the answer is one to another request"));
        }
        check(&message)?;
        driver.write_all(&message).await?;
    }
    Ok(())
}

/// Whether all documents of a message are nested within bounds.
fn check(message: &[u8]) -> Result<(), Malformed> {
    let mut rest = match raw::int32(&message[12..])? {
        OP_MSG => {
            let flags = raw::int32(&message[HEAD..])?;
            let end = message.len() - if flags & HAS_CHECKSUM == 0 { 0 } else { 4 };
            message
                .get(HEAD + 4..end)
                .ok_or(Malformed("a message is cut off"))?
        }
        // Flags, a cursor's id, two numbers.
        OP_REPLY => message
            .get(HEAD + 20..)
            .ok_or(Malformed("a message is cut off"))?,
        _ => return Err(Malformed("a message of an unknown kind")),
    };
    if message.len() <= SHALLOW_BYTES {
        return Ok(());
    }
    if raw::int32(&message[12..])? == OP_REPLY {
        return documents(rest);
    }
    while let Some((&section, after)) = rest.split_first() {
        let length = usize::try_from(raw::int32(after)?).unwrap_or_default();
        let (body, next) = after
            .split_at_checked(length)
            .ok_or(Malformed("a section is cut off"))?;
        match section {
            0 => documents(body)?,
            1 => documents(raw::cstring(body.get(4..).unwrap_or_default())?.1)?,
            _ => return Err(Malformed("a section of an unknown kind")),
        }
        rest = next;
    }
    Ok(())
}

/// Documents one behind the other. Goes through them without recursion; each has to end exactly
/// where its length says, so that nobody sees other levels in it than this does.
fn documents(bytes: &[u8]) -> Result<(), Malformed> {
    let mut ends = Vec::with_capacity(MAX_DEPTH);
    let mut at = 0;
    while at < bytes.len() {
        at = enter(bytes, at, bytes.len(), &mut ends)?;
        while let Some(&end) = ends.last() {
            let (&kind, rest) = bytes[at..end]
                .split_first()
                .ok_or(Malformed("a document does not end"))?;
            at += 1;
            if kind == 0 {
                if at != end {
                    return Err(Malformed("a document's length is not its own"));
                }
                ends.pop();
                continue;
            }
            let key = memchr::memchr(0, rest).ok_or(Malformed("a name does not end"))?;
            at += key + 1;
            at = match kind {
                kind::DOCUMENT | kind::ARRAY => enter(bytes, at, end, &mut ends)?,
                kind::CODE_WITH_SCOPE => {
                    let length = raw::length(kind, &bytes[at..end])?;
                    let (_, scope) = raw::string(bytes[at..end].get(4..).unwrap_or_default())?;
                    let scope = end - scope.len();
                    // The scope is the rest of the value, which `enter` makes sure of.
                    let until = at.saturating_add(length).min(end);
                    let inside = enter(bytes, scope, until, &mut ends)?;
                    if ends.last() != Some(&until) {
                        return Err(Malformed("a scope's length is not its own"));
                    }
                    inside
                }
                _ => at
                    .checked_add(raw::length(kind, &bytes[at..end])?)
                    .filter(|&after| after <= end)
                    .ok_or(Malformed("an element is cut off"))?,
            };
        }
    }
    Ok(())
}

/// Goes into the document that begins here and has to end before `limit`.
fn enter(bytes: &[u8], at: usize, limit: usize, ends: &mut Vec<usize>) -> Result<usize, Malformed> {
    if ends.len() >= MAX_DEPTH {
        return Err(Malformed("an answer is nested too deeply"));
    }
    let length = raw::int32(bytes.get(at..limit).unwrap_or_default())?;
    let end = usize::try_from(length)
        .ok()
        .filter(|&length| length >= 5)
        .and_then(|length| at.checked_add(length))
        .filter(|&end| end <= limit)
        .ok_or(Malformed("a document is cut off"))?;
    ends.push(end);
    Ok(at + 4)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{
        Bson, Document, JavaScriptCodeWithScope, RawDocument, RawDocumentBuf, doc,
    };
    use proptest::prelude::*;

    use super::{Awaited, HEAD, MAX_DEPTH, OP_MSG, OP_REPLY, check, documents, forward_answers};

    fn bytes(document: &Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document)
            .expect("encodes")
            .into_bytes()
    }

    /// Documents in each other, written without recursion.
    fn deep(levels: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for level in 0..levels {
            let length = 5 + 8 * (levels - 1 - level);
            out.extend(i32::try_from(length).expect("short").to_le_bytes());
            if level + 1 < levels {
                out.extend(b"\x03a\0");
            }
        }
        out.extend(vec![0; levels]);
        out
    }

    fn message(opcode: i32, head: &[u8], body: &[u8]) -> Vec<u8> {
        let length = HEAD + head.len() + body.len();
        let length = i32::try_from(length).expect("short");
        let mut out = Vec::new();
        for number in [length, 1, 7, opcode] {
            out.extend(number.to_le_bytes());
        }
        out.extend(head);
        out.extend(body);
        out
    }

    #[test]
    fn nesting_is_bounded_in_every_kind_of_message() {
        for (levels, is_fine) in [
            (1, true),
            (MAX_DEPTH, true),
            (MAX_DEPTH + 1, false),
            (2_000_000, false),
        ] {
            let body = deep(levels);
            assert_eq!(documents(&body).is_ok(), is_fine, "{levels}");
            assert_eq!(
                check(&message(OP_MSG, &[0; 5], &body)).is_ok(),
                is_fine,
                "{levels}"
            );
            assert_eq!(
                check(&message(OP_REPLY, &[0; 20], &body)).is_ok(),
                is_fine,
                "{levels}"
            );
            // A sequence of documents.
            let mut sequence = i32::try_from(body.len() + 6)
                .expect("short")
                .to_le_bytes()
                .to_vec();
            sequence.extend(b"d\0");
            sequence.extend(&body);
            let head = [0, 0, 0, 0, 1];
            assert_eq!(
                check(&message(OP_MSG, &head, &sequence)).is_ok(),
                is_fine,
                "{levels}"
            );
        }
    }

    #[test]
    fn scopes_of_code_are_levels_too() {
        let mut document = doc! { "x": 1 };
        for _ in 0..MAX_DEPTH {
            let code = JavaScriptCodeWithScope {
                code: "f".to_owned(),
                scope: document,
            };
            document = doc! { "c": Bson::JavaScriptCodeWithScope(code), "after": 1 };
        }
        assert!(documents(&bytes(&document)).is_err());
        let code = JavaScriptCodeWithScope {
            code: "f".to_owned(),
            scope: doc! { "a": [1, { "b": 2 }] },
        };
        let fine = doc! { "c": Bson::JavaScriptCodeWithScope(code), "after": "x" };
        documents(&bytes(&fine)).expect("it is not deep");
    }

    #[test]
    fn lengths_that_hide_levels_are_refused() {
        let good = bytes(&doc! { "a": { "b": "text" }, "c": [1, 2] });
        documents(&good).expect("well-formed");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = bad[at].wrapping_add(1);
            // Whatever it is then: it ends, and what passes is framed as the driver frames it.
            if documents(&bad).is_ok() {
                let framed = RawDocument::from_bytes(&bad).expect("framed");
                let _ = Document::try_from(framed);
            }
        }
        for cut in 0..good.len() {
            assert!(documents(&good[..cut]).is_err() || cut == 0, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = documents(&bytes);
            let _ = check(&message(OP_MSG, &bytes, &[0; 1300]));
        }
    }

    #[tokio::test]
    async fn each_request_has_the_one_answer_that_is_for_it() {
        let answer = message(OP_MSG, &[0; 5], &bytes(&doc! { "ok": 1 }));
        let forward = async |sent: &[u8], id: Option<i64>| {
            let awaited = Awaited::default();
            if let Some(id) = id {
                awaited.0.store(id, std::sync::atomic::Ordering::Relaxed);
            }
            let mut out = Vec::new();
            let outcome = forward_answers(sent, &mut out, &awaited).await;
            (outcome.is_ok(), out.len() / answer.len())
        };
        assert_eq!(forward(&answer, Some(7)).await, (true, 1));
        assert_eq!(forward(&answer, Some(8)).await, (false, 0));
        assert_eq!(forward(&answer, None).await, (false, 0));
        assert_eq!(forward(&answer.repeat(2), Some(7)).await, (false, 1));
        for length in [0_i32, 15, -1, i32::MAX] {
            let mut bad = answer.clone();
            bad[..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(forward(&bad, Some(7)).await, (false, 0), "{length}");
        }
    }
}
