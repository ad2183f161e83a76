//! Any provider of OpenID Connect: discovery, the code flow, and id tokens, whose signature,
//! issuer, audience and times are checked (OpenID Connect Core 1.0 §3.1.3.7).

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::{clock::Clock, config::auth::ProviderConfig, secret};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    Address, Flow, Profile, Tokens,
    directory::{Directory, Discovery},
    fetch,
};
use crate::{
    error::{AuthError, Result},
    store::Object,
};

/// How far clocks may differ.
const LEEWAY_S: i64 = 60;
/// The longest id token.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A provider and what is known of it.
pub(super) struct Oidc {
    issuer: String,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    directory: Arc<Directory>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    id_token: String,
}

fn bad_token(cause: &'static str) -> AuthError {
    AuthError::oauth("invalid request", "Bad ID token").with_cause(cause)
}

impl Oidc {
    pub(super) fn new(issuer: &str, http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            directory: Arc::new(Directory::new(issuer, http.clone(), Arc::clone(&clock))),
            http,
            clock,
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) async fn authorize_url(&self) -> Result<Url> {
        Ok(self
            .directory
            .known(None)
            .await?
            .discovery
            .authorization_endpoint
            .clone())
    }

    /// Exchanges a code. The id token's nonce must be the flow's own.
    pub(super) async fn sign_in(
        &self,
        config: &ProviderConfig,
        flow: &Flow<'_>,
        code: &str,
    ) -> Result<(Profile, Tokens)> {
        let known = self.directory.known(None).await?;
        let tokens = self.exchange(&known.discovery, config, flow, code).await?;
        let mut claims = self
            .verify(config, &tokens.id_token, &tokens.access_token)
            .await?;
        let nonce = claims
            .get("nonce")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !secret::equal(nonce.as_bytes(), flow.nonce.as_bytes()) {
            return Err(bad_token("the nonce is of another flow"));
        }
        if !claims.contains_key("email")
            && let Some(endpoint) = &known.discovery.userinfo_endpoint
        {
            let request = self
                .http
                .get(endpoint.clone())
                .bearer_auth(&tokens.access_token);
            let more: Object = fetch::json(request, "userinfo").await?;
            // The userinfo is about the same person, or it is not used (§5.3.2).
            if more.get("sub") == claims.get("sub") {
                for (name, value) in more {
                    claims.entry(name).or_insert(value);
                }
            }
        }
        Ok((profile(&claims), tokens))
    }

    async fn exchange(
        &self,
        discovery: &Discovery,
        config: &ProviderConfig,
        flow: &Flow<'_>,
        code: &str,
    ) -> Result<Tokens> {
        let request = self.exchange_request(discovery, config, flow, code);
        let answer: TokenAnswer = fetch::json(request, "the provider's token").await?;
        Ok(Tokens {
            access_token: answer.access_token,
            refresh_token: answer.refresh_token,
            id_token: answer.id_token,
        })
    }

    fn exchange_request(
        &self,
        discovery: &Discovery,
        config: &ProviderConfig,
        flow: &Flow<'_>,
        code: &str,
    ) -> reqwest::RequestBuilder {
        let client_id = config.client_ids.first().map_or("", String::as_str);
        let client_secret = config.secret.expose_secret();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", flow.callback)
            .append_pair("code_verifier", flow.verifier);
        let methods = &discovery.token_endpoint_auth_methods_supported;
        let by_post =
            !methods.is_empty() && !methods.iter().any(|method| method == "client_secret_basic");
        let mut request = self
            .http
            .post(discovery.token_endpoint.clone())
            .header("content-type", "application/x-www-form-urlencoded");
        if by_post {
            form.append_pair("client_id", client_id)
                .append_pair("client_secret", client_secret);
        } else {
            // RFC 6749 §2.3.1: both parts are form-encoded first.
            let encode = |text: &str| -> String {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            request = request.basic_auth(encode(client_id), Some(encode(client_secret)));
        }
        request.body(form.finish())
    }

    /// The claims of an id token that is this provider's and for us.
    pub(super) async fn verify(
        &self,
        config: &ProviderConfig,
        token: &str,
        access_token: &str,
    ) -> Result<Object> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(bad_token("longer than 16 KiB"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| bad_token("no header"))?;
        let known = self.directory.known(header.kid.as_deref()).await?;
        let (key, algorithm) = key_for(&known.keys, header.kid.as_deref(), header.alg)
            .ok_or_else(|| bad_token("no such key"))?;
        let (message, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| bad_token("not three parts"))?;
        let is_signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm);
        if !matches!(is_signed, Ok(true)) {
            return Err(bad_token("wrong signature"));
        }
        let body = message.split('.').nth(1).unwrap_or_default();
        let claims: Object = BASE64_URL_SAFE_NO_PAD
            .decode(body)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| bad_token("unreadable claims"))?;
        self.check(config, &known.discovery, &claims)?;
        check_access_token(&claims, access_token, algorithm)?;
        Ok(claims)
    }

    fn check(&self, config: &ProviderConfig, discovery: &Discovery, claims: &Object) -> Result<()> {
        let issuer = claims
            .get("iss")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Google's tokens may leave the scheme out.
        let is_google =
            self.issuer == "https://accounts.google.com" && issuer == "accounts.google.com";
        if issuer != discovery.issuer && !is_google {
            return Err(bad_token("another issuer"));
        }
        let is_ours = |audience: &str| config.client_ids.iter().any(|id| id == audience);
        let (audiences, first) = match claims.get("aud") {
            Some(Value::String(audience)) => (1, is_ours(audience)),
            Some(Value::Array(list)) => {
                let ours = list.iter().filter_map(Value::as_str).any(is_ours);
                (list.len(), ours)
            }
            _ => (0, false),
        };
        if !first {
            return Err(AuthError::oauth(
                "invalid request",
                "Unacceptable audience in id_token",
            ));
        }
        let party = claims.get("azp").and_then(Value::as_str);
        if audiences > 1 && !party.is_some_and(is_ours) {
            return Err(bad_token("several audiences and another authorised party"));
        }
        let now = self.clock.unix_seconds();
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "dates are far below 2^53")]
        let (now, leeway) = (now as f64, LEEWAY_S as f64);
        if seconds("exp").is_none_or(|exp| exp + leeway <= now) {
            return Err(bad_token("expired"));
        }
        if ["iat", "nbf"]
            .iter()
            .any(|name| seconds(name).is_some_and(|at| at > now + leeway))
        {
            return Err(bad_token("not valid yet"));
        }
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if subject.is_empty() || subject.len() > 255 || subject.contains('\0') {
            return Err(AuthError::oauth(
                "invalid request",
                "Missing sub claim in id_token",
            ));
        }
        Ok(())
    }
}

