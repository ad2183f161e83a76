//! Sign-in by other parties (OAuth 2.0, OpenID Connect): where browsers are sent, what codes are
//! exchanged for, and who someone is there.

mod directory;
mod fetch;
mod github;
mod oidc;
pub(crate) mod state;

use std::{collections::HashMap, sync::Arc};

use bunbun_core::{
    clock::Clock,
    config::auth::{ProviderConfig, ProviderKind},
};
use serde_json::Value;
use url::Url;

use crate::{
    email_address,
    error::{AuthError, Code, Result},
    store::Object,
};

/// An address that a provider knows someone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// In lower case.
    pub(crate) email: String,
    pub(crate) is_verified: bool,
    pub(crate) is_primary: bool,
}

/// The longest text about someone that is kept.
const MAX_TEXT_BYTES: usize = 2_048;

impl Address {
    /// What a provider says, where that is an address.
    fn read(email: &str, is_verified: bool, is_primary: bool) -> Option<Self> {
        let email = email_address::validate(email).ok()?;
        Some(Self {
            email,
            is_verified,
            is_primary,
        })
    }
}

/// Who someone is at a provider.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// The provider's id of them.
    pub(crate) subject: String,
    pub(crate) addresses: Vec<Address>,
    /// What is kept of what the provider says.
    pub(crate) data: Object,
}

impl Profile {
    /// A profile without what no column can hold or nobody would want in every token.
    fn new(subject: String, addresses: Vec<Address>, mut data: Object) -> Self {
        data.retain(|_, value| {
            let text = value.to_string();
            text.len() <= MAX_TEXT_BYTES && !text.contains("\\u0000")
        });
        Self {
            subject,
            addresses,
            data,
        }
    }

    /// The address that counts: the primary one, else the last.
    pub(crate) fn address(&self) -> Option<&Address> {
        self.addresses
            .iter()
            .find(|address| address.is_primary)
            .or(self.addresses.last())
    }

    /// What is stored with the identity.
    pub(crate) fn identity_data(&self) -> Object {
        let mut data = self.data.clone();
        data.insert("sub".to_owned(), self.subject.clone().into());
        data.insert("provider_id".to_owned(), self.subject.clone().into());
        data.insert("phone_verified".to_owned(), false.into());
        let address = self.address();
        if let Some(address) = address {
            data.insert("email".to_owned(), address.email.clone().into());
        }
        let is_verified = address.is_some_and(|address| address.is_verified);
        data.insert("email_verified".to_owned(), is_verified.into());
        data
    }
}

/// What a provider gives for a code.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) id_token: String,
}

/// What belongs to one flow.
#[derive(Debug)]
pub(crate) struct Flow<'a> {
    /// Where the provider sends the browser back to.
    pub(crate) callback: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) verifier: &'a str,
}

/// The configured providers.
pub(crate) struct Providers {
    by_name: HashMap<String, Provider>,
}

/// One provider.
pub(crate) struct Provider {
    config: ProviderConfig,
    kind: Kind,
}

enum Kind {
    GitHub(github::GitHub),
    Oidc(oidc::Oidc),
}

impl Providers {
    pub(crate) fn new(
        list: &[ProviderConfig],
        http: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let by_name = list.iter().map(|config| {
            let kind = match &config.kind {
                ProviderKind::GitHub { url } => {
                    Kind::GitHub(github::GitHub::new(url.as_ref(), http.clone()))
                }
                ProviderKind::Oidc { issuer } => {
                    let clock = Arc::clone(&clock);
                    Kind::Oidc(oidc::Oidc::new(issuer, http.clone(), clock))
                }
            };
            let provider = Provider {
                config: config.clone(),
                kind,
            };
            (config.name.clone(), provider)
        });
        Self {
            by_name: by_name.collect(),
        }
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// 400 `validation_failed`, in the original's words.
    pub(crate) fn find(&self, name: &str) -> Result<&Provider> {
        self.by_name.get(&name.to_lowercase()).ok_or_else(|| {
            let message = if name.is_empty() {
                "Unsupported provider: missing provider".to_owned()
            } else {
                "Unsupported provider: provider is not enabled".to_owned()
            };
            AuthError::invalid(message)
        })
    }

    /// The provider of an id token: by name, or by issuer.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn find_oidc(&self, name: &str, issuer: &str) -> Result<&Provider> {
        let found = self.by_name.values().find(|provider| match &provider.kind {
            Kind::Oidc(oidc) => {
                provider.config.name == name.to_lowercase()
                    || (name.is_empty() && oidc.issuer() == issuer)
            }
            Kind::GitHub(_) => false,
        });
        found.ok_or_else(|| {
            AuthError::bad_request(
                Code::ProviderDisabled,
                "Provider is not enabled or gives no id_tokens",
            )
        })
    }
}

impl Provider {
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) fn skips_nonce_check(&self) -> bool {
        self.config.skip_nonce_check
    }

    /// Where to send a browser. `extra` parameters of the caller's go along, ours win.
    pub(crate) async fn authorize_url(
        &self,
        flow: &Flow<'_>,
        state: &str,
        scopes: &str,
        extra: &[(String, String)],
    ) -> Result<Url> {
        let (mut url, default_scopes, has_nonce) = match &self.kind {
            Kind::GitHub(github) => (github.authorize_url()?, "user:email", false),
            Kind::Oidc(oidc) => (oidc.authorize_url().await?, "openid email profile", true),
        };
        let wanted = scopes.split([' ', ',']).filter(|scope| !scope.is_empty());
        let mut all: Vec<&str> = default_scopes.split(' ').collect();
        for scope in self.config.scopes.iter().map(String::as_str).chain(wanted) {
            if !all.contains(&scope) {
                all.push(scope);
            }
        }
        let client_id = self.config.client_ids.first().map_or("", String::as_str);
        let challenge = state::s256(flow.verifier);
        let mut ours = vec![
            ("client_id", client_id.to_owned()),
            ("redirect_uri", flow.callback.to_owned()),
            ("response_type", "code".to_owned()),
            ("scope", all.join(" ")),
            ("state", state.to_owned()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
        ];
        if has_nonce {
            ours.push(("nonce", flow.nonce.to_owned()));
        }
        let mut query = url.query_pairs_mut();
        for (name, value) in extra {
            if ours.iter().all(|(own, _)| own != name) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in &ours {
            query.append_pair(name, value);
        }
        drop(query);
        Ok(url)
    }

    /// Exchanges a code and finds out whose it is.
    pub(crate) async fn sign_in(&self, flow: &Flow<'_>, code: &str) -> Result<(Profile, Tokens)> {
        match &self.kind {
            Kind::GitHub(github) => github.sign_in(&self.config, flow, code).await,
            Kind::Oidc(oidc) => oidc.sign_in(&self.config, flow, code).await,
        }
    }

    /// Whose id token it is. The nonce is the caller's to check.
    pub(crate) async fn verify_id_token(
        &self,
        token: &str,
        access_token: &str,
    ) -> Result<(Profile, Option<String>)> {
        match &self.kind {
            Kind::GitHub(_) => Err(AuthError::oauth("invalid request", "Bad ID token")),
            Kind::Oidc(oidc) => {
                let claims = oidc.verify(&self.config, token, access_token).await?;
                let nonce = claims
                    .get("nonce")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                Ok((oidc::profile(&claims), nonce))
            }
        }
    }
}
