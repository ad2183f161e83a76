//! The third phase: whose project a request belongs to, and which application key it carries.

use std::{borrow::Cow, sync::Arc};

use bunbun_core::project::{IdentifiedKey, KeyRole, Project};
use bunbun_http::identity::APIKEY;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;

use crate::{edge::EdgeConfig, refusal::Refusal, route::KeyRules};

const X_API_KEY: http::HeaderName = http::HeaderName::from_static("x-api-key");
const SB_API_KEY: http::HeaderName = http::HeaderName::from_static("sb-api-key");
const X_CONSUMER_USERNAME: http::HeaderName = http::HeaderName::from_static("x-consumer-username");

/// The project of a request and the path within it.
pub(crate) fn project<'p>(
    config: &EdgeConfig,
    host: &str,
    path: Cow<'p, str>,
) -> Result<(Arc<Project>, Cow<'p, str>), Refusal> {
    let projects = &config.projects;
    let base_domain = config.base_domain.as_deref();
    if let Some(reference) = base_domain.and_then(|domain| label_of(host, domain)) {
        let found = projects.find(&reference.to_ascii_lowercase());
        return found
            .map(|project| (project, path))
            .ok_or(Refusal::UnknownProject);
    }
    let Some(rest) = path.strip_prefix("/p/") else {
        return Ok((projects.default_project(), path));
    };
    let (reference, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let project = projects.find(reference).ok_or(Refusal::UnknownProject)?;
    let rest = format!("/{rest}");
    Ok((project, rest.into()))
}

/// The label before the base domain; the domain itself has none.
fn label_of<'h>(host: &'h str, domain: &str) -> Option<&'h str> {
    let end = host.len().checked_sub(domain.len())?;
    let (label, rest) = (host.get(..end)?, host.get(end..)?);
    let label = label.strip_suffix('.')?;
    (rest.eq_ignore_ascii_case(domain) && !label.is_empty()).then_some(label)
}

/// The application key of a request.
pub(crate) enum Key<'p> {
    /// There is none.
    Missing,
    /// There are several.
    Duplicate,
    /// It is none of the project's.
    Unknown { opaque: bool },
    /// It is one of the project's.
    Known {
        found: IdentifiedKey<'p>,
        value: String,
    },
}

impl<'p> Key<'p> {
    /// Finds the key in the header `apikey` or else in the parameter `apikey`.
    pub(crate) fn find(project: &'p Project, headers: &HeaderMap, query: Option<&str>) -> Self {
        let mut values = headers.get_all(APIKEY).iter();
        let value = match (values.next(), values.next()) {
            (Some(_), Some(_)) => return Self::Duplicate,
            (Some(value), None) => match value.to_str() {
                Ok(text) => text.to_owned(),
                Err(_) => return Self::Unknown { opaque: false },
            },
            (None, _) => {
                let mut values = query.into_iter().flat_map(query_keys);
                match (values.next(), values.next()) {
                    (Some(_), Some(_)) => return Self::Duplicate,
                    (Some(value), None) => {
                        percent_decode_str(value).decode_utf8_lossy().into_owned()
                    }
                    (None, _) => return Self::Missing,
                }
            }
        };
        match project.identify_key(&value) {
            Some(found) => Self::Known { found, value },
            None => Self::Unknown {
                opaque: value.starts_with(Project::OPAQUE_PREFIX),
            },
        }
    }

    /// Its role, where it is one of the project's.
    pub(crate) const fn role(&self) -> Option<KeyRole> {
        match self {
            Self::Known { found, .. } => Some(found.role),
            _ => None,
        }
    }

    /// A name for logs that does not give it away.
    pub(crate) fn log_name(&self) -> Option<Cow<'static, str>> {
        let Self::Known { found, value } = self else {
            return None;
        };
        Some(match found.translated {
            Some(_) => {
                let print = bunbun_core::secret::fingerprint(value.as_bytes());
                format!("{}:{print}", found.role.as_str()).into()
            }
            None => found.role.as_str().into(),
        })
    }

    /// The token that stands for the key upstream: an opaque key's translation, or itself.
    fn token(&self) -> Option<&str> {
        match self {
            Self::Known {
                found:
                    IdentifiedKey {
                        translated: Some(token),
                        ..
                    },
                ..
            } => Some(token.expose_secret()),
            Self::Known { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether the key itself must not travel on.
    const fn is_opaque(&self) -> bool {
        matches!(
            self,
            Self::Known {
                found: IdentifiedKey {
                    translated: Some(_),
                    ..
                },
                ..
            }
        )
    }

    /// Writes the key as the service behind the route reads it. A client's own `Authorization`
    /// wins, unless it only repeats an opaque key.
    pub(crate) fn translate(&self, rules: KeyRules, headers: &mut HeaderMap) {
        // An empty value would break the signatures of presigned requests.
        if headers
            .get(AUTHORIZATION)
            .is_some_and(HeaderValue::is_empty)
        {
            headers.remove(AUTHORIZATION);
        }
        if rules.x_api_key {
            headers.remove(X_API_KEY);
        }
        // An opaque key never travels on, whether it counts here or not.
        if rules.authorization && headers.get_all(AUTHORIZATION).iter().any(is_opaque_bearer) {
            headers.remove(AUTHORIZATION);
        }
        let Some(token) = self.token() else { return };
        if rules.authorization && !headers.contains_key(AUTHORIZATION) {
            let bare = !rules.bearer && !self.is_opaque();
            let text = if bare {
                token.to_owned()
            } else {
                format!("Bearer {token}")
            };
            set(headers, AUTHORIZATION, &text);
        }
        if rules.x_api_key {
            set(headers, X_API_KEY, token);
        }
        if rules.sb_api_key {
            set(headers, SB_API_KEY, token);
        }
        if rules.hide {
            headers.remove(APIKEY);
        } else if rules.authorization && (self.is_opaque() || rules.bearer) {
            // Envoy's profile also copies it from the query.
            set(headers, APIKEY, token);
        }
        if let (true, Some(role)) = (rules.consumer, self.role()) {
            headers.insert(X_CONSUMER_USERNAME, HeaderValue::from_static(role.as_str()));
        }
    }

    /// The query for the upstream: the value of `apikey` is replaced by the token that stands for
    /// it, or goes where the key is hidden.
    pub(crate) fn translate_query<'q>(&self, rules: KeyRules, query: &'q str) -> Cow<'q, str> {
        // Also beside a key in the header: no other key may travel in the query.
        let replace = self.token().is_some() && rules.authorization;
        if !(replace || rules.hide) || query_keys(query).next().is_none() {
            return query.into();
        }
        let token = self.token().filter(|_| !rules.hide);
        let parameters = query.split('&').filter_map(|parameter| {
            if !parameter.starts_with("apikey=") {
                return Some(parameter.to_owned());
            }
            token.map(|token| format!("apikey={token}"))
        });
        parameters.collect::<Vec<_>>().join("&").into()
    }
}

fn is_opaque_bearer(value: &HeaderValue) -> bool {
    let (scheme, token) = value.as_bytes().split_at(value.len().min("bearer ".len()));
    scheme.eq_ignore_ascii_case(b"bearer ")
        && token
            .trim_ascii_start()
            .starts_with(Project::OPAQUE_PREFIX.as_bytes())
}

fn query_keys(query: &str) -> impl Iterator<Item = &str> {
    query
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("apikey="))
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, text: &str) {
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}
