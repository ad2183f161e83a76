//! `POST /s3/{bucket}`: a browser's form with a signed policy.

use axum::{body::Body, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_core::secret;
use http::{Method, StatusCode, header, request::Parts};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    auth,
    signature::{self, Credential},
    xml::{NAMESPACE, Writer},
    xml_response,
};
use crate::{
    download,
    error::{Code, Result, StorageError},
    mime, names,
    request::Call,
    routes::object::create::{self, Form},
    upload::{self, Upload},
};

/// A signed policy.
#[derive(Debug, Deserialize)]
struct Policy {
    expiration: String,
    conditions: Vec<Value>,
}

/// Whether a request is such a form.
pub(super) fn is_form(parts: &Parts) -> bool {
    let value = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    parts.method == Method::POST
        && value.is_some_and(|text| text.starts_with("multipart/form-data"))
}

/// Uploads the form's file as the policy allows.
pub(super) async fn upload(
    call: Call,
    parts: &Parts,
    body: Body,
    bucket: &str,
) -> Result<Response> {
    let Form { fields, file } = create::read_form(&parts.headers, body).await?;
    check_names(&fields)?;
    let field = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    };
    let needed = |name: &str| field(name).ok_or_else(|| StorageError::missing_parameter(name));
    let invalid = || StorageError::new(Code::InvalidSignature, 400, "Invalid signature format");
    if needed("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(invalid());
    }
    let credential = Credential::parse(needed("x-amz-credential")?).ok_or_else(invalid)?;
    let encoded = needed("policy")?;
    let (secret_key, caller) =
        auth::secret_of(&call, &credential.access_key, field("x-amz-security-token"))?;
    let key = credential.signing_key(secret_key.expose_secret());
    let expected = signature::sign_text(&key, encoded);
    if !secret::equal(expected.as_bytes(), needed("x-amz-signature")?.as_bytes()) {
        let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        return Err(StorageError::new(Code::SignatureDoesNotMatch, 403, message));
    }
    let key = needed("key")?.replace("${filename}", file.name.as_deref().unwrap_or_default());
    let policy = BASE64_STANDARD.decode(encoded).ok();
    let policy: Option<Policy> = policy.and_then(|json| serde_json::from_slice(&json).ok());
    let policy = policy.ok_or_else(|| StorageError::invalid_parameter("policy"))?;
    let now = call.service().0.clock.unix_seconds();
    let value = |name: &str| match name {
        "bucket" => Some(bucket.to_owned()),
        "key" => Some(key.clone()),
        other => field(other).map(str::to_owned),
    };
    let sizes = policy.check(now, &fields, value)?;
    names::bucket(bucket)?;
    names::key(&key)?;
    let session = call.of("storage.s3.upload", caller).await?;
    let row = upload::bucket(&session, bucket).await?;
    let new = Upload {
        bucket: bucket.to_owned(),
        name: key,
        version: upload::new_version(),
        who: session.caller.clone(),
        owner: session.owner().map(str::to_owned),
        upsert: true,
        if_match: None,
        mimetype: field("content-type").unwrap_or(&file.mimetype).to_owned(),
        cache_control: field("cache-control").unwrap_or("no-cache").to_owned(),
        user_metadata: metadata(&fields),
    };
    mime::check(&new.mimetype, row.allowed_mime_types.as_deref())?;
    upload::prove(&session, &new, None).await?;
    let most = sizes.1.min(upload::limit(&session, &row));
    let writer = session
        .service
        .0
        .blobs
        .writer(&new.key(&session), crate::blobs::Digests::etag());
    let writer = upload::receive(writer, file.body, most).await?;
    if writer.size() < sizes.0 {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        return Err(StorageError::new(Code::InvalidRequest, 400, message));
    }
    let (object, ()) = upload::complete_checked(&session, new, writer, |_| Ok(())).await?;
    let status = match field("success_action_status") {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    };
    let mut response = if status == StatusCode::CREATED {
        let mut body = Writer::document("PostResponse", Some(NAMESPACE));
        body.text(
            "Location",
            &format!("/{}/{}", object.bucket_id, object.name),
        );
        body.text("Bucket", &object.bucket_id);
        body.text("Key", &object.name);
        body.text("ETag", &object.etag());
        xml_response(status, body.finish())
    } else {
        super::empty(status)
    };
    download::insert(response.headers_mut(), header::ETAG, &object.etag());
    Ok(response)
}

/// Refuses a second field of a name: the policy would be asked about one and the other be used.
fn check_names(fields: &[(String, String)]) -> Result<()> {
    let mut names: Vec<_> = fields
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("The form has more than one field {}", pair[0]);
            Err(StorageError::new(Code::InvalidRequest, 400, message))
        }
    }
}

