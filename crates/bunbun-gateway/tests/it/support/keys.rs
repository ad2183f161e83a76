//! Credentials, made at run time.

use std::sync::Arc;

use bunbun_core::{
    clock::{Clock, SystemClock},
    id::ProjectRef,
    jwt::{self, Verifier},
    project::{KeyRole, OpaqueKey, Project, ProjectKeys},
    secret,
};
use serde_json::{Value, json};

/// The credentials of one project.
#[derive(Clone)]
pub(crate) struct Keys {
    /// What its tokens are signed with.
    pub(crate) secret: String,
    pub(crate) anon: String,
    pub(crate) service_role: String,
    /// Opaque keys, and the tokens that go upstream in their place.
    pub(crate) publishable: String,
    pub(crate) publishable_token: String,
    pub(crate) secret_key: String,
    pub(crate) secret_token: String,
}

impl Keys {
    pub(crate) fn generate() -> Self {
        let secret = secret::random_text(48);
        let now = SystemClock.unix_seconds();
        // Other tokens than the legacy keys, so that tests can tell them apart upstream.
        let asymmetric = |role: &str| {
            let claims = json!({ "role": role, "exp": now + 3600, "iss": "translated" });
            jwt::sign_hs256(&secret, &claims)
        };
        Self {
            anon: jwt::application_key(&secret, "anon", now),
            service_role: jwt::application_key(&secret, "service_role", now),
            publishable: format!("sb_publishable_{}", secret::random_text(24)),
            publishable_token: asymmetric("anon"),
            secret_key: format!("sb_secret_{}", secret::random_text(24)),
            secret_token: asymmetric("service_role"),
            secret,
        }
    }

    /// A token of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        jwt::sign_hs256(&self.secret, claims)
    }

    /// The claims of a user's token that is valid for an hour.
    pub(crate) fn user_claims(subject: &str) -> Value {
        let expires = SystemClock.unix_seconds() + 3600;
        json!({ "role": "authenticated", "aud": "authenticated", "sub": subject, "exp": expires })
    }

    /// A user's token that is valid for an hour.
    pub(crate) fn user(&self, subject: &str) -> String {
        self.sign(&Self::user_claims(subject))
    }

    /// The project with these credentials.
    pub(super) fn project(&self, reference: &str, jwks: Option<&str>) -> Arc<Project> {
        let mut verifier = Verifier::new(&self.secret);
        if let Some(jwks) = jwks {
            verifier = verifier.with_jwks(jwks).expect("a key set");
        }
        let opaque = |key: &str, role, token: &str| OpaqueKey {
            digest: secret::digest(key.as_bytes()),
            role,
            token: token.to_owned().into(),
        };
        Arc::new(Project {
            reference: reference.parse::<ProjectRef>().expect("a reference"),
            keys: ProjectKeys {
                anon: self.anon.clone().into(),
                service_role: self.service_role.clone().into(),
                opaque: vec![
                    opaque(&self.publishable, KeyRole::Anon, &self.publishable_token),
                    opaque(&self.secret_key, KeyRole::ServiceRole, &self.secret_token),
                ],
            },
            verifier,
        })
    }
}