/// The key and its algorithm, which the key decides: a token only says which of those it can do.
fn key_for(
    keys: &JwkSet,
    kid: Option<&str>,
    wanted: Algorithm,
) -> Option<(DecodingKey, Algorithm)> {
    let fits = |key: &&Jwk| match (&key.algorithm, wanted) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256,
        ) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => {
            curve.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES384) => {
            curve.curve == EllipticCurve::P384
        }
        (AlgorithmParameters::OctetKeyPair(_), Algorithm::EdDSA) => true,
        _ => false,
    };
    let mut candidates = keys.keys.iter().filter(fits);
    let key = match kid {
        Some(kid) => candidates.find(|key| key.common.key_id.as_deref() == Some(kid)),
        None => candidates.next().filter(|_| candidates.next().is_none()),
    }?;
    Some((DecodingKey::from_jwk(key).ok()?, wanted))
}

/// An access token that comes along must be the one that the id token speaks of (§3.1.3.8).
fn check_access_token(claims: &Object, access_token: &str, algorithm: Algorithm) -> Result<()> {
    let Some(hash) = claims.get("at_hash").and_then(Value::as_str) else {
        return Ok(());
    };
    let is_256 = matches!(
        algorithm,
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256
    );
    if access_token.is_empty() || !is_256 {
        return Ok(());
    }
    let digest = secret::digest(access_token.as_bytes());
    if BASE64_URL_SAFE_NO_PAD.encode(&digest[..16]) == hash {
        Ok(())
    } else {
        Err(bad_token("the access token is another one"))
    }
}

/// Who someone is by the claims of an id token.
pub(super) fn profile(claims: &Object) -> Profile {
    const KEPT: [&str; 14] = [
        "iss",
        "name",
        "family_name",
        "given_name",
        "middle_name",
        "nickname",
        "preferred_username",
        "profile",
        "picture",
        "website",
        "locale",
        "zoneinfo",
        "gender",
        "birthdate",
    ];
    let mut data = Object::new();
    for name in KEPT {
        if let Some(value) = claims.get(name).filter(|value| value.is_string()) {
            data.insert(name.to_owned(), value.clone());
        }
    }
    for (name, source) in [("full_name", "name"), ("avatar_url", "picture")] {
        if let Some(value) = data.get(source).cloned() {
            data.insert(name.to_owned(), value);
        }
    }
    if let Some(domain) = claims.get("hd").filter(|value| value.is_string()) {
        data.insert(
            "custom_claims".to_owned(),
            serde_json::json!({ "hd": domain }),
        );
    }
    let is_verified = match claims.get("email_verified") {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text == "true",
        _ => false,
    };
    let addresses = claims
        .get("email")
        .and_then(Value::as_str)
        .and_then(|email| Address::read(email, is_verified, true));
    let subject = claims
        .get("sub")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Profile::new(subject.to_owned(), addresses.into_iter().collect(), data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::profile;

    #[test]
    fn a_profile_keeps_what_is_known_and_nothing_else() {
        let claims = json!({
            "iss": "https://i.example", "sub": "1", "email": "A@B.co", "email_verified": "true",
            "name": "Ann", "picture": "https://p", "at_hash": "x", "roles": ["admin"], "hd": "b.co",
        });
        let profile = profile(claims.as_object().unwrap());
        assert_eq!(
            serde_json::Value::Object(profile.identity_data()),
            json!({
                "iss": "https://i.example", "name": "Ann", "picture": "https://p",
                "full_name": "Ann", "avatar_url": "https://p", "custom_claims": { "hd": "b.co" },
                "sub": "1", "provider_id": "1", "phone_verified": false, "email": "a@b.co",
                "email_verified": true,
            })
        );
    }
}
