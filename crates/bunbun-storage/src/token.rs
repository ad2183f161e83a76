//! Tokens of signed URLs: a JWT (HS256, the project's secret) that names one object and what may
//! be done with it until when. They carry no role, so they are no credential elsewhere, and a
//! user's token carries no `url`, so it is none here.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::{jwt, secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::error::{Code, Result, StorageError};

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a signed URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    /// To read the object.
    Download,
    /// To write it.
    Upload,
}

/// The claims of a signed URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SignedUrl {
    /// `bucket/name`.
    pub url: String,
    /// What it allows. Tokens of older versions have none; `upsert` tells them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How the image is rendered, as `width:100,height:50,resize:cover,quality:80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transformations: Option<String>,
    /// `origin`, `webp` or `avif`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Who the uploaded object belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whether an upload may replace an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upsert: Option<bool>,
    /// When it was issued, in seconds since the Unix epoch.
    #[serde(default)]
    pub iat: i64,
    /// When it ends.
    pub exp: i64,
}

impl SignedUrl {
    /// A token for reading.
    #[must_use]
    pub(crate) fn download(bucket: &str, name: &str, issued_at: i64, seconds: i64) -> Self {
        Self {
            url: format!("{bucket}/{name}"),
            scope: Some(Scope::Download),
            transformations: None,
            format: None,
            owner: None,
            upsert: None,
            iat: issued_at,
            exp: issued_at.saturating_add(seconds),
        }
    }

    /// A token for writing.
    #[must_use]
    pub(crate) fn upload(
        bucket: &str,
        name: &str,
        owner: Option<String>,
        upsert: bool,
        issued_at: i64,
        seconds: i64,
    ) -> Self {
        Self {
            scope: Some(Scope::Upload),
            owner,
            upsert: Some(upsert),
            ..Self::download(bucket, name, issued_at, seconds)
        }
    }

    /// The token.
    #[must_use]
    pub(crate) fn sign(&self, secret: &SecretString) -> String {
        jwt::sign_hs256(secret.expose_secret(), self)
    }

    /// Reads a token that must allow this with this object now.
    ///
    /// # Errors
    /// `InvalidJWT` where it is no valid token, `InvalidSignature` where it is another object's or
    /// allows something else.
    pub(crate) fn verify(
        token: &str,
        secret: &SecretString,
        now: i64,
        scope: Scope,
        bucket: &str,
        name: &str,
    ) -> Result<Self> {
        let claims = read(token, secret)?;
        if claims.exp <= now {
            return Err(StorageError::invalid_jwt(
                "\"exp\" claim timestamp check failed",
            ));
        }
        let own = claims.scope.unwrap_or(match claims.upsert {
            Some(_) => Scope::Upload,
            None => Scope::Download,
        });
        let object = claims
            .url
            .strip_prefix(bucket)
            .and_then(|rest| rest.strip_prefix('/'));
        if own != scope || object != Some(name) {
            return Err(StorageError::invalid_signature());
        }
        Ok(claims)
    }
}

fn read(token: &str, key: &SecretString) -> Result<SignedUrl> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    let malformed = || StorageError::invalid_jwt("Invalid Compact JWS");
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed());
    }
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, claims) = message.split_once('.').ok_or_else(malformed)?;
    let decode = |part| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    if header.alg != "HS256" {
        return Err(StorageError::invalid_jwt(
            "\"alg\" (Algorithm) Header Parameter value not allowed",
        ));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .map_err(|error| StorageError::internal(error.to_string()))?;
    mac.update(message.as_bytes());
    if !secret::equal(&mac.finalize().into_bytes(), &decode(signature)?) {
        return Err(StorageError::invalid_jwt("signature verification failed"));
    }
    // A valid signature over other claims: a user's token, for example.
    serde_json::from_slice(&decode(claims)?)
        .map_err(|_| StorageError::new(Code::InvalidSignature, 400, "Invalid signature"))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::{Scope, SignedUrl};
    use crate::error::Code;

    fn secret() -> SecretString {
        "a-secret-of-a-test-0123456789-0123456789".to_owned().into()
    }

    fn verify(token: &str, scope: Scope, name: &str, now: i64) -> Result<SignedUrl, Code> {
        SignedUrl::verify(token, &secret(), now, scope, "b", name).map_err(|e| e.code())
    }

    #[test]
    fn a_token_allows_one_thing_with_one_object_for_its_time() {
        let token = SignedUrl::download("b", "folder/ü.png", 100, 60).sign(&secret());
        assert!(verify(&token, Scope::Download, "folder/ü.png", 159).is_ok());
        assert_eq!(
            verify(&token, Scope::Download, "folder/ü.png", 160).unwrap_err(),
            Code::InvalidJwt
        );
        assert_eq!(
            verify(&token, Scope::Download, "folder/u.png", 101).unwrap_err(),
            Code::InvalidSignature
        );
        assert_eq!(
            verify(&token, Scope::Upload, "folder/ü.png", 101).unwrap_err(),
            Code::InvalidSignature
        );
        let other = "another-secret-of-a-test-0123456789-0123".to_owned().into();
        assert!(
            SignedUrl::verify(&token, &other, 101, Scope::Download, "b", "folder/ü.png").is_err()
        );
    }

    #[test]
    fn a_bucket_and_name_cannot_be_shifted_against_each_other() {
        let token = SignedUrl::download("b", "c/d", 0, 60).sign(&secret());
        let shifted = SignedUrl::verify(&token, &secret(), 1, Scope::Download, "b/c", "d");
        // The same text is the same object only with the same bucket; bucket names have no slash.
        assert!(shifted.is_ok() && crate::names::bucket("b/c").is_err());
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = SignedUrl::upload("b", "n", None, true, 0, 60).sign(&secret());
        assert!(verify(&token, Scope::Upload, "n", 1).is_ok());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of a part has bits that mean nothing.
            let refused = verify(&changed, Scope::Upload, "n", 1).is_err();
            assert!(refused || at == token.len() - 1, "{at}");
        }
        let (head, rest) = token.split_once('.').unwrap();
        let none = format!("eyJhbGciOiJub25lIn0.{rest}");
        assert!(verify(&none, Scope::Upload, "n", 1).is_err(), "{head}");
        for bad in ["", "a", "a.b", "a.b.c", "..", "a.b.c.d"] {
            assert_eq!(
                verify(bad, Scope::Upload, "n", 1).unwrap_err(),
                Code::InvalidJwt
            );
        }
    }

    #[test]
    fn tokens_of_older_versions_are_told_apart_by_their_claims() {
        let old = |json: serde_json::Value| {
            let secret = secret();
            bunbun_core::jwt::sign_hs256(secrecy::ExposeSecret::expose_secret(&secret), &json)
        };
        let download = old(serde_json::json!({"url": "b/n", "iat": 0, "exp": 60}));
        let upload = old(serde_json::json!({"url": "b/n", "upsert": false, "exp": 60}));
        assert!(verify(&download, Scope::Download, "n", 1).is_ok());
        assert!(verify(&download, Scope::Upload, "n", 1).is_err());
        assert!(verify(&upload, Scope::Upload, "n", 1).is_ok());
        assert!(verify(&upload, Scope::Download, "n", 1).is_err());
        let user = old(serde_json::json!({"role": "service_role", "exp": 60}));
        assert_eq!(
            verify(&user, Scope::Download, "n", 1).unwrap_err(),
            Code::InvalidSignature
        );
    }
}
