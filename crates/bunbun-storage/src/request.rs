//! What handlers take: who asks whose storage, the names in the path, and JSON bodies.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use bunbun_core::project::Project;
use bunbun_http::RequestContext;
use http::{HeaderMap, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    database::{Database, RequestFacts},
    error::{Result, StorageError},
    identity::Identity,
    names,
    service::StorageService,
};

/// Largest JSON body.
const MAX_JSON_BYTES: usize = 1024 * 1024;

/// One request, before it is known whether it needs a credential.
pub(crate) struct Call {
    service: StorageService,
    project: Result<Arc<Project>>,
    credential: Result<Option<Identity>>,
    facts: RequestFacts,
}

/// One request with its caller and database.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) service: StorageService,
    pub(crate) project: Arc<Project>,
    pub(crate) caller: Identity,
    /// Whether the caller has a valid credential.
    pub(crate) authenticated: bool,
    pub(crate) database: Database,
}

impl Call {
    /// The request of a caller who must have a valid credential.
    pub(crate) async fn required(self, operation: &'static str) -> Result<Session> {
        let caller = self.credential.clone()?;
        let caller = caller.ok_or_else(|| {
            StorageError::validation("headers must have required property 'authorization'")
        })?;
        self.session(operation, Some(caller)).await
    }

    /// The request of a caller who may have one; one that is not valid counts for nothing.
    pub(crate) async fn optional(self, operation: &'static str) -> Result<Session> {
        let caller = self.credential.clone().ok().flatten();
        self.session(operation, caller).await
    }

    /// A request that proves in another way what it may do; the caller's credential is not asked.
    pub(crate) async fn without_credential(self, operation: &'static str) -> Result<Session> {
        self.session(operation, None).await
    }

    /// A request whose caller somebody else has verified.
    pub(crate) async fn of(self, operation: &'static str, caller: Identity) -> Result<Session> {
        self.session(operation, Some(caller)).await
    }

    /// The project, before there is a caller.
    pub(crate) fn project(&self) -> Result<Arc<Project>> {
        self.project.clone()
    }

    /// The service.
    pub(crate) const fn service(&self) -> &StorageService {
        &self.service
    }

    async fn session(self, operation: &'static str, caller: Option<Identity>) -> Result<Session> {
        let project = self.project?;
        let pool = self.service.database(&project).await?;
        Ok(Session {
            database: Database {
                pool,
                facts: RequestFacts {
                    operation,
                    ..self.facts
                },
            },
            service: self.service,
            project,
            authenticated: caller.is_some(),
            caller: caller.unwrap_or_else(Identity::anonymous),
        })
    }
}

impl Session {
    /// The caller's user id, to whom new objects belong.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.caller.subject.as_deref()
    }

    /// The project's reference.
    pub(crate) fn project_ref(&self) -> &str {
        self.project.reference.as_str()
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.service.0.clock.unix_seconds()
    }
}

impl FromRequestParts<StorageService> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &StorageService,
    ) -> Result<Self, Infallible> {
        let context = parts.extensions.get::<RequestContext>();
        let project = context.map(|context| Arc::clone(&context.project));
        let credential = match &project {
            Some(project) => Identity::of_headers(project, &parts.headers),
            None => Ok(None),
        };
        let facts = RequestFacts {
            headers: headers_json(&parts.headers),
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            operation: "",
        };
        let missing = || StorageError::internal("a request without a context: the edge adds it");
        Ok(Self {
            service: service.clone(),
            project: project.ok_or_else(missing),
            credential,
            facts,
        })
    }
}

/// A request's headers as policies read them: `current_setting('request.headers')::json`.
fn headers_json(headers: &HeaderMap) -> String {
    let mut map = Map::with_capacity(headers.keys_len());
    for (name, value) in headers {
        if let Ok(text) = value.to_str() {
            map.insert(name.as_str().to_owned(), Value::from(text));
        }
    }
    Value::Object(map).to_string()
}

/// `{bucket}/{*name}` of a path.
#[derive(Debug, Clone)]
pub(crate) struct ObjectPath {
    pub(crate) bucket: String,
    pub(crate) name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ObjectPath {
    type Rejection = StorageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((bucket, name)) = path.map_err(|_| StorageError::invalid_key(""))?;
        names::bucket(&bucket)?;
        names::key(&name)?;
        Ok(Self { bucket, name })
    }
}

/// `{bucket}` of a path.
pub(crate) struct BucketPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for BucketPath {
    type Rejection = StorageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(bucket) = path.map_err(|_| StorageError::invalid_bucket_name())?;
        names::bucket(&bucket)?;
        Ok(Self(bucket))
    }
}

/// A JSON body, with the original's words where it does not fit.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = StorageError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_JSON_BYTES).await;
        let bytes = bytes.map_err(|error| {
            StorageError::validation("Request body is too large or broke off").because(error)
        })?;
        if bytes.is_empty() {
            return Err(StorageError::validation("body must be object"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| StorageError::validation(in_words(&error)))
    }
}

/// serde's message in the words of a JSON schema's validator.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
    {
        Some((field, _)) => format!("body must have required property '{field}'"),
        None => format!("body is not valid: {text}"),
    }
}

/// A parameter of the query.
pub(crate) fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query?.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
