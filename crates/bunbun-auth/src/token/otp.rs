//! Codes of mails. What is stored is SHA-224 of address and code in hexadecimal, as the original
//! stores it, so that links which it sent stay good. In links of the PKCE flow the hash has the
//! prefix `pkce_`.

use std::time::Duration;

use bunbun_core::secret;
use rand::{Rng as _, TryRngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha224};
use time::OffsetDateTime;

/// Marks the hash of a PKCE flow.
pub(crate) const PKCE_PREFIX: &str = "pkce_";

/// A new code of some digits.
pub(crate) fn generate(length: usize) -> String {
    let mut rng = OsRng.unwrap_err();
    (0..length)
        .map(|_| char::from(b'0' + rng.random_range(0..10u8)))
        .collect()
}

/// The stored form of a code.
pub(crate) fn hash(address: &str, code: &str) -> String {
    let mut hasher = Sha224::new();
    hasher.update(address.as_bytes());
    hasher.update(code.as_bytes());
    secret::hex(&hasher.finalize())
}

/// The stored form with the flow's prefix.
pub(crate) fn for_flow(hash: &str, is_pkce: bool) -> String {
    if is_pkce {
        format!("{PKCE_PREFIX}{hash}")
    } else {
        hash.to_owned()
    }
}

/// Whether a hash is the stored one, with or without the flow's prefix, and still valid.
pub(crate) fn is_valid(
    given: &str,
    stored: &str,
    sent_at: Option<OffsetDateTime>,
    now: OffsetDateTime,
    expiry: Duration,
) -> bool {
    let plain = stored.strip_prefix(PKCE_PREFIX).unwrap_or(stored);
    !plain.is_empty()
        && sent_at.is_some_and(|sent_at| !is_expired(sent_at, now, expiry))
        && (secret::equal(given.as_bytes(), plain.as_bytes())
            || secret::equal(given.as_bytes(), stored.as_bytes()))
}

/// Whether a code that was sent then has lost its validity.
pub(crate) fn is_expired(sent_at: OffsetDateTime, now: OffsetDateTime, expiry: Duration) -> bool {
    now > sent_at + expiry
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::{generate, hash, is_valid};

    #[test]
    fn codes_are_digits_and_hashes_are_the_originals() {
        let code = generate(6);
        assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
        // printf 'a@b.co123456' | sha224sum
        assert_eq!(
            hash("a@b.co", "123456"),
            "4911e82389643aeb3ce581cfa27b1630931b88c0206a90fed98a99cf"
        );
    }

    #[test]
    fn a_code_ends_with_its_time() {
        let sent = OffsetDateTime::UNIX_EPOCH;
        let day = Duration::from_secs(86_400);
        let ok = |given: &str, stored: &str, after: i64| {
            let now = sent + time::Duration::seconds(after);
            is_valid(given, stored, Some(sent), now, day)
        };
        assert!(ok("abc", "abc", 86_400));
        assert!(!ok("abc", "abc", 86_401));
        assert!(ok("abc", "pkce_abc", 0) && ok("pkce_abc", "pkce_abc", 0));
        assert!(!ok("abd", "abc", 0) && !ok("", "", 0) && !ok("", "pkce_", 0));
        assert!(!is_valid("abc", "abc", None, sent, day));
    }
}
