//! Typed clients of the services behind the slots. They work alike whatever fills a slot: a service
//! in this process, the original at its URL, or a gateway in front of it.

pub mod auth;
mod error;
pub mod storage;

use std::{sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use bunbun_core::{Code, project::Project};
use bunbun_http::{
    ApiError, Body, BoxError, RequestContext, RequestId, body,
    identity::{self, APIKEY},
    slots::{Shard, SlotCall},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
    request::Parts,
    uri::Authority,
};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

pub use error::{Error, Refused};

/// Largest answer that is read whole.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a service is told of the caller's request besides who they are. The edge has made these
/// headers trustworthy.
const PASSED_ON: [HeaderName; 7] = [
    USER_AGENT,
    TRACEPARENT,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// A request's caller, on whose behalf services are called: their own credential goes on, and
/// nobody else's.
#[derive(Clone)]
pub struct OnBehalf {
    context: RequestContext,
    shard: Shard,
    headers: HeaderMap,
}

impl std::fmt::Debug for OnBehalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnBehalf")
            .field("request_id", &self.context.request_id)
            .finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for OnBehalf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<RequestContext>().ok_or_else(|| {
            ApiError::new(Code::Internal, "").with_cause("the request came past the edge")
        })?;
        let shard = parts.extensions.get::<Shard>().copied();
        Ok(Self::new(
            context.clone(),
            shard.unwrap_or_default(),
            &parts.headers,
        ))
    }
}

impl OnBehalf {
    /// The caller of a request with these headers.
    #[must_use]
    pub fn new(context: RequestContext, shard: Shard, headers: &HeaderMap) -> Self {
        let mut passed = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = headers.get(&name) {
                passed.insert(name, value.clone());
            }
        }
        passed.insert(RequestId::HEADER, context.request_id.as_header().clone());
        let project = &context.project;
        let own = context.caller.is_some().then(|| credential(headers));
        let own = own.flatten().map(|text| token(project, text));
        let anon = project.keys.anon.expose_secret();
        let bearer = format!("Bearer {}", own.unwrap_or(anon));
        for (name, text) in [(AUTHORIZATION, bearer.as_str()), (APIKEY, anon)] {
            if let Ok(mut value) = HeaderValue::try_from(text) {
                value.set_sensitive(true);
                passed.insert(name, value);
            }
        }
        Self {
            context,
            shard,
            headers: passed,
        }
    }

    /// Under which URL the caller reaches BunBun, without a slash at its end; empty where nothing
    /// tells.
    #[must_use]
    pub fn base_url(&self, configured: Option<&Url>) -> String {
        if let Some(url) = configured {
            return url.as_str().trim_end_matches('/').to_owned();
        }
        let text = |name: &HeaderName| self.headers.get(name)?.to_str().ok();
        let host = text(&X_FORWARDED_HOST).filter(|host| host.parse::<Authority>().is_ok());
        match (text(&X_FORWARDED_PROTO), host) {
            (Some(scheme @ ("http" | "https")), Some(host)) => format!("{scheme}://{host}"),
            _ => String::new(),
        }
    }
}

/// The credential that made the caller: as [`identity::caller`] finds it.
fn credential(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(AUTHORIZATION) {
        return identity::bearer(headers);
    }
    headers.get(APIKEY)?.to_str().ok()
}

/// The token that a credential stands for: services do not know opaque keys.
fn token<'t>(project: &'t Project, credential: &'t str) -> &'t str {
    if !credential.starts_with(Project::OPAQUE_PREFIX) {
        return credential;
    }
    let found = project.identify_key(credential);
    found
        .and_then(|key| key.translated)
        .map_or(credential, |token| token.expose_secret())
}

/// One slot, called on behalf of one caller.
#[derive(Clone, Copy)]
struct Service<'a> {
    name: &'static str,
    slots: &'a Arc<dyn SlotCall>,
    behalf: &'a OnBehalf,
    first_byte_timeout: Duration,
}

impl Service<'_> {
    /// A request to a path of the service, with what goes on of the caller's.
    fn request(&self, method: Method, target: &str) -> Result<Request<Body>, Error> {
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = target
            .parse()
            .map_err(|_| self.unusable("a path cannot be sent"))?;
        request.headers_mut().extend(self.behalf.headers.clone());
        let extensions = request.extensions_mut();
        extensions.insert(self.behalf.context.clone());
        extensions.insert(self.behalf.shard);
        Ok(request)
    }

    /// The same with JSON as its body.
    fn json_request(
        &self,
        method: Method,
        target: &str,
        value: &impl Serialize,
    ) -> Result<Request<Body>, Error> {
        let mut request = self.request(method, target)?;
        let text = serde_json::to_vec(value)
            .map_err(|error| self.unusable("a request cannot be written").because(error))?;
        *request.body_mut() = body::full(text);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    /// Sends a request; an answer that refuses it is an error.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let sending = self.slots.call(self.name, request, self.first_byte_timeout);
        let response = sending.await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let (parts, body) = response.into_parts();
            let text = read_whole(body).await.unwrap_or_default();
            return Err(error::refused(self.name, &parts, &text));
        }
        Ok(response)
    }

    /// Sends a request and reads its answer.
    async fn fetch<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
    ) -> Result<(HeaderMap, T), Error> {
        let (parts, body) = self.send(request).await?.into_parts();
        let bytes = read_whole(body)
            .await
            .map_err(|error| self.unusable("it broke off").because(error))?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| self.unusable("it is not as expected").because(error))?;
        Ok((parts.headers, value))
    }

    fn unusable(&self, problem: &'static str) -> Error {
        Error::Unusable {
            service: self.name,
            problem,
            cause: None,
        }
    }
}

/// Reads an answer that is no file.
async fn read_whole(mut body: Body) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > MAX_ANSWER_BYTES {
                return Err("it is too long".into());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
