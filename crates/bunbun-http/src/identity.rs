//! Who is calling: the credentials of a request, checked against its project.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bunbun_core::{
    jwt::Claims,
    project::{KeyRole, Project},
};
use http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName},
};

/// The header of an application's key.
pub const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// A caller with a valid credential.
#[derive(Debug, Clone, PartialEq)]
pub enum Caller {
    /// An application, by its key.
    Key(KeyRole),
    /// The bearer of a verified token.
    Token(Arc<Claims>),
}

impl Caller {
    /// The database role.
    #[must_use]
    pub fn role(&self) -> &str {
        match self {
            Self::Key(role) => role.as_str(),
            Self::Token(claims) => &claims.role,
        }
    }

    /// Whether the caller is the project's owner.
    #[must_use]
    pub fn is_service_role(&self) -> bool {
        self.role() == Claims::SERVICE_ROLE
    }

    /// The user's id, where the caller is a user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Key(_) => None,
            Self::Token(claims) => claims.subject.as_deref(),
        }
    }
}

/// The token of `Authorization: Bearer …`; the scheme in any case, as RFC 9110 has it.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// User name and password of `Authorization: Basic …`.
#[must_use]
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD
        .decode(credentials(headers, "basic")?)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    // Two `Authorization` headers are ambiguous: neither counts.
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (given, rest) = value.to_str().ok()?.split_once(' ')?;
    given
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim())
        .filter(|rest| !rest.is_empty())
}

/// The caller of BunBun's own API. A bearer token beats an `apikey`; a credential that is there
/// but wrong is no caller, whatever else the request carries.
#[must_use]
pub fn caller(project: &Project, headers: &HeaderMap) -> Option<Caller> {
    if headers.contains_key(AUTHORIZATION) {
        return from_text(project, bearer(headers)?);
    }
    from_text(project, headers.get(APIKEY)?.to_str().ok()?)
}

fn from_text(project: &Project, text: &str) -> Option<Caller> {
    if let Some(key) = project.identify_key(text) {
        return Some(Caller::Key(key.role));
    }
    project.verifier.verify(text).ok().map(Caller::Token)
}
