//! Passwords: how strong they must be, and the forms in which their hashes are stored.
//!
//! bcrypt of cost 10 is written. Also verified is what migrations from elsewhere bring: bcrypt of
//! other costs, Argon2i and Argon2id (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`) and Firebase's scrypt
//! (`$fbscrypt$v=1,n=14,r=8,p=1,ss=…,sk=…$salt$hash`).

mod argon;
mod firebase;
pub(crate) mod pool;

use std::fmt;

use crate::error::{AuthError, Result};

/// bcrypt looks at no more.
pub(crate) const MAX_BYTES: usize = 72;

/// The cost of bcrypt that is written.
const COST: u32 = 10;

/// bcrypt of higher costs takes minutes; nobody gets to make us compute it.
const MAX_COST: u32 = 15;

/// What a password must be.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) min_length: usize,
    pub(crate) required_characters: Vec<String>,
}

impl Rules {
    /// Whether a new password is good enough.
    ///
    /// # Errors
    /// 400 `validation_failed` where it is too long, 422 `weak_password` with every reason.
    pub(crate) fn check(&self, password: &str) -> Result<()> {
        if password.len() > MAX_BYTES {
            return Err(AuthError::invalid(
                "Password cannot be longer than 72 characters",
            ));
        }
        let mut messages = Vec::new();
        let mut reasons = Vec::new();
        if password.len() < self.min_length {
            reasons.push("length");
            messages.push(format!(
                "Password should be at least {} characters.",
                self.min_length
            ));
        }
        let lacks = |set: &String| !password.contains(|c| set.contains(c));
        if self.required_characters.iter().any(lacks) {
            reasons.push("characters");
            messages.push(format!(
                "Password should contain at least one character of each: {}.",
                self.required_characters.join(", ")
            ));
        }
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(AuthError::weak_password(messages.join(" "), reasons))
        }
    }
}

/// A stored hash whose form is known.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash(String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    /// Takes a hash that someone brings along.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let known = text.len() <= 255
            && (bcrypt_cost(text).is_some()
                || argon::is_well_formed(text)
                || firebase::is_well_formed(text));
        known.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes a password: tens of milliseconds of one core.
    fn new(password: &str) -> Option<Self> {
        bcrypt::hash(password, COST).ok().map(Self)
    }

    /// Compares, in a time that does not depend on where they differ.
    fn verify(&self, password: &str) -> bool {
        if self.0.starts_with("$argon2") {
            argon::verify(&self.0, password)
        } else if self.0.starts_with("$fbscrypt$") {
            firebase::verify(&self.0, password)
        } else {
            // bcrypt ignores what comes after 72 bytes; a longer password was never accepted.
            password.len() <= MAX_BYTES
                && bcrypt_cost(&self.0).is_some_and(|cost| cost <= MAX_COST)
                && bcrypt::verify(password, &self.0).unwrap_or(false)
        }
    }
}

/// The cost of a bcrypt hash, where it is one.
fn bcrypt_cost(text: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$", "$2x$"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let (cost, rest) = rest.split_once('$')?;
    let cost: u32 = cost.parse().ok().filter(|cost| (4..=31).contains(cost))?;
    (rest.len() == 53).then_some(cost)
}

/// A hash that no password has: what an unknown address is compared with, so that it costs the
/// same work as a known one.
pub(crate) fn decoy() -> Hash {
    // The salt and hash of no password; the cost is what counts.
    Hash(format!(
        "$2a${COST:02}$CwTycUXWue0Thq9StjUM0uJ8Xg6b1uHkE9d4M1qg4p5w5b3vW8rZy"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Hash, Rules, bcrypt_cost, decoy};

    fn rules() -> Rules {
        Rules {
            min_length: 6,
            required_characters: vec!["abc".to_owned(), "0123456789".to_owned()],
        }
    }

    #[test]
    fn every_reason_is_told() {
        assert!(rules().check("abcd12").is_ok());
        assert_eq!(
            rules().check("z").unwrap_err().reasons(),
            ["length", "characters"]
        );
        assert_eq!(
            rules().check("zzzzzz").unwrap_err().reasons(),
            ["characters"]
        );
        assert!(
            rules()
                .check(&"a1".repeat(37))
                .unwrap_err()
                .reasons()
                .is_empty()
        );
    }

    #[test]
    fn what_is_written_is_verified() {
        let hash = Hash::new("correct horse").unwrap();
        assert_eq!(bcrypt_cost(hash.as_str()), Some(10));
        assert!(hash.verify("correct horse"));
        assert!(!hash.verify("correct horsf"));
        assert!(!hash.verify(""));
    }

    #[test]
    fn hashes_of_other_programs_are_verified() {
        // php's password_hash and Go's bcrypt, cost 4.
        for hash in [
            bcrypt::hash("secret", 4).unwrap(),
            bcrypt::hash("secret", 4).unwrap().replace("$2b$", "$2y$"),
            bcrypt::hash("secret", 4).unwrap().replace("$2b$", "$2a$"),
        ] {
            let hash = Hash::parse(&hash).unwrap();
            assert!(hash.verify("secret"), "{}", hash.as_str());
            assert!(!hash.verify("Secret"));
        }
    }

    #[test]
    fn the_decoy_costs_as_much_and_fits_nothing() {
        assert_eq!(bcrypt_cost(decoy().as_str()), Some(10));
        assert!(Hash::parse(decoy().as_str()).is_some());
        // It must go through the whole computation, not fail at its form.
        assert!(bcrypt::verify("x", decoy().as_str()).is_ok());
        assert!(!decoy().verify(""));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for bad in [
            "",
            "plain",
            "$2a$10$short",
            "$2a$99$",
            "$argon2id$",
            "$fbscrypt$",
            "$1$x$y",
        ] {
            assert!(Hash::parse(bad).is_none(), "{bad}");
        }
    }
}
