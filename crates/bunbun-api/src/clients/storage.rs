//! The client of the storage service: objects in buckets.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bunbun_http::{Body, slots::SlotCall};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        IF_UNMODIFIED_SINCE, RANGE,
    },
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{Error, OnBehalf, Service};

/// As long as the route of the service itself has.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(300);
const X_UPSERT: HeaderName = HeaderName::from_static("x-upsert");
/// Where the service is found from outside, for URLs in its answers.
const FORWARDED_PREFIX: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderValue::from_static("/storage/v1"),
);

/// What a download may depend on.
const CONDITIONS: [HeaderName; 6] = [
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
];

/// Where an object lies.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// The bucket.
    pub bucket: &'p str,
    /// The path in it; no segment is empty, `.` or `..`.
    pub path: &'p str,
}

impl Place<'_> {
    /// As two or more segments of a URL's path, without a slash before them.
    #[must_use]
    pub fn encoded(self) -> String {
        format!("{}/{}", encoded(self.bucket), encoded(self.path))
    }
}

/// A path with everything escaped that is not plain in a URL. Slashes stay.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// How an object is to be written.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its media type.
    pub content_type: HeaderValue,
    /// Whether one that is there is replaced.
    pub upsert: bool,
    /// Its size, where it is known.
    pub length: Option<u64>,
}

/// What is known of an object.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Info {
    /// The entity tag of its content.
    #[serde(default)]
    pub etag: Option<String>,
    /// Its size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Its media type.
    #[serde(default)]
    pub content_type: Option<String>,
}

/// Objects of a bucket, by name.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// Where the next page begins.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// Whether there is one.
    #[serde(default)]
    pub has_next: bool,
}

/// An object of a listing.
#[derive(Debug, Clone, Deserialize)]
pub struct Object {
    /// Its whole path.
    pub name: String,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was last written.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `size`, `mimetype`, `eTag`, `cacheControl`, …
    #[serde(default, deserialize_with = "null_is_empty")]
    pub metadata: Map<String, Value>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Map<String, Value>, D::Error> {
    Option::deserialize(json).map(Option::unwrap_or_default)
}

/// The storage service, called on behalf of one caller.
pub struct Client<'a>(Service<'a>);

impl<'a> Client<'a> {
    /// A client.
    #[must_use]
    pub fn new(slots: &'a Arc<dyn SlotCall>, behalf: &'a OnBehalf) -> Self {
        Self(Service {
            name: "storage",
            slots,
            behalf,
            first_byte_timeout: FIRST_BYTE_TIMEOUT,
        })
    }

    /// Writes an object; the answer is its bucket and path.
    ///
    /// # Errors
    /// What the service refuses, and when it cannot be reached.
    pub async fn upload(
        &self,
        place: Place<'_>,
        upload: Upload,
        body: Body,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Uploaded {
            key: String,
        }
        let path = format!("/object/{}", place.encoded());
        let mut request = self.request(Method::POST, &path)?;
        *request.body_mut() = body;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, upload.content_type);
        let upsert = if upload.upsert { "true" } else { "false" };
        headers.insert(X_UPSERT, HeaderValue::from_static(upsert));
        if let Some(length) = upload.length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let (_, Uploaded { key }) = self.0.fetch(request).await?;
        Ok(key)
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn info(&self, place: Place<'_>) -> Result<Info, Error> {
        let path = format!("/object/info/{}", place.encoded());
        let request = self.request(Method::GET, &path)?;
        self.0.fetch(request).await.map(|(_, info)| info)
    }

    /// Reads an object, or with `HEAD` what stands above it. `headers` may ask for a range or have
    /// conditions.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn download(
        &self,
        method: &Method,
        place: Place<'_>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Error> {
        let path = format!("/object/authenticated/{}", place.encoded());
        let request = |method| {
            let mut request = self.request(method, &path)?;
            for name in CONDITIONS {
                for value in headers.get_all(&name) {
                    request.headers_mut().append(name.clone(), value.clone());
                }
            }
            Ok::<_, Error>(request)
        };
        if *method == Method::HEAD {
            match self.0.send(request(Method::HEAD)?).await {
                // Why is told in a body, which a HEAD's answer has not.
                Err(Error::Refused(refused)) if refused.status == 400 => {}
                answered => return answered,
            }
        }
        self.0.send(request(Method::GET)?).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn delete(&self, place: Place<'_>) -> Result<(), Error> {
        let path = format!("/object/{}", place.encoded());
        let request = self.request(Method::DELETE, &path)?;
        self.0.send(request).await.map(drop)
    }

    /// The objects of a bucket whose path begins with a prefix, in the order of their paths, from
    /// after a cursor of the page before.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Listing, Error> {
        let mut body = json!({ "prefix": prefix, "limit": limit, "with_delimiter": false });
        if let Some(cursor) = cursor {
            body["cursor"] = cursor.into();
        }
        let path = format!("/object/list-v2/{}", encoded(bucket));
        let request = self.0.json_request(Method::POST, &path, &body)?;
        self.0.fetch(request).await.map(|(_, listing)| listing)
    }

    /// A path with a token that opens an object for some seconds to whoever has it, below the
    /// service's public prefix.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub async fn sign(&self, place: Place<'_>, expires_in: u32) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Signed {
            #[serde(rename = "signedURL")]
            url: String,
        }
        let path = format!("/object/sign/{}", place.encoded());
        let body = json!({ "expiresIn": expires_in });
        let request = self.0.json_request(Method::POST, &path, &body)?;
        let (_, Signed { url }) = self.0.fetch(request).await?;
        if !url.starts_with('/') {
            return Err(self.0.unusable("its signed URL is no path"));
        }
        Ok(format!("/storage/v1{url}"))
    }

    fn request(&self, method: Method, path: &str) -> Result<http::Request<Body>, Error> {
        let mut request = self.0.request(method, path)?;
        let (name, value) = FORWARDED_PREFIX;
        request.headers_mut().insert(name, value);
        Ok(request)
    }
}

/// Whether an answer to a download is one that is passed on.
#[must_use]
pub fn is_download(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    )
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn places_are_escaped_for_urls() {
        let place = Place {
            bucket: "my bucket",
            path: "a/b c?d#e%2F/ä+&.png",
        };
        assert_eq!(
            place.encoded(),
            "my%20bucket/a/b%20c%3Fd%23e%252F/%C3%A4%2B%26.png"
        );
    }
}
