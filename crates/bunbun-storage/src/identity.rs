//! Who asks. Storage verifies tokens itself: its routes are open at the gateway, because signed
//! and public URLs carry none.

use std::sync::Arc;

use bunbun_core::{
    jwt::{Claims, InvalidToken},
    project::Project,
};
use bunbun_http::identity::APIKEY;
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Result, StorageError};

/// Who asks, as the database sees it.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The database role.
    pub role: String,
    /// The token's claims, JSON.
    pub claims: String,
    /// The user's id.
    pub subject: Option<String>,
    /// The token itself, for the older setting `request.jwt`.
    token: Arc<SecretString>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Nobody: the role `anon`.
    #[must_use]
    pub(crate) fn anonymous() -> Self {
        Self::of_role(Claims::ANON)
    }

    /// The service itself, beyond row-level security.
    #[must_use]
    pub(crate) fn service() -> Self {
        Self::of_role(Claims::SERVICE_ROLE)
    }

    fn of_role(role: &str) -> Self {
        Self {
            role: role.to_owned(),
            claims: format!("{{\"role\":\"{role}\"}}"),
            subject: None,
            token: Arc::new(String::new().into()),
        }
    }

    /// The bearer of a token.
    ///
    /// # Errors
    /// `AccessDenied`, in the words that clients of the original know.
    pub(crate) fn of_token(project: &Project, token: &str) -> Result<Self> {
        let translated = token
            .starts_with(Project::OPAQUE_PREFIX)
            .then(|| {
                project
                    .identify_key(token)
                    .and_then(|key| key.translated.cloned())
            })
            .flatten();
        let token = translated
            .as_ref()
            .map_or(token, |token| token.expose_secret());
        let claims = project
            .verifier
            .verify(token)
            .map_err(|error| denied(&error))?;
        let text = serde_json::to_string(&claims.all).map_err(StorageError::internal)?;
        Ok(Self {
            role: claims.role.clone(),
            claims: text,
            subject: claims.subject.clone(),
            token: Arc::new(token.to_owned().into()),
        })
    }

    /// Who sends these headers; `None` without a credential.
    ///
    /// # Errors
    /// `AccessDenied` where there is one and it is not valid.
    pub(crate) fn of_headers(project: &Project, headers: &HeaderMap) -> Result<Option<Self>> {
        let text = |name| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default().trim())
        };
        let Some(value) = text(AUTHORIZATION).or_else(|| text(APIKEY)) else {
            return Ok(None);
        };
        let token = match value.split_once(char::is_whitespace) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
            _ => value,
        };
        if token.is_empty() || token.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        Self::of_token(project, token).map(Some)
    }

    /// Whether row-level security does not bind them.
    #[must_use]
    pub(crate) fn is_service(&self) -> bool {
        self.role == Claims::SERVICE_ROLE
    }

    /// The token, or nothing.
    #[must_use]
    pub(crate) fn token(&self) -> &str {
        self.token.expose_secret()
    }
}

fn denied(error: &InvalidToken) -> StorageError {
    let message = match error.0 {
        "expired" => "\"exp\" claim timestamp check failed",
        "not valid yet" => "\"nbf\" claim timestamp check failed",
        "wrong signature" | "no such key" => "signature verification failed",
        "algorithm not allowed" => "\"alg\" (Algorithm) Header Parameter value not allowed",
        "wrong audience" => "unexpected \"aud\" claim value",
        "no role" => "missing required \"role\" claim",
        "exp is not a number" => "missing required \"exp\" claim",
        _ => "Invalid Compact JWS",
    };
    StorageError::access_denied(message).because(*error)
}
