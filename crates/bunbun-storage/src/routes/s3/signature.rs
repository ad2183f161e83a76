//! Signatures of AWS, version 4: what is signed and how. Knows nothing of our credentials.

use std::fmt::Write as _;

use bunbun_core::secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::Query;

/// SHA-256 of nothing.
pub(super) const EMPTY_SHA256: &str =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What AWS leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const IN_PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// `access key/20260101/us-east-1/s3/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) access_key: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

impl Credential {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // An access key may contain slashes; what follows it may not.
        let mut parts = text.rsplitn(5, '/');
        let (terminator, service) = (parts.next()?, parts.next()?);
        let (region, date, access_key) = (parts.next()?, parts.next()?, parts.next()?);
        let is_date = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
        (terminator == "aws4_request" && is_date && !access_key.is_empty()).then(|| Self {
            access_key: access_key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    pub(super) fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }

    /// The key that signs for this day, region and service.
    pub(super) fn signing_key(&self, secret: &str) -> [u8; 32] {
        let key = hmac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        let key = hmac(&key, self.region.as_bytes());
        let key = hmac(&key, self.service.as_bytes());
        hmac(&key, b"aws4_request")
    }
}

/// What of a request is signed.
pub(super) struct Signed<'s> {
    pub(super) method: &'s str,
    /// As the client sent it, with every prefix.
    pub(super) path: &'s str,
    pub(super) query: &'s Query,
    /// Names and values, sorted by name.
    pub(super) headers: &'s [(String, String)],
    pub(super) payload: &'s str,
}

impl Signed<'_> {
    fn canonical(&self) -> String {
        let path: Vec<u8> = percent_decode_str(self.path).collect();
        let path = percent_encoding::percent_encode(&path, IN_PATH);
        let mut pairs: Vec<(String, String)> = self
            .query
            .0
            .iter()
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| (encode(name), encode(value)))
            .collect();
        pairs.sort();
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut headers = String::new();
        for (name, value) in self.headers {
            let _ = writeln!(headers, "{name}:{value}");
        }
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        format!(
            "{}\n{path}\n{}\n{headers}\n{}\n{}",
            self.method,
            pairs.join("&"),
            names.join(";"),
            self.payload
        )
    }

    /// The signature.
    pub(super) fn sign(&self, key: &[u8; 32], date: &str, scope: &str) -> String {
        let digest = secret::hex(&Sha256::digest(self.canonical().as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        secret::hex(&hmac(key, text.as_bytes()))
    }
}

/// The signature of a policy, which is signed as it stands.
pub(super) fn sign_text(key: &[u8; 32], text: &str) -> String {
    secret::hex(&hmac(key, text.as_bytes()))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A header's value as it is signed: trimmed, with single spaces.
pub(super) fn canonical_value(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Signs the chunks of a body, each with its predecessor's signature.
#[derive(Clone)]
pub(super) struct ChunkSigner {
    pub(super) key: [u8; 32],
    pub(super) date: String,
    pub(super) scope: String,
    pub(super) previous: String,
}

impl ChunkSigner {
    /// The signature that a chunk must have.
    pub(super) fn chunk(&mut self, content: Sha256) -> String {
        let digest = secret::hex(&content.finalize());
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY_SHA256}\n{digest}",
            self.date, self.scope, self.previous
        );
        self.previous = secret::hex(&hmac(&self.key, text.as_bytes()));
        self.previous.clone()
    }

    /// The signature that the trailers must have.
    pub(super) fn trailers(&self, lines: &str) -> String {
        let digest = secret::hex(&Sha256::digest(lines.as_bytes()));
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{digest}",
            self.date, self.scope, self.previous
        );
        secret::hex(&hmac(&self.key, text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::{ChunkSigner, Credential, EMPTY_SHA256, Query, Signed};

    // The examples of Amazon's documentation, "Signature Calculations for the Authorization
    // Header" and "… in Multiple Chunks".
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const DATE: &str = "20130524T000000Z";

    fn credential() -> Credential {
        Credential::parse("AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request").unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn requests_have_the_documented_signatures() {
        let key = credential().signing_key(SECRET);
        let scope = credential().scope();
        let get = Signed {
            method: "GET",
            path: "/test.txt",
            query: &Query::default(),
            headers: &headers(&[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", EMPTY_SHA256),
                ("x-amz-date", DATE),
            ]),
            payload: EMPTY_SHA256,
        };
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(get.sign(&key, DATE, &scope), signature);
        let list = Signed {
            method: "GET",
            path: "/",
            query: &Query::parse(Some("prefix=J&max-keys=2")),
            headers: &headers(&[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", EMPTY_SHA256),
                ("x-amz-date", DATE),
            ]),
            payload: EMPTY_SHA256,
        };
        let signature = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        assert_eq!(list.sign(&key, DATE, &scope), signature);
        let presigned = Signed {
            method: "GET",
            path: "/test.txt",
            query: &Query::parse(Some(
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=x",
            )),
            headers: &headers(&[("host", "examplebucket.s3.amazonaws.com")]),
            payload: "UNSIGNED-PAYLOAD",
        };
        let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert_eq!(presigned.sign(&key, DATE, &scope), signature);
    }

    #[test]
    fn chunks_have_the_documented_signatures() {
        let mut signer = ChunkSigner {
            key: credential().signing_key(SECRET),
            date: DATE.to_owned(),
            scope: credential().scope(),
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
        };
        let first = signer.chunk(Sha256::new_with_prefix(vec![b'a'; 65536]));
        assert_eq!(
            first,
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
        );
        let second = signer.chunk(Sha256::new_with_prefix(vec![b'a'; 1024]));
        assert_eq!(
            second,
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
        );
        let last = signer.chunk(Sha256::new());
        assert_eq!(
            last,
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
        );
    }

    #[test]
    fn credentials_are_read_from_the_end() {
        let credential = Credential::parse("a/b/20130524/eu/s3/aws4_request").unwrap();
        assert_eq!(credential.access_key, "a/b");
        for bad in [
            "",
            "a",
            "a/20130524/eu/s3",
            "a/2013052/eu/s3/aws4_request",
            "/20130524/eu/s3/aws4_request",
        ] {
            assert!(Credential::parse(bad).is_none(), "{bad}");
        }
    }
}
