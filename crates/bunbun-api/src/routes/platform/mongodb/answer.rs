//! Answers of Extended JSON, put together from the engine's text.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, response::Response};
use bunbun_databases::mongodb::ejson::Format;
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, VARY},
    request::Parts,
};

/// The media type of canonical Extended JSON.
pub(super) const EJSON: &str = "application/ejson";

/// The form that the caller accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted(pub(crate) Format);

impl<S: Sync> FromRequestParts<S> for Accepted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let wants_types = parts
            .headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(is_ejson);
        Ok(Self(if wants_types {
            Format::Canonical
        } else {
            Format::Relaxed
        }))
    }
}

/// Whether a media range is Extended JSON's, and not one that must not be sent (`q=0`).
fn is_ejson(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_it = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case(EJSON));
    is_it && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
}

/// A JSON object under construction.
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<u8>);

impl Object {
    /// Adds a member whose value is JSON text already.
    pub(crate) fn raw(mut self, name: &str, json: &[u8]) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        // The names are ours: plain words.
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0.extend_from_slice(json);
        self
    }

    /// Adds a member of plain data.
    pub(crate) fn with(self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.raw(name, value.into().to_string().as_bytes())
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }

    /// As a whole answer.
    pub(crate) fn respond(self, status: StatusCode, format: Format) -> Response {
        respond(status, format, self.finish())
    }
}

/// Texts as a JSON array.
pub(crate) fn array(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut text = vec![b'['];
    for item in items {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(&item);
    }
    text.push(b']');
    text
}

/// An answer whose text is there.
pub(crate) fn respond(status: StatusCode, format: Format, text: Vec<u8>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let media = match format {
        Format::Canonical => EJSON,
        Format::Relaxed | Format::Plain => "application/json",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::{Object, array, is_ejson};

    #[test]
    fn texts_are_put_together() {
        assert_eq!(Object::default().finish(), b"{}");
        let items = array([b"1".to_vec(), b"{}".to_vec()]);
        let text = Object::default().raw("a", &items).with("b", "x\"").finish();
        assert_eq!(text, br#"{"a":[1,{}],"b":"x\""}"#);
    }

    #[test]
    fn the_media_type_is_found_among_others() {
        for range in ["application/ejson", " Application/EJSON;q=0.5"] {
            assert!(is_ejson(range), "{range}");
        }
        for range in ["application/json", "*/*", "application/ejson;q=0", ""] {
            assert!(!is_ejson(range), "{range}");
        }
    }
}
