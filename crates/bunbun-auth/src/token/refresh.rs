//! Refresh tokens. Each one's successor is computed from it with the project's secret, so that
//! whoever shows a token again can be given the session's current one although the database knows
//! only digests: the chain from the shown token is walked until its digest is the current one's.
//!
//! A reader of the database cannot compute a token from a digest; whoever has an old token cannot
//! compute its successors without the secret.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Marks a stored digest. The character `:` never occurs in a token, so that a digest from the
/// database is no token.
const DIGEST_PREFIX: &str = "sha256:";

/// How far a chain is followed: as often as a session may have been refreshed within the reuse
/// interval.
const MAX_STEPS: usize = 64;

/// The form in which a database keeps refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Digests, in databases that we made.
    Digest,
    /// As they are: the original, to which such a database may return, knows no other form.
    Clear,
}

/// Makes tokens and their successors.
#[derive(Clone)]
pub(crate) struct Chain {
    key: [u8; 32],
}

impl Chain {
    pub(crate) fn new(jwt_secret: &str) -> Self {
        Self {
            key: mac(jwt_secret.as_bytes(), b"bunbun refresh token chain"),
        }
    }

    /// The first token of a session: 144 random bits.
    pub(crate) fn first() -> String {
        BASE64_URL_SAFE_NO_PAD.encode(secret::random_bytes::<18>())
    }

    /// The token that replaces this one.
    pub(crate) fn next(&self, token: &str) -> String {
        let mac = mac(&self.key, token.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(&mac[..18])
    }

    /// The successor of a token whose stored form this is.
    pub(crate) fn find(&self, token: &str, stored: &str) -> Option<String> {
        if !stored.starts_with(DIGEST_PREFIX) {
            return Some(stored.to_owned());
        }
        let mut token = token.to_owned();
        for _ in 0..MAX_STEPS {
            token = self.next(&token);
            if digest(&token) == stored {
                return Some(token);
            }
        }
        None
    }
}

/// Whether a text could be a token, ours or the original's.
pub(crate) fn is_well_formed(token: &str) -> bool {
    (1..=255).contains(&token.len())
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// The stored form.
pub(crate) fn stored(token: &str, storage: Storage) -> String {
    match storage {
        Storage::Digest => digest(token),
        Storage::Clear => token.to_owned(),
    }
}

/// The stored form in databases that we made.
pub(crate) fn digest(token: &str) -> String {
    let digest = secret::digest(token.as_bytes());
    format!("{DIGEST_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(digest))
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::{Chain, Storage, digest, is_well_formed, stored};

    #[test]
    fn the_chain_leads_from_any_token_to_the_current_one() {
        let chain = Chain::new("a-secret-of-at-least-32-characters-x");
        let first = Chain::first();
        assert!(is_well_formed(&first) && first.len() == 24);
        let mut current = first.clone();
        for _ in 0..5 {
            current = chain.next(&current);
        }
        assert_eq!(chain.find(&first, &digest(&current)), Some(current.clone()));
        assert_eq!(chain.find(&current, &digest(&first)), None);
        let other = Chain::new("another-secret-of-32-characters-xxxx");
        assert_eq!(other.find(&first, &digest(&current)), None);
        assert_eq!(chain.find(&first, "clear"), Some("clear".to_owned()));
    }

    #[test]
    fn a_stored_digest_is_no_token() {
        let token = Chain::first();
        let digest = stored(&token, Storage::Digest);
        assert!(!is_well_formed(&digest));
        assert_eq!(stored(&token, Storage::Clear), token);
        for bad in ["", "a b", "a:b", "ä", &"a".repeat(256)] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
