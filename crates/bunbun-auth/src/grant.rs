//! Sessions begin here: every way to sign in ends with a [`TokenResponse`].

use bunbun_postgres::Session;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    request::Origin,
    service::{Database, Inner},
    store::{
        Object, audit,
        audit::{Action, Actor, Entry},
        sessions::{self, Method, NewSession},
        users::{self, User},
    },
    token::refresh::{self, Chain},
};

/// The answer to everything that signs in.
#[derive(Debug, Serialize)]
pub(crate) struct TokenResponse {
    pub(crate) access_token: String,
    pub(crate) token_type: &'static str,
    pub(crate) expires_in: u64,
    pub(crate) expires_at: i64,
    pub(crate) refresh_token: String,
    pub(crate) user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider_refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weak_password: Option<Value>,
}

impl TokenResponse {
    /// The fragment of a redirect that carries the session (implicit flow).
    pub(crate) fn fragment(&self, extra: &[(&str, &str)]) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs
            .append_pair("access_token", &self.access_token)
            .append_pair("expires_at", &self.expires_at.to_string())
            .append_pair("expires_in", &self.expires_in.to_string())
            .append_pair("refresh_token", &self.refresh_token)
            .append_pair("token_type", self.token_type);
        for (name, value) in extra {
            pairs.append_pair(name, value);
        }
        pairs.finish()
    }
}

/// What an access token says beside the user.
#[derive(Debug)]
pub(crate) struct Basis<'a> {
    pub(crate) session_id: Uuid,
    pub(crate) aal: &'a str,
    pub(crate) methods: &'a [Method],
    /// How the token came about; for the hook.
    pub(crate) method: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: &'a str,
    exp: i64,
    iat: i64,
    email: &'a str,
    phone: &'a str,
    app_metadata: &'a Object,
    user_metadata: &'a Object,
    role: &'a str,
    aal: &'a str,
    amr: &'a [Method],
    session_id: Uuid,
    is_anonymous: bool,
}

impl Inner {
    /// Begins a session for a user as it was when they showed who they are. Meanwhile somebody may
    /// have changed the password that they showed, banned or deleted them: the row is locked and
    /// looked at again, so that whatever ends sessions afterwards finds this one.
    ///
    /// # Errors
    /// `user_banned`, and what there is to say where they are gone.
    pub(crate) async fn begin_session(
        &self,
        database: &Database,
        session: &Session,
        origin: &Origin,
        shown: User,
        method: &str,
    ) -> Result<TokenResponse> {
        let now = self.now();
        let is_by_password = method == "password";
        let gone = || {
            if is_by_password {
                AuthError::invalid_credentials()
            } else {
                AuthError::not_found(Code::UserNotFound, "User not found")
            }
        };
        let current = users::lock(session, shown.id).await?;
        let mut user = current
            .filter(|user| user.deleted_at.is_none())
            .ok_or_else(gone)?;
        if is_by_password && user.encrypted_password != shown.encrypted_password {
            return Err(gone());
        }
        if user.is_banned(now) {
            return Err(banned(is_by_password));
        }
        let token = Chain::first();
        let new = NewSession {
            id: Uuid::new_v4(),
            user_id: user.id,
            method,
            stored_token: &refresh::stored(&token, database.storage),
            user_agent: origin.user_agent.as_deref(),
            ip: origin.ip(),
        };
        sessions::insert(session, &new, now).await?;
        user.last_sign_in_at = Some(now);
        user.updated_at = now;
        let methods = [Method {
            method: method.to_owned(),
            timestamp: now.unix_timestamp(),
        }];
        let basis = Basis {
            session_id: new.id,
            aal: "aal1",
            methods: &methods,
            method,
        };
        self.respond(session, origin, user, token, &basis).await
    }

    /// Signs an access token beside a refresh token.
    pub(crate) async fn respond(
        &self,
        session: &Session,
        origin: &Origin,
        user: User,
        refresh_token: String,
        basis: &Basis<'_>,
    ) -> Result<TokenResponse> {
        let issued_at = self.clock.unix_seconds();
        let expires_in = self.config.jwt_expiry.as_secs();
        let expires_at = issued_at.saturating_add_unsigned(expires_in);
        let claims = Claims {
            iss: self.issuer(),
            sub: user.id,
            aud: &user.aud,
            exp: expires_at,
            iat: issued_at,
            email: user.email(),
            phone: user.phone(),
            app_metadata: &user.app_metadata,
            user_metadata: &user.user_metadata,
            role: &user.role,
            aal: basis.aal,
            amr: basis.methods,
            session_id: basis.session_id,
            is_anonymous: user.is_anonymous,
        };
        let failed = |error| AuthError::internal("error generating jwt token", error);
        let access_token = if self.hooks.has_access_token() {
            let claims = serde_json::to_value(&claims)
                .map_err(|error| AuthError::internal("error generating jwt token", error))?;
            let claims = self
                .hooks
                .access_token(session, origin, user.id, claims, basis.method)
                .await?;
            self.signer.sign(&claims).map_err(failed)?
        } else {
            self.signer.sign(&claims).map_err(failed)?
        };
        if access_token.len() > bunbun_core::jwt::MAX_TOKEN_BYTES {
            return Err(AuthError::internal(
                "The user's metadata do not fit into a token",
                format!(
                    "user {} has a token of {} bytes",
                    user.id,
                    access_token.len()
                ),
            ));
        }
        Ok(TokenResponse {
            access_token,
            token_type: "bearer",
            expires_in,
            expires_at,
            refresh_token,
            user,
            provider_token: None,
            provider_refresh_token: None,
            weak_password: None,
        })
    }

    /// Writes an entry into the audit log, unless that is turned off.
    pub(crate) async fn audit(
        &self,
        session: &Session,
        origin: &Origin,
        actor: &Actor,
        action: Action,
        traits: Option<Value>,
    ) -> Result<()> {
        if self.config.audit_log_disabled {
            return Ok(());
        }
        let entry = Entry {
            actor,
            action,
            ip: origin.ip().to_string(),
            traits,
        };
        Ok(audit::insert(session, &entry, self.now()).await?)
    }
}

/// A banned user gets no session, and none that they have becomes more.
///
/// # Errors
/// 403 `user_banned`.
pub(crate) fn refuse_banned(user: &User, now: OffsetDateTime) -> Result<()> {
    if user.is_banned(now) {
        return Err(banned(false));
    }
    Ok(())
}

/// By password it is a 400, as with the original.
pub(crate) fn banned(is_by_password: bool) -> AuthError {
    let (code, message) = (Code::UserBanned, "User is banned");
    if is_by_password {
        AuthError::bad_request(code, message)
    } else {
        AuthError::forbidden(code, message)
    }
}

/// The traits of a sign-in.
pub(crate) fn provider_trait(provider: &str) -> Option<Value> {
    Some(json!({ "provider": provider }))
}
