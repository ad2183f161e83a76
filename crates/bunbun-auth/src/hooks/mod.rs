//! Hooks: the operator's own code that decides about tokens and new users. A hook is a function of
//! the project's database, called in the caller's transaction, or an endpoint, called with a
//! signature of Standard Webhooks.

mod http;
pub(crate) mod room;

use std::{sync::Arc, time::Duration};

use ::http::StatusCode;
use bunbun_core::{
    clock::Clock,
    config::{
        AuthConfig,
        auth::{HookConfig, HookTarget},
    },
};
use bunbun_postgres::{Session, types::Json};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    request::Origin,
    store::{Object, users::User},
    timestamp::Timestamp,
};

/// Longest run of a function.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest sentence that a hook may say to a client.
const MAX_MESSAGE_CHARS: usize = 500;
/// Claims without which a token is none.
const REQUIRED_CLAIMS: [&str; 8] = [
    "aud",
    "exp",
    "iat",
    "sub",
    "email",
    "phone",
    "role",
    "session_id",
];

/// The configured hooks.
pub(crate) struct Hooks {
    access_token: Option<HookConfig>,
    before_user_created: Option<HookConfig>,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl Hooks {
    pub(crate) fn new(config: &AuthConfig, http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            access_token: config.hook_access_token.clone(),
            before_user_created: config.hook_before_user_created.clone(),
            http,
            clock,
        }
    }

    pub(crate) fn has_access_token(&self) -> bool {
        self.access_token.is_some()
    }

    /// The claims of a token as the hook wants them.
    ///
    /// # Errors
    /// The hook's own refusal; 500 where its answer is no set of claims.
    pub(crate) async fn access_token(
        &self,
        session: &Session,
        origin: &Origin,
        user_id: Uuid,
        claims: Value,
        method: &str,
    ) -> Result<Value> {
        let Some(hook) = &self.access_token else {
            return Ok(claims);
        };
        let input = json!({
            "metadata": self.metadata(origin, "customize-access-token"),
            "user_id": user_id,
            "claims": claims,
            "authentication_method": method,
        });
        let mut output = self.call(hook, session, &input).await?;
        let Some(claims) = output.get_mut("claims").map(Value::take) else {
            return Err(AuthError::internal(
                "output claims field is missing",
                "custom_access_token gave no claims",
            ));
        };
        let complete = claims.as_object().is_some_and(|claims| {
            REQUIRED_CLAIMS
                .iter()
                .all(|name| claims.contains_key(*name))
                && claims.get("role").is_some_and(Value::is_string)
                && claims.get("exp").is_some_and(Value::is_number)
        });
        if !complete {
            return Err(AuthError::internal(
                "output claims do not conform to the expected schema",
                format!(
                    "custom_access_token must keep {}",
                    REQUIRED_CLAIMS.join(", ")
                ),
            ));
        }
        Ok(claims)
    }

    /// Asks whether a user may be created.
    ///
    /// # Errors
    /// The hook's own refusal.
    pub(crate) async fn before_user_created(
        &self,
        session: &Session,
        origin: &Origin,
        user: &Value,
    ) -> Result<()> {
        let Some(hook) = &self.before_user_created else {
            return Ok(());
        };
        let input = json!({
            "metadata": self.metadata(origin, "before-user-created"),
            "user": user,
        });
        let output = self.call(hook, session, &input).await?;
        if output.get("decision").and_then(Value::as_str) == Some("reject") {
            let message = output.get("message").and_then(Value::as_str);
            return Err(refusal(
                StatusCode::FORBIDDEN,
                message
                    .filter(|text| !text.is_empty())
                    .unwrap_or("User rejected"),
            ));
        }
        Ok(())
    }

    pub(crate) fn has_before_user_created(&self) -> bool {
        self.before_user_created.is_some()
    }

    fn metadata(&self, origin: &Origin, name: &str) -> Value {
        json!({
            "uuid": Uuid::new_v4(),
            "time": Timestamp(self.clock.now()),
            "name": name,
            "ip_address": origin.ip().to_string(),
        })
    }

    /// Calls the hook and gives its answer, unless that is an error.
    async fn call(&self, hook: &HookConfig, session: &Session, input: &Value) -> Result<Object> {
        let output = match &hook.target {
            HookTarget::Function { schema, name } => function(session, schema, name, input).await?,
            HookTarget::Http(url) => {
                http::call(&self.http, &*self.clock, url, &hook.secrets, input).await?
            }
        };
        let Value::Object(output) = output else {
            return Ok(Object::new());
        };
        let Some(error) = output.get("error").and_then(Value::as_object) else {
            return Ok(output);
        };
        let message = error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let status = error
            .get("http_code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok())
            .and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Err(refusal(status, message))
    }
}

/// What a hook says to a client is meant for it.
fn refusal(status: StatusCode, message: &str) -> AuthError {
    let message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    let code = if status == StatusCode::INTERNAL_SERVER_ERROR {
        Code::UnexpectedFailure
    } else {
        Code::Unknown
    };
    AuthError::new(status, code, message)
}

/// The names are of letters, digits and `_`: the configuration refuses others.
async fn function(session: &Session, schema: &str, name: &str, input: &Value) -> Result<Value> {
    let failed = |error: bunbun_postgres::Error| {
        let timed_out = matches!(error, bunbun_postgres::Error::Timeout(_));
        if timed_out {
            return AuthError::unprocessable(
                Code::HookTimeout,
                "Failed to reach hook within maximum time of 2 seconds",
            );
        }
        AuthError::internal("Error running hook", error)
    };
    let timeout = FUNCTION_TIMEOUT.as_millis();
    session
        .batch_execute(&format!("set local statement_timeout = {timeout}"))
        .await
        .map_err(|error| failed(error.into()))?;
    let row = session
        .query_one_cached(
            &format!("select \"{schema}\".\"{name}\"($1::jsonb)::jsonb"),
            &[&Json(input)],
        )
        .await
        .map_err(failed)?;
    session
        .batch_execute("set local statement_timeout to default")
        .await
        .map_err(|error| failed(error.into()))?;
    let output: Option<Json<Value>> = row
        .try_get(0)
        .map_err(|error| AuthError::internal("Error unmarshaling JSON output.", error))?;
    Ok(output.map_or(Value::Null, |json| json.0))
}

/// A user who does not exist yet, as the hook sees it.
pub(crate) fn preview(user: &crate::store::users::NewUser, now: time::OffsetDateTime) -> Value {
    let shown = User::preview(user, now);
    serde_json::to_value(&shown).unwrap_or(Value::Null)
}
