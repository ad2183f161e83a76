//! Proof Key for Code Exchange (RFC 7636).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::secret;

use crate::error::{AuthError, Code, Result};

/// A challenge as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) challenge: String,
    /// `s256` or `plain`, as the database's enum has it.
    pub(crate) method: &'static str,
}

impl Challenge {
    /// Checks what a request carries; nothing means the implicit flow.
    ///
    /// # Errors
    /// 400 `validation_failed`, in the original's words.
    pub(crate) fn read(challenge: &str, method: &str) -> Result<Option<Self>> {
        if challenge.is_empty() != method.is_empty() {
            return Err(AuthError::invalid(
                "PKCE flow requires code_challenge_method and code_challenge",
            ));
        }
        if challenge.is_empty() {
            return Ok(None);
        }
        if !(43..=128).contains(&challenge.len()) {
            return Err(AuthError::invalid(
                "code challenge has to be between 43 and 128 characters",
            ));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if !challenge.bytes().all(allowed) {
            return Err(AuthError::invalid(
                "code challenge can only contain alphanumeric characters, hyphens, periods, underscores and tildes",
            ));
        }
        let method = match method.to_ascii_lowercase().as_str() {
            "s256" => "s256",
            "plain" => "plain",
            _ => return Err(AuthError::invalid("unsupported code_challenge method")),
        };
        Ok(Some(Self {
            challenge: challenge.to_owned(),
            method,
        }))
    }
}

/// Whether a verifier belongs to a stored challenge.
///
/// # Errors
/// 400 `bad_code_verifier`.
pub(crate) fn verify(challenge: &str, method: &str, verifier: &str) -> Result<()> {
    let expected = match method {
        "s256" => BASE64_URL_SAFE_NO_PAD.encode(secret::digest(verifier.as_bytes())),
        "plain" => verifier.to_owned(),
        _ => {
            return Err(AuthError::bad_request(
                Code::BadCodeVerifier,
                "code challenge method not supported",
            ));
        }
    };
    if secret::equal(expected.as_bytes(), challenge.as_bytes()) {
        Ok(())
    } else {
        Err(AuthError::bad_request(
            Code::BadCodeVerifier,
            "code challenge does not match previously saved code verifier",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Challenge, verify};

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let (verifier, challenge) = (
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        );
        let read = Challenge::read(challenge, "S256").unwrap().unwrap();
        assert!(verify(&read.challenge, read.method, verifier).is_ok());
        assert!(verify(&read.challenge, read.method, challenge).is_err());
        assert!(verify(challenge, "plain", challenge).is_ok());
        assert!(verify(challenge, "none", challenge).is_err());
    }

    #[test]
    fn half_a_challenge_is_none() {
        assert_eq!(Challenge::read("", "").unwrap(), None);
        let long = "a".repeat(43);
        for (challenge, method) in [
            (long.as_str(), ""),
            ("", "s256"),
            ("short", "s256"),
            (long.as_str(), "md5"),
            (&"ä".repeat(43), "plain"),
        ] {
            assert!(
                Challenge::read(challenge, method).is_err(),
                "{challenge} {method}"
            );
        }
    }
}
