//! The state that travels through a provider and back: a signed token that no other endpoint
//! accepts, because its key is derived for this purpose alone. Nonce and PKCE verifier of the leg
//! to the provider are derived from it, so that nothing need be stored.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

/// How long a browser may be away.
const EXPIRY_S: i64 = 300;
/// The longest state that is looked at.
const MAX_BYTES: usize = 6_000;

/// What we want to know when the browser is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Names the flow; never shown to the provider by itself.
    pub(crate) id: String,
    pub(crate) provider: String,
    /// Where the browser goes then.
    pub(crate) referrer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flow_state_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) linking_target_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) invite_token: String,
    pub(crate) expires_at: i64,
}

impl State {
    /// A state for a provider and a place to return to.
    pub(crate) fn new(provider: &str, referrer: &str, now: i64) -> Self {
        Self {
            id: BASE64_URL_SAFE_NO_PAD.encode(secret::random_bytes::<16>()),
            provider: provider.to_owned(),
            referrer: referrer.to_owned(),
            flow_state_id: None,
            linking_target_id: None,
            invite_token: String::new(),
            expires_at: now + EXPIRY_S,
        }
    }

    /// Signs it.
    pub(crate) fn seal(&self, jwt_secret: &str) -> String {
        let body = serde_json::to_vec(self).expect("a state has only texts and numbers");
        let body = BASE64_URL_SAFE_NO_PAD.encode(body);
        let mac = mac(jwt_secret, "oauth state", body.as_bytes());
        format!("{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// Reads a state that we signed and that is still valid.
    pub(crate) fn open(text: &str, jwt_secret: &str, now: i64) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (body, signature) = text.split_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let expected = mac(jwt_secret, "oauth state", body.as_bytes());
        if !secret::equal(&signature, &expected) {
            return None;
        }
        let state: Self =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        (now <= state.expires_at).then_some(state)
    }

    /// The nonce that the provider puts into its id token.
    pub(crate) fn nonce(&self, jwt_secret: &str) -> String {
        let mac = mac(jwt_secret, "oauth nonce", self.id.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac)
    }

    /// The verifier that we show the provider when we exchange its code.
    pub(crate) fn verifier(&self, jwt_secret: &str) -> String {
        let mac = mac(jwt_secret, "oauth verifier", self.id.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac)
    }
}

/// The challenge of a verifier.
pub(super) fn s256(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(secret::digest(verifier.as_bytes()))
}

fn mac(jwt_secret: &str, purpose: &str, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(jwt_secret.as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(b"bunbun ");
    mac.update(purpose.as_bytes());
    mac.update(b"\0");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::State;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_our_own_unexpired_states_open() {
        let state = State::new("github", "https://app.example", 1_000);
        let sealed = state.seal(SECRET);
        assert_eq!(State::open(&sealed, SECRET, 1_300), Some(state.clone()));
        assert_eq!(State::open(&sealed, SECRET, 1_301), None);
        assert_eq!(State::open(&sealed, "another", 1_000), None);
        let mut tampered = sealed.clone().into_bytes();
        tampered[3] ^= 1;
        assert_eq!(
            State::open(&String::from_utf8_lossy(&tampered), SECRET, 1_000),
            None
        );
        for bad in ["", ".", "a.b", "eyJhbGciOiJIUzI1NiJ9.e30.x"] {
            assert_eq!(State::open(bad, SECRET, 1_000), None);
        }
        assert_ne!(state.nonce(SECRET), state.verifier(SECRET));
        assert_ne!(
            state.nonce(SECRET),
            State::new("github", "x", 1).nonce(SECRET)
        );
    }
}
