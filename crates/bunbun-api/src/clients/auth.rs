//! The client of the auth service: users, their sessions, and their administration.

use std::{sync::Arc, time::Duration};

use bunbun_http::slots::SlotCall;
use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Error, OnBehalf, Service};

/// A password may wait for a processor, a mail for its server.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// Asks for errors with textual codes.
const API_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-supabase-api-version"),
    HeaderValue::from_static("2024-01-01"),
);
const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// A user of the project.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct User {
    /// Its id; `auth.uid()` in policies.
    pub id: Uuid,
    /// Its address.
    #[serde(default, deserialize_with = "empty_is_none")]
    #[schema(required = true, example = "ada@example.com")]
    pub email: Option<String>,
    /// Its telephone number.
    #[serde(default, deserialize_with = "empty_is_none")]
    #[schema(required = true)]
    pub phone: Option<String>,
    /// The database role of its tokens.
    #[serde(default)]
    #[schema(example = "authenticated")]
    pub role: String,
    /// When it confirmed its address.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub email_confirmed_at: Option<String>,
    /// When it last signed in.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub last_sign_in_at: Option<String>,
    /// When it was made.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub updated_at: Option<String>,
    /// Until when it is banned.
    #[serde(default)]
    #[schema(required = true, format = DateTime)]
    pub banned_until: Option<String>,
    /// Whether it has no address, number or identity yet.
    #[serde(default)]
    pub is_anonymous: bool,
    /// What only the project's owner may change.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub app_metadata: Map<String, Value>,
    /// What the user itself may change.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub user_metadata: Map<String, Value>,
}

/// The tokens of a user that has signed in.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct Session {
    /// Goes into `Authorization: Bearer …`.
    pub access_token: String,
    /// Always `bearer`.
    #[schema(example = "bearer")]
    pub token_type: String,
    /// Seconds for which the access token is good.
    #[schema(example = 3600)]
    pub expires_in: i64,
    /// Its end, in seconds since the Unix epoch.
    #[serde(default)]
    #[schema(required = true)]
    pub expires_at: Option<i64>,
    /// Gets the next access token, once.
    pub refresh_token: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A user and, where it is signed in, its session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// Null where the address has to be confirmed first.
    #[schema(required = true)]
    pub session: Option<Session>,
}

/// Which sessions a sign-out ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignOutScope {
    /// All of the user's.
    #[default]
    Global,
    /// The token's own.
    Local,
    /// All but the token's own.
    Others,
}

/// Some users.
#[derive(Debug, Clone)]
pub struct UsersPage {
    /// The users of the page.
    pub users: Vec<User>,
    /// How many there are, where the service says so.
    pub total: Option<u64>,
}

/// The answer to whatever may sign in: a session with its user, or the user alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Session {
        #[serde(flatten)]
        session: Session,
        user: User,
    },
    User(User),
}

impl From<Answer> for SignedIn {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Session { session, user } => Self {
                user,
                session: Some(session),
            },
            Answer::User(user) => Self {
                user,
                session: None,
            },
        }
    }
}

/// The auth service, called on behalf of one caller.
pub struct Client<'a>(Service<'a>);

impl<'a> Client<'a> {
    /// A client.
    #[must_use]
    pub fn new(slots: &'a Arc<dyn SlotCall>, behalf: &'a OnBehalf) -> Self {
        Self(Service {
            name: "auth",
            slots,
            behalf,
            first_byte_timeout: FIRST_BYTE_TIMEOUT,
        })
    }

    /// Makes a user.
    ///
    /// # Errors
    /// What the service refuses, and when it cannot be reached.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &str,
        data: Option<&Map<String, Value>>,
    ) -> Result<SignedIn, Error> {
        let mut body = json!({ "email": email, "password": password });
        if let Some(data) = data {
            body["data"] = Value::Object(data.clone());
        }
        self.post::<Answer>("/signup", &body).await.map(Into::into)
    }

    /// Signs a user in.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn sign_in(&self, email: &str, password: &str) -> Result<SignedIn, Error> {
        let body = json!({ "email": email, "password": password });
        let path = "/token?grant_type=password";
        self.post::<Answer>(path, &body).await.map(Into::into)
    }

    /// Gets the next tokens of a session.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn refresh(&self, refresh_token: &str) -> Result<Session, Error> {
        let body = json!({ "refresh_token": refresh_token });
        self.post("/token?grant_type=refresh_token", &body).await
    }

    /// Ends sessions of the caller.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn sign_out(&self, scope: SignOutScope) -> Result<(), Error> {
        let scope = match scope {
            SignOutScope::Global => "global",
            SignOutScope::Local => "local",
            SignOutScope::Others => "others",
        };
        let request = self.request(Method::POST, &format!("/logout?scope={scope}"))?;
        self.0.send(request).await.map(drop)
    }

    /// The caller.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn user(&self) -> Result<User, Error> {
        let request = self.request(Method::GET, "/user")?;
        self.0.fetch(request).await.map(|(_, user)| user)
    }

    /// Some of the project's users; pages count from 1.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn list_users(&self, page: u32, per_page: u32) -> Result<UsersPage, Error> {
        #[derive(Deserialize)]
        struct Users {
            users: Vec<User>,
        }
        let path = format!("/admin/users?page={page}&per_page={per_page}");
        let request = self.request(Method::GET, &path)?;
        let (headers, Users { users }) = self.0.fetch(request).await?;
        let total = headers.get(X_TOTAL_COUNT);
        let total = total.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(UsersPage { users, total })
    }

    /// One of the project's users.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn get_user(&self, id: Uuid) -> Result<User, Error> {
        let request = self.request(Method::GET, &format!("/admin/users/{id}"))?;
        self.0.fetch(request).await.map(|(_, user)| user)
    }

    /// Makes a user as the project's owner.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn create_user(&self, attributes: &impl Serialize) -> Result<User, Error> {
        self.post("/admin/users", attributes).await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn update_user(&self, id: Uuid, attributes: &impl Serialize) -> Result<User, Error> {
        let path = format!("/admin/users/{id}");
        let request = self.0.json_request(Method::PUT, &path, attributes)?;
        self.0
            .fetch(with_version(request))
            .await
            .map(|(_, user)| user)
    }

    /// Deletes a user; `soft` keeps a row without what names the person.
    ///
    /// # Errors
    /// As [`Self::sign_up`].
    pub async fn delete_user(&self, id: Uuid, soft: bool) -> Result<(), Error> {
        let body = json!({ "should_soft_delete": soft });
        let path = format!("/admin/users/{id}");
        let request = self.0.json_request(Method::DELETE, &path, &body)?;
        self.0.send(with_version(request)).await.map(drop)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<http::Request<bunbun_http::Body>, Error> {
        self.0.request(method, path).map(with_version)
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.0.json_request(Method::POST, path, body)?;
        self.0
            .fetch(with_version(request))
            .await
            .map(|(_, answer)| answer)
    }
}

fn with_version<B>(mut request: http::Request<B>) -> http::Request<B> {
    let (name, value) = API_VERSION;
    request.headers_mut().insert(name, value);
    request
}

/// Users without an address have an empty one.
fn empty_is_none<'de, D: Deserializer<'de>>(json: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(json)?;
    Ok(text.filter(|text| !text.is_empty()))
}
