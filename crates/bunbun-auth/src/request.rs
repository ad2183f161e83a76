//! What handlers take from a request. A refusal is an [`AuthError`].

use std::net::IpAddr;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use bunbun_core::{id::ProjectRef, jwt::Claims};
use bunbun_http::{RequestContext, identity};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    error::{AuthError, Code, Result},
    grant::refuse_banned,
    service::AuthService,
    store::{
        audit::Actor,
        sessions::{self, UserSession},
        users::User,
    },
};

/// The largest body.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The longest `User-Agent` that is kept.
const MAX_USER_AGENT: usize = 512;
/// The audience of users.
pub(crate) const AUDIENCE: &str = "authenticated";
/// Roles of administrators.
const ADMIN_ROLES: [&str; 2] = [Claims::SERVICE_ROLE, Claims::SUPABASE_ADMIN];

/// Where a request comes from and what it says beside its body.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) context: RequestContext,
    pub(crate) user_agent: Option<String>,
    pub(crate) headers: HeaderMap,
    query: Vec<(String, String)>,
    audience: Option<String>,
}

impl Origin {
    pub(crate) fn project(&self) -> &ProjectRef {
        &self.context.project.reference
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.context.client_ip
    }

    /// A query parameter; absent ones are empty, as everything in this protocol.
    pub(crate) fn query(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    pub(crate) fn query_pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// The audience that the request is about. Only operators may name another than users have:
    /// it would be a place for accounts that nobody sees and that hold addresses.
    pub(crate) fn audience(&self) -> &str {
        self.audience.as_deref().unwrap_or(AUDIENCE)
    }

    /// Where the browser may want to go: header, parameter, then the page it comes from.
    pub(crate) fn redirect_candidates(&self) -> [&str; 3] {
        let header = |name| {
            self.headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        [
            header("redirect_to"),
            self.query("redirect_to"),
            header("referer"),
        ]
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = AuthError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self> {
        let context = parts
            .extensions
            .get::<RequestContext>()
            .cloned()
            .ok_or_else(|| AuthError::internal("No request context", "the edge gave none"))?;
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(MAX_USER_AGENT).collect());
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        if query.iter().any(|(_, value)| value.contains('\0')) {
            return Err(AuthError::invalid("A parameter contains a NUL character"));
        }
        let mut origin = Self {
            context,
            user_agent,
            headers: parts.headers.clone(),
            query,
            audience: None,
        };
        origin.audience = named_audience(&origin);
        Ok(origin)
    }
}

/// A JSON object as the body, whatever its content type says. An absent member and `null` are the
/// same to the original, and so they are here.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = AuthError;

    async fn from_request(request: Request, _state: &S) -> Result<Self> {
        let bytes = read_body(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

/// As [`Json`], where no body at all is an empty object.
#[derive(Debug)]
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = AuthError;

    async fn from_request(request: Request, _state: &S) -> Result<Self> {
        let bytes = read_body(request.into_body()).await?;
        if bytes.trim_ascii().is_empty() {
            return parse(b"{}").map(Self);
        }
        parse(&bytes).map(Self)
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if is_too_large(&*error) => Err(AuthError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ValidationFailed,
            "The body is larger than 1 MB",
        )),
        Err(error) => {
            Err(AuthError::bad_request(Code::BadJson, "The body broke off").with_cause(error))
        }
    }
}

fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() || error.is::<bunbun_http::body::BodyTooLarge>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let unreadable = |error: &dyn std::fmt::Display| {
        AuthError::bad_request(
            Code::BadJson,
            format!("Could not parse request body as JSON: {error}"),
        )
    };
    // serde would also take an array of the members' values for an object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(unreadable(&"expected an object"));
    }
    // PostgreSQL's texts cannot hold it.
    if contains(bytes, b"\\u0000") {
        return Err(AuthError::invalid("A text contains a NUL character"));
    }
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The text of an optional member.
#[expect(clippy::ref_option, reason = "members of bodies are options")]
pub(crate) fn text(member: &Option<String>) -> &str {
    member.as_deref().unwrap_or_default()
}

/// The caller is a user whose token and session are valid, and who is not banned.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: User,
    /// `None` in tokens without a session, as services make them for a user.
    pub(crate) session: Option<UserSession>,
}

impl SignedIn {
    /// The session.
    ///
    /// # Errors
    /// 403 `session_not_found`.
    pub(crate) fn session(&self) -> Result<&UserSession> {
        self.session.as_ref().ok_or_else(|| {
            AuthError::forbidden(
                Code::SessionNotFound,
                "Session from session_id claim in JWT does not exist",
            )
        })
    }

