//! Requests of Extended JSON: the body as a document, and its members by name and type.

use axum::extract::{FromRequest, Request};
use bunbun_core::Code;
use bunbun_databases::mongodb::{
    bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf},
    ejson::{ParseError, parse_document},
};
use bunbun_http::{ApiError, body::Fault};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::answer::EJSON;

/// A body of Extended JSON, one object.
#[derive(Debug, Clone)]
pub(crate) struct Ejson(pub(crate) RawDocumentBuf);

impl<S: Sync> FromRequest<S> for Ejson {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|text| {
                let media = text.split(';').next().unwrap_or_default().trim();
                media.eq_ignore_ascii_case("application/json") || media.eq_ignore_ascii_case(EJSON)
            });
        if !is_json {
            let message = "The body must be Extended JSON: send 'Content-Type: application/json' \
                           or 'application/ejson'.";
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
        let collected = request.into_body().collect().await.map_err(|error| {
            let error = error.into();
            let fault = Fault::of(&error);
            ApiError::new(fault.code(), fault.to_string()).with_cause(error)
        })?;
        parse_document(&collected.to_bytes())
            .map(Self)
            .map_err(|error| unreadable("The body", "", &error))
    }
}

/// A text that is no Extended JSON; `pointer` is where it stands in the request.
fn unreadable(what: &str, pointer: &str, error: &ParseError) -> ApiError {
    let pointer = format!("{pointer}{}", error.pointer);
    let message = format!(
        "{what} cannot be used: {} (byte {}).",
        error.message, error.offset
    );
    ApiError::new(Code::InvalidRequest, message)
        .with_details(json!({ "errors": [{ "pointer": pointer, "message": error.message }] }))
}

/// A document in a query parameter.
pub(crate) fn parameter(
    name: &str,
    text: Option<&str>,
) -> Result<Option<RawDocumentBuf>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    parse_document(text.as_bytes())
        .map(Some)
        .map_err(|error| unreadable(&format!("'{name}'"), &format!("/{name}"), &error))
}

/// A member that is missing or of the wrong type.
pub(crate) fn wrong(pointer: &str, message: &str) -> ApiError {
    ApiError::new(
        Code::ValidationFailed,
        format!("The request breaks a rule. {pointer}: {message}"),
    )
    .with_details(json!({ "errors": [{ "pointer": pointer, "message": message }] }))
}

/// The members of a document of the caller.
pub(crate) struct Members<'d> {
    document: &'d RawDocument,
    /// Where it stands in the request.
    pointer: String,
}

impl<'d> Members<'d> {
    /// Takes these members and no others.
    pub(crate) fn of(
        document: &'d RawDocument,
        pointer: &str,
        known: &[&str],
    ) -> Result<Self, ApiError> {
        for element in document {
            let (key, _) = element.map_err(|_| wrong(pointer, "malformed"))?;
            if !known.contains(&key.as_str()) {
                let message = format!("unknown member; these are known: {}", known.join(", "));
                return Err(wrong(&format!("{pointer}/{key}"), &message));
            }
        }
        Ok(Self {
            document,
            pointer: pointer.to_owned(),
        })
    }

    pub(crate) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    fn wrong(&self, name: &str, message: &str) -> ApiError {
        wrong(&self.pointer(name), message)
    }

    /// The value; null is none.
    pub(crate) fn value(&self, name: &str) -> Option<RawBsonRef<'d>> {
        let value = self.document.get(name).ok().flatten();
        value.filter(|value| !matches!(value, RawBsonRef::Null))
    }

    fn typed<T>(
        &self,
        name: &str,
        what: &str,
        read: impl FnOnce(RawBsonRef<'d>) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| self.wrong(name, what))
    }

    pub(crate) fn document(&self, name: &str) -> Result<Option<RawDocumentBuf>, ApiError> {
        self.typed(name, "must be an object", |value| {
            value.as_document().map(RawDocument::to_owned)
        })
    }

    pub(crate) fn array(&self, name: &str) -> Result<Option<RawArrayBuf>, ApiError> {
        self.typed(name, "must be an array", |value| {
            let mut copy = RawArrayBuf::new();
            for item in value.as_array()? {
                copy.push(item.ok()?);
            }
            Some(copy)
        })
    }

    /// An array of documents.
    pub(crate) fn documents(&self, name: &str) -> Result<Option<Vec<RawDocumentBuf>>, ApiError> {
        self.typed(name, "must be an array of objects", |value| {
            value
                .as_array()?
                .into_iter()
                .map(|item| item.ok()?.as_document().map(RawDocument::to_owned))
                .collect()
        })
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'d str>, ApiError> {
        self.typed(name, "must be a string", RawBsonRef::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "must be true or false", RawBsonRef::as_bool)
    }

    pub(crate) fn whole(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.typed(
            name,
            "must be a non-negative integer",
            |value| match value {
                RawBsonRef::Int32(number) => u64::try_from(number).ok(),
                RawBsonRef::Int64(number) => u64::try_from(number).ok(),
                _ => None,
            },
        )
    }

    /// Most items: 1 to `most`, or the default.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let limit = self
            .whole("limit")?
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        match limit {
            None => Ok(default),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(self.wrong("limit", &format!("must be 1 to {most}"))),
        }
    }

    /// A member that has to be there.
    pub(crate) fn required<T>(&self, name: &str, found: Option<T>) -> Result<T, ApiError> {
        found.ok_or_else(|| self.wrong(name, "must be there"))
    }
}
