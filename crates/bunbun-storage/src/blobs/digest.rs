//! Checksums of content, made while it passes.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A checksum that a client may ask to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32 (ISO HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
}

impl Algorithm {
    /// The name in S3's headers: `x-amz-checksum-crc32`.
    #[must_use]
    pub fn of_s3(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "crc32" => Self::Crc32,
            "crc32c" => Self::Crc32c,
            "crc64nvme" => Self::Crc64Nvme,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            _ => return None,
        })
    }

    /// The name in S3's headers.
    #[must_use]
    pub const fn s3_name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
        }
    }
}

enum State {
    Crc(CrcAlgorithm, crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
    Md5(Md5),
}

/// The checksums that are being made.
#[derive(Default)]
pub struct Digests(Vec<(Algorithm, State)>);

/// The checksums of content.
#[derive(Debug, Clone, Default)]
pub struct Sums(Vec<(Algorithm, Vec<u8>)>);

impl Digests {
    /// None at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// MD5, the entity tag.
    #[must_use]
    pub fn etag() -> Self {
        Self::none().and(Algorithm::Md5)
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, algorithm: Algorithm) -> Self {
        if self.0.iter().all(|(known, _)| *known != algorithm) {
            let crc = |kind| State::Crc(kind, crc_fast::Digest::new(kind));
            let state = match algorithm {
                Algorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
                Algorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
                Algorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
                Algorithm::Sha1 => State::Sha1(Sha1::new()),
                Algorithm::Sha256 => State::Sha256(Sha256::new()),
                Algorithm::Md5 => State::Md5(Md5::new()),
            };
            self.0.push((algorithm, state));
        }
        self
    }

    /// Whether there is nothing to do.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what passes.
    pub(super) fn update(&mut self, chunk: &Bytes) {
        for (_, state) in &mut self.0 {
            match state {
                State::Crc(_, digest) => digest.update(chunk),
                State::Sha1(digest) => digest.update(chunk),
                State::Sha256(digest) => digest.update(chunk),
                State::Md5(digest) => digest.update(chunk),
            }
        }
    }

    /// The checksums.
    #[must_use]
    pub fn finish(self) -> Sums {
        let sum = |(algorithm, state)| {
            let sum = match state {
                State::Crc(kind, digest) => {
                    let value = digest.finalize().to_be_bytes();
                    match kind {
                        CrcAlgorithm::Crc64Nvme => value.to_vec(),
                        _ => value[4..].to_vec(),
                    }
                }
                State::Sha1(digest) => digest.finalize().to_vec(),
                State::Sha256(digest) => digest.finalize().to_vec(),
                State::Md5(digest) => digest.finalize().to_vec(),
            };
            (algorithm, sum)
        };
        Sums(self.0.into_iter().map(sum).collect())
    }
}

impl Sums {
    /// One of them.
    #[must_use]
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == algorithm)
            .map(|(_, sum)| &**sum)
    }

    /// One of them in base64, as headers carry it.
    #[must_use]
    pub fn base64(&self, algorithm: Algorithm) -> Option<String> {
        self.get(algorithm).map(|sum| BASE64_STANDARD.encode(sum))
    }

    /// MD5 in hexadecimal, without quotation marks.
    #[must_use]
    pub fn md5(&self) -> String {
        self.get(Algorithm::Md5)
            .map(bunbun_core::secret::hex)
            .unwrap_or_default()
    }
}

/// The entity tag of content that came in parts, as S3 makes it: the MD5 of the parts' MD5s and
/// how many there were.
#[must_use]
pub(crate) fn of_parts<'p>(parts: impl Iterator<Item = &'p [u8]>) -> String {
    let mut digest = Md5::new();
    let mut count = 0;
    for part in parts {
        digest.update(part);
        count += 1;
    }
    format!("{}-{count}", bunbun_core::secret::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Algorithm, Digests, of_parts};

    #[test]
    fn checksums_are_the_known_ones() {
        let mut digests = Digests::etag();
        for algorithm in [
            Algorithm::Crc32,
            Algorithm::Crc32c,
            Algorithm::Crc64Nvme,
            Algorithm::Sha1,
            Algorithm::Sha256,
        ] {
            digests = digests.and(algorithm);
        }
        for chunk in [&b"1234"[..], b"", b"56789"] {
            digests.update(&Bytes::from_static(chunk));
        }
        let sums = digests.finish();
        let hex = |a| bunbun_core::secret::hex(sums.get(a).unwrap());
        assert_eq!(sums.md5(), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(hex(Algorithm::Crc32), "cbf43926");
        assert_eq!(hex(Algorithm::Crc32c), "e3069283");
        assert_eq!(hex(Algorithm::Crc64Nvme), "ae8b14860a799888");
        assert_eq!(
            hex(Algorithm::Sha1),
            "f7c3bc1d808e04732adf679965ccc34ca7ae3441"
        );
        assert_eq!(
            hex(Algorithm::Sha256),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert_eq!(sums.base64(Algorithm::Crc32).unwrap(), "y/Q5Jg==");
    }

    #[test]
    fn parts_have_the_tag_that_s3_gives_them() {
        let empty = [
            0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8,
            0x42, 0x7e,
        ];
        assert_eq!(
            of_parts(std::iter::once(&empty[..])),
            "59adb24ef3cdbe0297f05b395827453f-1"
        );
    }
}