    /// Anonymous users may not.
    ///
    /// # Errors
    /// 403 `no_authorization`.
    pub(crate) fn not_anonymous(&self) -> Result<()> {
        if self.user.is_anonymous {
            return Err(AuthError::forbidden(
                Code::NoAuthorization,
                "Anonymous user not allowed to perform these actions",
            ));
        }
        Ok(())
    }

    pub(crate) fn is_aal2(&self) -> bool {
        self.session.as_ref().is_some_and(UserSession::is_aal2)
    }
}

impl FromRequestParts<AuthService> for SignedIn {
    type Rejection = AuthError;

    async fn from_request_parts(parts: &mut Parts, state: &AuthService) -> Result<Self> {
        let TokenHolder(signed_in) = TokenHolder::from_request_parts(parts, state).await?;
        refuse_banned(&signed_in.user, state.0.now())?;
        Ok(signed_in)
    }
}

/// As [`SignedIn`], banned or not: for what a banned user may do with a token that is still valid,
/// which is to see who they are and to leave.
#[derive(Debug)]
pub(crate) struct TokenHolder(pub(crate) SignedIn);

impl FromRequestParts<AuthService> for TokenHolder {
    type Rejection = AuthError;

    async fn from_request_parts(parts: &mut Parts, state: &AuthService) -> Result<Self> {
        let origin = Origin::from_request_parts(parts, state).await?;
        let claims = claims(&origin)?;
        let subject = claims.subject.as_deref().unwrap_or_default();
        if subject.is_empty() {
            return Err(AuthError::forbidden(
                Code::BadJwt,
                "invalid claim: missing sub claim",
            ));
        }
        let user_id: Uuid = subject.parse().map_err(|_| {
            AuthError::bad_request(Code::BadJwt, "invalid claim: sub claim must be a UUID")
        })?;
        let session_id = match claims.all.get("session_id").and_then(|id| id.as_str()) {
            None | Some("") => None,
            Some(text) => Some(text.parse::<Uuid>().map_err(|_| {
                AuthError::forbidden(
                    Code::BadJwt,
                    "invalid claim: session_id claim must be a UUID",
                )
            })?),
        }
        .filter(|id| !id.is_nil());
        let database = state.0.database(origin.project()).await?;
        let client = database.client().await?;
        let found = sessions::find_user(&client, user_id, session_id).await?;
        let Some((user, session)) = found else {
            return Err(AuthError::forbidden(
                Code::UserNotFound,
                "User from sub claim in JWT does not exist",
            ));
        };
        if session_id.is_some() && session.is_none() {
            return Err(AuthError::forbidden(
                Code::SessionNotFound,
                "Session from session_id claim in JWT does not exist",
            ));
        }
        Ok(Self(SignedIn { user, session }))
    }
}

/// The caller is an administrator.
#[derive(Debug)]
pub(crate) struct Admin {
    role: String,
}

impl Admin {
    pub(crate) fn actor(&self) -> Actor {
        Actor::admin(&self.role)
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = AuthError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let origin = Origin::from_request_parts(parts, state).await?;
        let claims = claims(&origin)?;
        if !is_admin(&claims) {
            return Err(AuthError::forbidden(Code::NotAdmin, "User not allowed"));
        }
        Ok(Self {
            role: claims.role.clone(),
        })
    }
}

/// What an administrator says in `X-JWT-AUD`.
fn named_audience(origin: &Origin) -> Option<String> {
    let named = origin.headers.get("x-jwt-aud")?.to_str().ok()?;
    let is_admin = claims(origin).is_ok_and(|claims| is_admin(&claims));
    (is_admin && (1..=255).contains(&named.len())).then(|| named.to_owned())
}

fn is_admin(claims: &Claims) -> bool {
    ADMIN_ROLES.contains(&claims.role.as_str())
}

fn claims(origin: &Origin) -> Result<std::sync::Arc<Claims>> {
    let token = identity::bearer(&origin.headers).ok_or_else(|| {
        AuthError::new(
            StatusCode::UNAUTHORIZED,
            Code::NoAuthorization,
            "This endpoint requires a valid Bearer token",
        )
    })?;
    origin
        .context
        .project
        .verifier
        .verify(token)
        .map_err(|error| {
            AuthError::forbidden(
                Code::BadJwt,
                format!(
                    "invalid JWT: unable to parse or verify signature, {}",
                    error.0
                ),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Body {
        a: Option<String>,
    }

    #[test]
    fn bodies_are_objects_without_nul() {
        assert_eq!(
            parse::<Body>(b"{\"a\":\"x\"}").unwrap().a.as_deref(),
            Some("x")
        );
        assert_eq!(parse::<Body>(b" {\"a\":null}").unwrap().a, None);
        for bad in [
            &b"[\"x\"]"[..],
            b"",
            b"{",
            b"{\"a\":1}",
            b"{\"a\":\"\\u0000\"}",
            b"null",
        ] {
            assert!(
                parse::<Body>(bad).is_err(),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
