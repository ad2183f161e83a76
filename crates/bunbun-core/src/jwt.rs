//! JSON Web Tokens: one algorithm per key, every claim that decides is checked (RFC 7519, RFC 8725).

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{AlgorithmParameters, JwkSet},
};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    clock::{Clock, SystemClock},
    secret,
};

/// The longest token that is looked at; longer ones are refused before any cryptography.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far clocks may differ.
const LEEWAY_SECONDS: i64 = 60;
/// How many verified tokens are remembered.
const CACHED_TOKENS: u64 = 10_000;
/// The audience of a project's user tokens.
const AUDIENCE: &str = "authenticated";

/// What a verified token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// The database role: `anon`, `authenticated`, `service_role` or one of the user's own.
    pub role: String,
    /// The user's id, in user tokens.
    pub subject: Option<String>,
    /// Expiry, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// All claims as they stand in the token.
    pub all: Map<String, Value>,
}

impl Claims {
    /// The role of the project's owner.
    pub const SERVICE_ROLE: &str = "service_role";
    /// The role of an operator, as the original's auth service knows it.
    pub const SUPABASE_ADMIN: &str = "supabase_admin";
    /// The role of a caller without an account.
    pub const ANON: &str = "anon";

    /// Whether the token is the project owner's.
    #[must_use]
    pub fn is_service_role(&self) -> bool {
        self.role == Self::SERVICE_ROLE
    }

    /// Scopes from `scope` (space separated) or `scopes` (an array).
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        match (self.all.get("scope"), self.all.get("scopes")) {
            (Some(Value::String(text)), _) => text.split_ascii_whitespace().collect(),
            (_, Some(Value::Array(list))) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// The token is not valid here. Why is for the log, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid token: {0}")]
pub struct InvalidToken(pub &'static str);

/// The key material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no JSON Web Key Set.
    #[error("not a JSON Web Key Set")]
    Malformed(#[source] serde_json::Error),
    /// A key of the set has no use here.
    #[error("key {0} of the set cannot verify ES256 or RS256")]
    Unsupported(usize),
}

struct PublicKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Verifies the tokens of one project.
pub struct Verifier {
    shared: DecodingKey,
    public: Vec<PublicKey>,
    clock: Arc<dyn Clock>,
    verified: Cache<[u8; 32], Arc<Claims>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("public_keys", &self.public.len())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Verifier {
    /// Verifies HS256 with the project's secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self {
            shared: DecodingKey::from_secret(secret.as_bytes()),
            public: Vec::new(),
            clock: Arc::new(SystemClock),
            verified: Cache::new(CACHED_TOKENS),
        }
    }

    /// Also verifies ES256 and RS256 with the public keys of a JSON Web Key Set. Symmetric keys
    /// in the set are passed over: the shared secret is configured apart.
    ///
    /// # Errors
    /// When the text is no key set or one of its keys is of another algorithm.
    pub fn with_jwks(mut self, jwks: &str) -> Result<Self, KeyError> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(KeyError::Malformed)?;
        for (index, jwk) in set.keys.iter().enumerate() {
            let algorithm = match &jwk.algorithm {
                AlgorithmParameters::OctetKey(_) => continue,
                AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
                AlgorithmParameters::RSA(_) => Algorithm::RS256,
                _ => return Err(KeyError::Unsupported(index)),
            };
            let key = DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Unsupported(index))?;
            self.public.push(PublicKey {
                kid: jwk.common.key_id.clone(),
                algorithm,
                key,
            });
        }
        Ok(self)
    }