fn metadata(fields: &[(String, String)]) -> Option<Value> {
    let pairs = fields.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        Some((
            name.strip_prefix("x-amz-meta-")?.to_owned(),
            Value::from(value.as_str()),
        ))
    });
    let map: serde_json::Map<String, Value> = pairs.collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

/// Fields that need no condition.
const FREE: [&str; 4] = ["policy", "x-amz-signature", "file", "x-amz-security-token"];

impl Policy {
    /// Checks every condition, and that every field has one; the sizes it allows.
    fn check(
        &self,
        now: i64,
        fields: &[(String, String)],
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<(u64, u64)> {
        let denied =
            |why: &str| StorageError::access_denied(format!("Invalid according to Policy: {why}"));
        let expires = OffsetDateTime::parse(&self.expiration, &Rfc3339);
        if expires.map_or(true, |at| at.unix_timestamp() <= now) {
            return Err(denied("Policy expired."));
        }
        let mut sizes = (0, u64::MAX);
        let mut covered = Vec::new();
        for condition in &self.conditions {
            let (operator, name, wanted) = match condition {
                Value::Object(map) => {
                    let mut pairs = map.iter();
                    let (Some((name, wanted)), None) = (pairs.next(), pairs.next()) else {
                        return Err(denied("a condition must have exactly one property"));
                    };
                    ("eq".to_owned(), name.clone(), wanted.clone())
                }
                Value::Array(list) => match &list[..] {
                    [Value::String(operator), Value::String(name), wanted] => {
                        (operator.to_ascii_lowercase(), name.clone(), wanted.clone())
                    }
                    [Value::String(operator), least, most]
                        if operator.eq_ignore_ascii_case("content-length-range") =>
                    {
                        let number = |value: &Value| {
                            value.as_u64().ok_or_else(|| denied("a size is no number"))
                        };
                        sizes = (number(least)?, number(most)?);
                        continue;
                    }
                    _ => return Err(denied("a condition cannot be read")),
                },
                _ => return Err(denied("a condition cannot be read")),
            };
            let name = name.trim_start_matches('$').to_ascii_lowercase();
            let wanted = wanted
                .as_str()
                .ok_or_else(|| denied("a condition is no text"))?;
            let actual = value(&name).unwrap_or_default();
            let holds = match operator.as_str() {
                "eq" => actual == wanted,
                "starts-with" => actual.starts_with(wanted),
                _ => false,
            };
            if !holds {
                return Err(denied("Policy Condition failed"));
            }
            covered.push(name);
        }
        for (name, _) in fields {
            let name = name.to_ascii_lowercase();
            let is_free = FREE.contains(&name.as_str()) || name.starts_with("x-ignore-");
            if !is_free && !covered.contains(&name) {
                return Err(denied("Extra input fields"));
            }
        }
        if !covered.iter().any(|name| name == "bucket") || !covered.iter().any(|name| name == "key")
        {
            return Err(denied("bucket and key need conditions"));
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Policy;

    fn check(conditions: serde_json::Value, fields: &[(&str, &str)]) -> bool {
        let policy = Policy {
            expiration: "2030-01-01T00:00:00Z".to_owned(),
            conditions: conditions.as_array().unwrap().clone(),
        };
        let fields: Vec<_> = fields
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let value = |name: &str| match name {
            "bucket" => Some("b".to_owned()),
            other => fields
                .iter()
                .find(|(n, _)| n == other)
                .map(|(_, v)| v.clone()),
        };
        policy.check(0, &fields, value).is_ok()
    }

    #[test]
    fn policies_allow_what_they_say_and_nothing_else() {
        let conditions = json!([{"bucket": "b"}, ["starts-with", "$key", "user/"], {"x-amz-meta-a": "1"}, ["content-length-range", 1, 10]]);
        assert!(check(
            conditions.clone(),
            &[("key", "user/x"), ("x-amz-meta-a", "1"), ("policy", "p")]
        ));
        assert!(!check(
            conditions.clone(),
            &[("key", "other/x"), ("x-amz-meta-a", "1")]
        ));
        assert!(!check(
            conditions.clone(),
            &[("key", "user/x"), ("x-amz-meta-a", "2")]
        ));
        assert!(!check(conditions.clone(), &[("key", "user/x")]));
        assert!(!check(
            conditions,
            &[
                ("key", "user/x"),
                ("x-amz-meta-a", "1"),
                ("acl", "public-read")
            ]
        ));
        assert!(!check(
            json!([["starts-with", "$key", ""]]),
            &[("key", "x")]
        ));
        assert!(!check(
            json!([{"bucket": "b"}, ["matches", "$key", ""]]),
            &[("key", "x")]
        ));
    }
}
