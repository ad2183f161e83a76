//! `aws-chunked`: a body in chunks, each `SIZE[;chunk-signature=…]CRLF bytes CRLF`, the last one
//! empty and followed by trailers. Bytes are passed on as they come; a signature is checked at the
//! end of its chunk, before the content can become visible.

use bunbun_core::secret;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};

use super::{auth::Trailers, signature::ChunkSigner};
use crate::error::{Code, Result, StorageError};

/// Longest head of a chunk, and longest trailer.
const MAX_LINE: usize = 1024;
const MAX_TRAILERS: usize = 16;

/// The decoder.
pub(super) struct Chunked {
    body: BoxStream<'static, Result<Bytes>>,
    buffer: BytesMut,
    signer: Option<ChunkSigner>,
    trailers: Trailers,
    state: State,
}

enum State {
    Head,
    Data {
        left: u64,
        digest: Sha256,
        signature: Option<String>,
    },
    Done,
}

impl Chunked {
    pub(super) fn new(
        body: BoxStream<'static, Result<Bytes>>,
        signer: Option<ChunkSigner>,
        trailers: Trailers,
    ) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            signer,
            trailers,
            state: State::Head,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::try_unfold(self, |mut decoder| async move {
            Ok(decoder.next().await?.map(|bytes| (bytes, decoder)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Head => {
                    let line = self.line().await?;
                    let (size, signature) = head(&line)?;
                    if self.signer.is_some() != signature.is_some() {
                        return Err(malformed("A chunk's signature is missing or not wanted"));
                    }
                    if size == 0 {
                        self.verify(Sha256::new(), signature.as_deref())?;
                        self.read_trailers().await?;
                        self.state = State::Done;
                    } else {
                        self.state = State::Data {
                            left: size,
                            digest: Sha256::new(),
                            signature,
                        };
                    }
                }
                State::Data {
                    left: 0,
                    digest,
                    signature,
                } => {
                    let (digest, signature) = (digest.clone(), signature.take());
                    if !self.line().await?.is_empty() {
                        return Err(malformed("A chunk does not end where it should"));
                    }
                    self.verify(digest, signature.as_deref())?;
                    self.state = State::Head;
                }
                State::Data { left, digest, .. } => {
                    if self.buffer.is_empty() {
                        // Straight through, without a copy.
                        let Some(piece) = self.body.next().await.transpose()? else {
                            return Err(malformed("The body broke off within a chunk"));
                        };
                        self.buffer = BytesMut::from(piece);
                    }
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(self.buffer.len());
                    let piece = self.buffer.split_to(take).freeze();
                    *left -= take as u64;
                    if self.signer.is_some() {
                        digest.update(&piece);
                    }
                    if !piece.is_empty() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    fn verify(&mut self, content: Sha256, signature: Option<&str>) -> Result<()> {
        let (Some(signer), Some(signature)) = (&mut self.signer, signature) else {
            return Ok(());
        };
        if secret::equal(signer.chunk(content).as_bytes(), signature.as_bytes()) {
            return Ok(());
        }
        let message = "The signature of a chunk does not match.";
        Err(StorageError::new(Code::SignatureDoesNotMatch, 403, message))
    }

    async fn read_trailers(&mut self) -> Result<()> {
        let (mut lines, mut signature) = (String::new(), None);
        for _ in 0..MAX_TRAILERS {
            let line = match self.line().await {
                Ok(line) => line,
                // Some clients leave the last empty line out.
                Err(_) if self.buffer.is_empty() => String::new(),
                Err(error) => return Err(error),
            };
            if line.is_empty() {
                return match (&self.signer, signature) {
                    (Some(signer), Some(signature)) => check_trailers(signer, &lines, signature),
                    // Trailers that count must be signed where everything else is.
                    (Some(_), None) if !lines.is_empty() => {
                        Err(malformed("The trailers are not signed"))
                    }
                    _ => Ok(()),
                };
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("A trailer cannot be read"))?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            if name == "x-amz-trailer-signature" {
                signature = Some(value);
            } else {
                lines.push_str(&format!("{name}:{value}\n"));
                self.trailers.push(name, value);
            }
        }
        Err(malformed("There are too many trailers"))
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self
                .buffer
                .windows(2)
                .take(MAX_LINE)
                .position(|pair| pair == b"\r\n")
            {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return String::from_utf8(line.to_vec())
                    .map_err(|_| malformed("A line is no text"));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(malformed("A line is too long"));
            }
            match self.body.next().await.transpose()? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Err(malformed("The body broke off")),
            }
        }
    }
}

fn check_trailers(signer: &ChunkSigner, lines: &str, signature: String) -> Result<()> {
    if secret::equal(signer.trailers(lines).as_bytes(), signature.as_bytes()) {
        return Ok(());
    }
    let message = "The signature of the trailers does not match.";
    Err(StorageError::new(Code::SignatureDoesNotMatch, 403, message))
}

/// `SIZE[;chunk-signature=…]`.
fn head(line: &str) -> Result<(u64, Option<String>)> {
    let (size, extension) = line.split_once(';').unwrap_or((line, ""));
    let digits =
        !size.is_empty() && size.len() <= 15 && size.bytes().all(|b| b.is_ascii_hexdigit());
    let size = u64::from_str_radix(size, 16).ok().filter(|_| digits);
    let size = size.ok_or_else(|| malformed("A chunk's size cannot be read"))?;
    let signature = extension
        .trim()
        .strip_prefix("chunk-signature=")
        .map(str::to_owned);
    Ok((size, signature))
}

fn malformed(message: &'static str) -> StorageError {
    StorageError::new(Code::InvalidRequest, 400, message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};
    use proptest::prelude::*;

    use super::{Chunked, Trailers};

    async fn decode(text: &[u8], piece: usize) -> Result<(Vec<u8>, Trailers), String> {
        let pieces: Vec<_> = text
            .chunks(piece)
            .map(|p| Ok(Bytes::copy_from_slice(p)))
            .collect();
        let trailers = Trailers::default();
        let decoder = Chunked::new(stream::iter(pieces).boxed(), None, trailers.clone());
        let parts: Vec<Bytes> = decoder
            .into_stream()
            .try_collect()
            .await
            .map_err(|e| e.to_string())?;
        Ok((parts.concat(), trailers))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn chunks_are_put_together_however_they_are_cut() {
        let text = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
        for piece in 1..=text.len() {
            let (body, trailers) = run(decode(text, piece)).unwrap();
            assert_eq!(body, b"hello world");
            assert_eq!(
                trailers.get("x-amz-checksum-crc32").as_deref(),
                Some("DUoRhQ==")
            );
        }
    }

    #[test]
    fn broken_bodies_are_refused() {
        for text in [
            &b""[..],
            b"5\r\nhel",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"5\r\nhello\r\n",
            b"ffffffffffffffffff\r\n",
            b"5;chunk-signature=x\r\nhello\r\n0\r\n\r\n",
            b"0\r\nnotrailer\r\n\r\n",
        ] {
            assert!(
                run(decode(text, 3)).is_err(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        let endless = vec![b'1'; 5000];
        assert!(run(decode(&endless, 100)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_the_decoder_panic(text in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = run(decode(&text, piece));
        }
    }
}
