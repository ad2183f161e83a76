//! The shared response cache of routes with a `cache_ttl`: small `GET` answers that are the same
//! for everyone with the same key (RFC 9111, the careful part of it).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AGE, AUTHORIZATION, CACHE_CONTROL, COOKIE,
        ORIGIN, RANGE, SET_COOKIE, VARY,
    },
    request::Parts,
};
use http_body_util::BodyExt;
use moka::sync::Cache;

use crate::{body::EdgeBody, route::Route};

/// Largest body that is kept.
const MAX_BODY: u64 = 1024 * 1024;
/// Most bytes of all bodies.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Headers that are part of the key, so that answers may vary by them.
const KEYED: [HeaderName; 6] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ORIGIN,
    HeaderName::from_static("accept-profile"),
    // PostgREST's answers depend on it without saying so in `Vary`.
    HeaderName::from_static("prefer"),
];
/// The credential of machines, beside `Authorization`.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    route: Arc<str>,
    project: Box<str>,
    host: Box<str>,
    target: Box<str>,
    role: Option<&'static str>,
    headers: [Option<HeaderValue>; 6],
}

struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    since: Instant,
    ttl: Duration,
}

/// Answers by key.
#[derive(Clone)]
pub(crate) struct ResponseCache(Cache<CacheKey, Arc<Kept>>);

impl Default for ResponseCache {
    fn default() -> Self {
        let weigh = |key: &CacheKey, kept: &Arc<Kept>| {
            u32::try_from(kept.body.len() + key.target.len() + 1024).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(weigh)
                .build(),
        )
    }
}

impl ResponseCache {
    /// The key of a request whose answer may be shared; `None` for all others. Requests with a
    /// user's credential or a cookie are always the user's own.
    pub(crate) fn key(
        route: &Route,
        parts: &Parts,
        project: &str,
        host: &str,
        role: Option<&'static str>,
    ) -> Option<CacheKey> {
        route.cache_ttl?;
        let headers = &parts.headers;
        let private = [AUTHORIZATION, X_API_KEY, COOKIE, RANGE]
            .iter()
            .any(|name| headers.contains_key(name));
        let wish = directives(headers);
        let refused =
            wish.is_none_or(|wish| wish.contains("no-store") || wish.contains("no-cache"));
        if parts.method != Method::GET || private || refused {
            return None;
        }
        Some(CacheKey {
            route: Arc::clone(&route.name),
            project: project.into(),
            host: host.into(),
            target: parts
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .into(),
            role,
            headers: KEYED.map(|name| headers.get(name).cloned()),
        })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.0.invalidate_all();
    }

    /// A kept answer that is still fresh.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Response<EdgeBody>> {
        let kept = self.0.get(key)?;
        let age = kept.since.elapsed();
        if age > kept.ttl {
            self.0.invalidate(key);
            return None;
        }
        let mut response = Response::new(EdgeBody::Full(Some(kept.body.clone())));
        *response.status_mut() = kept.status;
        *response.headers_mut() = kept.headers.clone();
        response
            .headers_mut()
            .insert(AGE, HeaderValue::from(age.as_secs()));
        response
            .headers_mut()
            .insert(X_CACHE, HeaderValue::from_static("HIT"));
        Some(response)
    }

    /// Keeps an answer where it may be shared. Its body is then read whole, up to its limit.
    pub(crate) async fn keep(
        &self,
        key: CacheKey,
        ttl: Duration,
        response: Response<EdgeBody>,
    ) -> Response<EdgeBody> {
        use http_body::Body as _;
        let length = response.body().size_hint().exact();
        let ttl = ttl.min(max_age(response.headers()).unwrap_or(ttl));
        if ttl.is_zero() || !may_be_kept(&response) || length.is_none_or(|length| length > MAX_BODY)
        {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        match body.collect().await {
            Ok(collected) => {
                let body = collected.to_bytes();
                let (status, headers) = (parts.status, parts.headers.clone());
                let kept = Kept {
                    status,
                    headers,
                    body: body.clone(),
                    since: Instant::now(),
                    ttl,
                };
                self.0.insert(key, Arc::new(kept));
                parts
                    .headers
                    .insert(X_CACHE, HeaderValue::from_static("MISS"));
                Response::from_parts(parts, EdgeBody::Full(Some(body)))
            }
            Err(error) => {
                let broken =
                    http_body_util::StreamBody::new(futures_util::stream::iter([Err(error)]));
                Response::from_parts(parts, EdgeBody::Boxed(BodyExt::boxed_unsync(broken)))
            }
        }
    }
}

/// All of `Cache-Control` in lower case; `None` where it cannot be read.
fn directives(headers: &HeaderMap) -> Option<String> {
    let mut all = String::new();
    for value in headers.get_all(CACHE_CONTROL) {
        all.push_str(value.to_str().ok()?);
        all.push(',');
    }
    all.make_ascii_lowercase();
    Some(all)
}

/// How long the answer says it stays fresh in a shared cache.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let all = directives(headers)?;
    let seconds = |name: &str| {
        let value = all
            .split(',')
            .find_map(|item| item.trim().strip_prefix(name))?;
        Some(Duration::from_secs(
            value.trim_matches('"').parse().unwrap_or(0),
        ))
    };
    seconds("s-maxage=").or_else(|| seconds("max-age="))
}

fn may_be_kept(response: &Response<EdgeBody>) -> bool {
    let headers = response.headers();
    let forbidden = directives(headers).is_none_or(|text| {
        ["no-store", "private", "no-cache"]
            .iter()
            .any(|word| text.contains(word))
    });
    let varies = headers.get_all(VARY).iter().any(|value| {
        value.to_str().map_or(true, |text| {
            text.split(',').map(str::trim).any(|name| {
                !KEYED
                    .iter()
                    .any(|keyed| keyed.as_str().eq_ignore_ascii_case(name))
            })
        })
    });
    response.status() == StatusCode::OK
        && !forbidden
        && !varies
        && !headers.contains_key(SET_COOKIE)
}
