//! What the edge and the services need to know of a project: its reference and its credentials.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    id::ProjectRef,
    jwt::{Claims, Verifier},
    secret,
};

/// Finds projects. Answers from memory: it stands on the path of every request.
pub trait ProjectResolver: Send + Sync + 'static {
    /// The project of this reference.
    fn find(&self, reference: &str) -> Option<Arc<Project>>;

    /// The project that a request without a reference means.
    fn default_project(&self) -> Arc<Project>;
}

/// One project as the edge sees it.
#[derive(Debug)]
pub struct Project {
    /// Its public reference.
    pub reference: ProjectRef,
    /// The keys of its applications.
    pub keys: ProjectKeys,
    /// Verifies the tokens of its users and owner.
    pub verifier: Verifier,
}

/// The role that an application's key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// `anon`: what anyone may do; the group `anon` of the original gateways.
    Anon,
    /// `service_role`: everything; the group `admin` of the original gateways.
    ServiceRole,
}

impl KeyRole {
    /// The database role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anon => Claims::ANON,
            Self::ServiceRole => Claims::SERVICE_ROLE,
        }
    }
}

/// An opaque key (`sb_publishable_…`, `sb_secret_…`): only its digest is kept.
pub struct OpaqueKey {
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// What it may do.
    pub role: KeyRole,
    /// The token that goes upstream in its place.
    pub token: SecretString,
}

/// The keys of a project's applications.
pub struct ProjectKeys {
    /// The `anon` key.
    pub anon: SecretString,
    /// The `service_role` key.
    pub service_role: SecretString,
    /// Opaque keys and what they stand for.
    pub opaque: Vec<OpaqueKey>,
}

impl fmt::Debug for ProjectKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectKeys")
            .field("opaque", &self.opaque.len())
            .finish_non_exhaustive()
    }
}

/// What an `apikey` turned out to be.
#[derive(Clone, Copy)]
pub struct IdentifiedKey<'p> {
    /// What it may do.
    pub role: KeyRole,
    /// The token that stands for an opaque key; `None` where the key is a token itself.
    pub translated: Option<&'p SecretString>,
}

impl Project {
    /// Prefix of every opaque key.
    pub const OPAQUE_PREFIX: &str = "sb_";

    /// Identifies the value of an `apikey` header or parameter. The project's own two keys are
    /// compared in constant time; any other token of the roles `anon` and `service_role` signed
    /// for this project serves as well.
    #[must_use]
    pub fn identify_key(&self, key: &str) -> Option<IdentifiedKey<'_>> {
        if key.starts_with(Self::OPAQUE_PREFIX) {
            let digest = secret::digest(key.as_bytes());
            let found = self
                .keys
                .opaque
                .iter()
                .find(|k| secret::equal(&k.digest, &digest))?;
            return Some(IdentifiedKey {
                role: found.role,
                translated: Some(&found.token),
            });
        }
        let is = |own: &SecretString| secret::equal(own.expose_secret().as_bytes(), key.as_bytes());
        let role = if is(&self.keys.anon) {
            KeyRole::Anon
        } else if is(&self.keys.service_role) {
            KeyRole::ServiceRole
        } else {
            match self.verifier.verify(key).ok()?.role.as_str() {
                Claims::ANON => KeyRole::Anon,
                Claims::SERVICE_ROLE => KeyRole::ServiceRole,
                _ => return None,
            }
        };
        Some(IdentifiedKey {
            role,
            translated: None,
        })
    }
}

/// The one project of a single-project installation.
#[derive(Debug)]
pub struct SingleProject(pub Arc<Project>);

impl ProjectResolver for SingleProject {
    fn find(&self, reference: &str) -> Option<Arc<Project>> {
        (reference == self.0.reference.as_str()).then(|| Arc::clone(&self.0))
    }

    fn default_project(&self) -> Arc<Project> {
        Arc::clone(&self.0)
    }
}
