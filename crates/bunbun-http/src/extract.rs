//! Extractors that validate and whose refusals name every fault with its JSON pointer.

use std::fmt::Write as _;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bunbun_core::Code;
use garde::Validate;
use http::{header::CONTENT_TYPE, request::Parts};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    body::{BoxError, Fault},
    error::ApiError,
};

/// A JSON object as the body, parsed and validated.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
    S: Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|text| {
                let essence = text.split(';').next().unwrap_or_default().trim();
                essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
            });
        if !is_json {
            let message = "The body must be JSON: send 'Content-Type: application/json'.";
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
        let bytes = request
            .into_body()
            .collect()
            .await
            .map_err(|e| unreadable(e.into()))?
            .to_bytes();
        // serde would also take an array of the members' values for an object.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            let message = "The body must be a JSON object.";
            let details = json!({ "errors": [{ "pointer": "", "message": "expected an object" }] });
            return Err(ApiError::new(Code::InvalidRequest, message).with_details(details));
        }
        let value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            // Read again to learn where the fault is: keeping the path costs as much as parsing.
            Err(_) => with_path(&bytes)?,
        };
        validated(value).map(Self)
    }
}

fn with_path<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| fault(&error))?;
    json.end().map_err(|error| {
        ApiError::new(
            Code::InvalidRequest,
            format!("The body is not one JSON value: {error}."),
        )
    })?;
    Ok(value)
}

/// A query string, parsed and validated.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
    S: Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let axum::extract::Query(value) = axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::new(Code::InvalidRequest, error.body_text()))?;
        validated(value).map(Self)
    }
}

/// Path parameters. A parameter that cannot be one is an unknown path.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::new(Code::InvalidRequest, error.body_text())),
        }
    }
}

/// A value that keeps its rules.
///
/// # Errors
/// `VALIDATION_FAILED` with every fault's JSON pointer.
pub fn validated<T: Validate<Context = ()>>(value: T) -> Result<T, ApiError> {
    let Err(report) = value.validate() else {
        return Ok(value);
    };
    let errors: Vec<Value> = report
        .iter()
        .map(|(path, error)| {
            let pointer = path.to_string().replace(['.', '['], "/").replace(']', "");
            json!({ "pointer": format!("/{pointer}"), "message": error.message() })
        })
        .collect();
    let first = errors.first().map_or_else(String::new, |e| {
        format!(
            " {}: {}",
            e["pointer"].as_str().unwrap_or(""),
            e["message"].as_str().unwrap_or("")
        )
    });
    let message = format!("The request breaks {} rule(s).{first}", errors.len());
    Err(ApiError::new(Code::ValidationFailed, message).with_details(json!({ "errors": errors })))
}

fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in error.path() {
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => {
                write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1"))
            }
            Segment::Enum { variant } => write!(pointer, "/{variant}"),
            Segment::Unknown => Ok(()),
        };
    }
    let message = in_terms_of_json(without_value(error.inner().to_string()));
    ApiError::new(
        Code::InvalidRequest,
        format!("The body cannot be used: {message}."),
    )
    .with_details(json!({ "errors": [{ "pointer": pointer, "message": message }] }))
}

/// serde repeats the value that has the wrong type, which may be a secret.
fn without_value(message: String) -> String {
    for fault in ["invalid type: ", "invalid value: "] {
        let Some(rest) = message.strip_prefix(fault) else {
            continue;
        };
        let Some((found, _)) = rest.split_once(['`', '"']) else {
            continue;
        };
        // The last one: the value may have the word in it.
        let expected = rest.rfind(", expected ").unwrap_or(rest.len());
        return format!("{fault}{}{}", found.trim_end(), &rest[expected..]);
    }
    message
}

/// serde names what it expected by the names of Rust's types.
fn in_terms_of_json(message: String) -> String {
    const EXPECTED: &str = ", expected ";
    // The last one: what stands before it may be the caller's own text.
    let Some(at) = message.rfind(EXPECTED) else {
        return message;
    };
    let (before, expected) = message.split_at(at + EXPECTED.len());
    let (first, rest) = expected.split_once(' ').unwrap_or((expected, ""));
    let (name, rest) = match first {
        "struct" => (
            "an object",
            rest.split_once(' ').map_or("", |(_, rest)| rest),
        ),
        "u8" | "u16" | "u32" | "u64" | "usize" => ("a non-negative integer", rest),
        "i8" | "i16" | "i32" | "i64" | "isize" => ("an integer", rest),
        "f32" | "f64" => ("a number", rest),
        _ => return message,
    };
    format!("{before}{name} {rest}").trim_end().to_owned()
}

fn unreadable(error: BoxError) -> ApiError {
    let fault = Fault::of(&error);
    ApiError::new(fault.code(), fault.to_string()).with_cause(error)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{in_terms_of_json, without_value};

    #[derive(Debug, Deserialize)]
    struct Body {
        #[serde(rename = "password")]
        _password: Option<String>,
        #[serde(rename = "count")]
        _count: Option<u8>,
    }

    #[test]
    fn faults_name_types_and_never_values() {
        for (json, expected) in [
            (
                r#"{"password":123456}"#,
                "invalid type: integer, expected a string",
            ),
            (
                r#"{"password":1.5}"#,
                "invalid type: floating point, expected a string",
            ),
            (
                r#"{"password":true}"#,
                "invalid type: boolean, expected a string",
            ),
            (
                r#"{"password":["123456"]}"#,
                "invalid type: sequence, expected a string",
            ),
            (
                r#"{"count":"123456, expected `123456"}"#,
                "invalid type: string, expected a non-negative integer",
            ),
            (
                r#"{"count":123456}"#,
                "invalid value: integer, expected a non-negative integer",
            ),
        ] {
            let error = serde_json::from_str::<Body>(json).expect_err(json);
            let message = in_terms_of_json(without_value(error.to_string()));
            assert!(message.starts_with(expected), "{json}: {message}");
            assert!(!message.contains("123456"), "{message}");
        }
    }
}
