//! What a provider of OpenID Connect publishes, discovery and keys, fetched where that is needed.
//! Whoever has what they need never waits; whoever waits does so for one attempt, together with
//! the others. A provider that hangs is no more than old news to those whose key is known.

use std::{sync::Arc, time::Duration};

use bunbun_core::{clock::Clock, task};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use url::Url;

use super::fetch;
use crate::error::{AuthError, Result};

/// How long discovery and keys are used before they are fetched again.
const FRESH_S: i64 = 3_600;
/// After an attempt, successful or not, the next one comes so much later.
const REFETCH_S: i64 = 30;
/// The same where nothing is known yet.
const RETRY_S: i64 = 5;
/// The longest attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of a provider.
#[derive(Clone)]
pub(super) struct Known {
    fetched_at: i64,
    pub(super) discovery: Arc<Discovery>,
    pub(super) keys: Arc<JwkSet>,
}

/// OpenID Connect Discovery 1.0 §3.
#[derive(Deserialize)]
pub(super) struct Discovery {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
}

/// Fetches and keeps it.
pub(super) struct Directory {
    issuer: String,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// One attempt at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    known: Option<Known>,
    tried_at: i64,
}

/// What to do for somebody who asks.
enum Next {
    Use(Known),
    /// It is old; the answer need not wait for news.
    UseAndRenew(Known),
    Wait,
}

fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AuthError {
    AuthError::internal("The external provider did not answer usefully", cause)
}

impl Directory {
    pub(super) fn new(issuer: &str, http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: issuer.trim_end_matches('/').to_owned(),
            http,
            clock,
            state: Mutex::new(State {
                known: None,
                tried_at: i64::MIN,
            }),
            turn: Arc::default(),
        }
    }

    /// What is known; with a key, if the provider has it.
    ///
    /// # Errors
    /// 500 while nothing is known.
    pub(super) async fn known(self: &Arc<Self>, kid: Option<&str>) -> Result<Known> {
        match self.next(kid)? {
            Next::Use(known) => return Ok(known),
            Next::UseAndRenew(known) => {
                if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
                    self.renew(turn);
                }
                return Ok(known);
            }
            Next::Wait => {}
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Others may have tried meanwhile.
        match self.next(kid)? {
            Next::Use(known) | Next::UseAndRenew(known) => return Ok(known),
            Next::Wait => {}
        }
        // It goes on without whoever began it: those who wait for their turn need its outcome.
        let renewed = self.renew(turn).await;
        renewed.map_err(unavailable)?;
        let known = self.state.lock().known.clone();
        known.ok_or_else(|| unavailable("discovery failed"))
    }

    fn next(&self, kid: Option<&str>) -> Result<Next> {
        let now = self.clock.unix_seconds();
        let state = self.state.lock();
        let since = now.saturating_sub(state.tried_at);
        let Some(known) = &state.known else {
            if since < RETRY_S {
                return Err(unavailable("discovery failed a moment ago"));
            }
            return Ok(Next::Wait);
        };
        let has_key = kid.is_none_or(|kid| known.keys.find(kid).is_some());
        let is_fresh = now.saturating_sub(known.fetched_at) < FRESH_S;
        Ok(match (has_key, since < REFETCH_S) {
            (true, false) if !is_fresh => Next::UseAndRenew(known.clone()),
            (false, false) => Next::Wait,
            _ => Next::Use(known.clone()),
        })
    }

    fn renew(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> tokio::task::JoinHandle<()> {
        let this = Arc::clone(self);
        task::spawn("discovery", async move {
            let fetched = tokio::time::timeout(TIMEOUT, this.fetch()).await;
            let fetched = fetched.unwrap_or_else(|_| Err(unavailable("discovery takes too long")));
            let mut state = this.state.lock();
            state.tried_at = this.clock.unix_seconds();
            match fetched {
                Ok(known) => state.known = Some(known),
                // An old copy is better than none while the provider is away.
                Err(error) => {
                    let reason = error.reason();
                    tracing::warn!(issuer = this.issuer, %reason, "a provider does not answer");
                }
            }
            drop(state);
            drop(turn);
        })
    }

    async fn fetch(&self) -> Result<Known> {
        let fetched_at = self.clock.unix_seconds();
        let issuer = &self.issuer;
        let url = format!("{issuer}/.well-known/openid-configuration");
        let discovery: Discovery = fetch::json(self.http.get(url), "discovery").await?;
        if discovery.issuer.trim_end_matches('/') != issuer {
            return Err(unavailable("discovery names another issuer"));
        }
        let request = self.http.get(discovery.jwks_uri.clone());
        let keys: Value = fetch::json(request, "the provider's keys").await?;
        Ok(Known {
            fetched_at,
            discovery: Arc::new(discovery),
            keys: Arc::new(usable_keys(&keys)),
        })
    }
}

/// Keys of a set that we understand; others are none of our concern.
fn usable_keys(set: &Value) -> JwkSet {
    let list = set["keys"].as_array().cloned().unwrap_or_default();
    JwkSet {
        keys: list
            .into_iter()
            .filter(|key| key["use"].as_str().is_none_or(|usage| usage == "sig"))
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .collect(),
    }
}