    /// Uses another clock; for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks signature, `exp`, `nbf`, `aud` and `role`.
    ///
    /// # Errors
    /// [`InvalidToken`] with the reason for the log.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken("longer than allowed"));
        }
        let digest = secret::digest(token.as_bytes());
        if let Some(claims) = self.verified.get(&digest) {
            self.check_times(&claims)?;
            return Ok(claims);
        }
        let all = self.check_signature(token)?;
        let claims = Arc::new(read_claims(all)?);
        self.check_times(&claims)?;
        self.verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    fn check_signature(&self, token: &str) -> Result<Map<String, Value>, InvalidToken> {
        let mut parts = token.split('.');
        let (Some(head), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken("not three parts"));
        };
        let header: RawHeader = decode(head).ok_or(InvalidToken("unreadable header"))?;
        if header.crit.is_some() {
            return Err(InvalidToken("critical header extension"));
        }
        let message = &token.as_bytes()[..head.len() + 1 + body.len()];
        let (key, algorithm) = self.key_for(&header)?;
        match jsonwebtoken::crypto::verify(signature, message, key, algorithm) {
            Ok(true) => decode(body).ok_or(InvalidToken("unreadable claims")),
            _ => Err(InvalidToken("wrong signature")),
        }
    }

    /// The algorithm belongs to the key, never to the token: a token only names which key.
    fn key_for(&self, header: &RawHeader) -> Result<(&DecodingKey, Algorithm), InvalidToken> {
        let algorithm = match header.alg.as_str() {
            "HS256" => return Ok((&self.shared, Algorithm::HS256)),
            "ES256" => Algorithm::ES256,
            "RS256" => Algorithm::RS256,
            _ => return Err(InvalidToken("algorithm not allowed")),
        };
        let mut keys = self.public.iter().filter(|key| key.algorithm == algorithm);
        let found = match &header.kid {
            Some(kid) => keys.find(|key| key.kid.as_ref() == Some(kid)),
            None => keys.next().filter(|_| keys.next().is_none()),
        };
        found
            .map(|key| (&key.key, algorithm))
            .ok_or(InvalidToken("no such key"))
    }

    fn check_times(&self, claims: &Claims) -> Result<(), InvalidToken> {
        let now = self.clock.unix_seconds();
        if claims.expires_at.saturating_add(LEEWAY_SECONDS) <= now {
            return Err(InvalidToken("expired"));
        }
        match claims.all.get("nbf") {
            None => Ok(()),
            Some(value) => match seconds(value) {
                Some(not_before) if not_before <= now.saturating_add(LEEWAY_SECONDS) => Ok(()),
                Some(_) => Err(InvalidToken("not valid yet")),
                None => Err(InvalidToken("nbf is not a number")),
            },
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn seconds(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a date beyond i64 saturates"
    )]
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

fn read_claims(all: Map<String, Value>) -> Result<Claims, InvalidToken> {
    let role = match all.get("role") {
        // 63 bytes is PostgreSQL's longest role name.
        Some(Value::String(role)) if (1..=63).contains(&role.len()) => role.clone(),
        _ => return Err(InvalidToken("no role")),
    };
    let expires_at = all
        .get("exp")
        .and_then(seconds)
        .ok_or(InvalidToken("exp is not a number"))?;
    let for_us = match all.get("aud") {
        // The keys of an application have no audience; a user's token always has one.
        None => {
            role == Claims::ANON || role == Claims::SERVICE_ROLE || role == Claims::SUPABASE_ADMIN
        }
        Some(Value::String(audience)) => audience == AUDIENCE,
        Some(Value::Array(list)) => list.iter().any(|audience| audience == AUDIENCE),
        Some(_) => false,
    };
    if !for_us {
        return Err(InvalidToken("wrong audience"));
    }
    let subject = all.get("sub").and_then(Value::as_str).map(str::to_owned);
    Ok(Claims {
        role,
        subject,
        expires_at,
        all,
    })
}

/// Signs claims with HS256.
///
/// # Panics
/// Never in practice: claims are serialisable by their type.
#[must_use]
pub fn sign_hs256(secret: &str, claims: &impl Serialize) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .expect("HS256 over serialisable claims cannot fail")
}

/// An application's key: a long-lived HS256 token of a role, as the original stack issues it.
#[must_use]
pub fn application_key(secret: &str, role: &str, issued_at: i64) -> String {
    const TEN_YEARS: i64 = 10 * 365 * 24 * 3600;
    let claims = serde_json::json!({
        "role": role, "iss": "bunbun", "iat": issued_at, "exp": issued_at + TEN_YEARS,
    });
    sign_hs256(secret, &claims)
}

#[cfg(test)]
mod tests;
