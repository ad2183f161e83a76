//! Secrets: values that never show in `Debug`, logs or errors, and their comparison.

use rand::{Rng, TryRngCore, rngs::OsRng};
pub use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::id::write_hex;

/// Compares in a time that depends on the lengths only.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// SHA-256, the form in which tokens are stored and looked up.
#[must_use]
pub fn digest(value: &[u8]) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// A short name of a secret for logs and key ids: the first 8 hex digits of its SHA-256.
#[must_use]
pub fn fingerprint(value: &[u8]) -> String {
    hex(&digest(value)[..4])
}

/// Lower-case hexadecimal.
///
/// # Panics
/// Never: hexadecimal is text.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    write_hex(bytes, &mut text);
    String::from_utf8(text).expect("hexadecimal is ASCII")
}

/// Random bytes of the operating system.
///
/// # Panics
/// When the operating system has no randomness, in which case nothing safe can be done.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system provides randomness");
    bytes
}

/// A random text of letters and digits; 62^`length` possibilities.
#[must_use]
pub fn random_text(length: usize) -> String {
    let mut rng = OsRng.unwrap_err();
    (0..length)
        .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
        .collect()
}

/// A URL for messages, without its password and query; a text that is no URL is hidden whole.
#[must_use]
pub fn redact_url(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) => {
            if url.password().is_some() {
                let _ = url.set_password(Some("***"));
            }
            url.set_query(None);
            url.to_string()
        }
        Err(_) => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{equal, fingerprint, random_text, redact_url};

    #[test]
    fn passwords_in_urls_are_hidden() {
        let shown = redact_url("postgres://user:hunter2@db:5432/app?password=hunter2");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(redact_url("hunter2"), "***");
    }

    #[test]
    fn comparison_and_fingerprints_tell_values_apart() {
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd"));
        assert!(!equal(b"abc", b"abcd"));
        assert!(equal(b"", b"") && !equal(b"", b"a"));
        let key: Vec<u8> = (0..64).collect();
        for length in 0..key.len() {
            assert!(equal(&key[..length], &key[..length]));
            for at in 0..length {
                let mut other = key[..length].to_vec();
                other[at] ^= 0x80;
                assert!(!equal(&key[..length], &other), "byte {at} of {length}");
            }
        }
        assert_ne!(fingerprint(b"a"), fingerprint(b"b"));
        assert_ne!(random_text(32), random_text(32));
    }
}
