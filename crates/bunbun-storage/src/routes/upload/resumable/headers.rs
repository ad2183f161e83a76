//! The headers of TUS.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use time::OffsetDateTime;

use crate::{
    blobs::Algorithm,
    conditions::http_date,
    download::insert,
    error::{Result, StorageError},
};

/// The version of the protocol.
pub(super) const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum";

/// What pages of other origins may read.
pub(super) const EXPOSED: &str = "Location,Tus-Resumable,Tus-Version,Tus-Extension,Tus-Max-Size,Upload-Offset,Upload-Length,Upload-Metadata,Upload-Defer-Length,Upload-Expires";

pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");

/// What the server can do.
pub(super) fn abilities(headers: &mut HeaderMap, most: u64) {
    for (name, value) in [
        ("tus-resumable", VERSION),
        ("tus-version", VERSION),
        ("tus-extension", EXTENSIONS),
        ("tus-checksum-algorithm", "sha1,md5,sha256,crc32"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers.insert(HeaderName::from_static("tus-max-size"), most.into());
}

/// Requests of another version are refused, as the protocol has it.
pub(super) fn check_version(headers: &HeaderMap) -> Result<()> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        Some(_) => Err(StorageError::tus(412, "Tus-Resumable must be 1.0.0")),
        None => Err(StorageError::tus(412, "Tus-Resumable is missing")),
    }
}

/// A header that is a whole number.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| StorageError::tus(400, "A header is no whole number"))
}

/// `Upload-Length`, or `None` with `Upload-Defer-Length: 1`.
pub(super) fn announced_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let length = number(headers, &UPLOAD_LENGTH)?;
    let deferred = match headers.get(UPLOAD_DEFER_LENGTH) {
        None => false,
        Some(value) if value == "1" => true,
        Some(_) => return Err(StorageError::tus(400, "Upload-Defer-Length must be 1")),
    };
    match (length, deferred) {
        (Some(length), false) => Ok(Some(length)),
        (None, true) => Ok(None),
        _ => Err(StorageError::tus(
            400,
            "Upload-Length or Upload-Defer-Length is needed, and not both",
        )),
    }
}

/// `Upload-Checksum: sha1 …` in base64.
pub(super) fn checksum(headers: &HeaderMap) -> Result<Option<(Algorithm, String)>> {
    let Some(value) = headers.get(UPLOAD_CHECKSUM) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let unknown = || StorageError::tus(400, "Upload-Checksum has an unknown algorithm");
    let (name, sum) = text.split_once(' ').ok_or_else(unknown)?;
    let algorithm = match name {
        "md5" => Algorithm::Md5,
        other => Algorithm::of_s3(other).ok_or_else(unknown)?,
    };
    Ok(Some((algorithm, sum.to_owned())))
}

/// `Upload-Expires`.
pub(super) fn expires(headers: &mut HeaderMap, at: Option<i64>) {
    if let Some(at) = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()) {
        insert(headers, UPLOAD_EXPIRES, &http_date(at));
    }
}

/// `Location`: where the client sees the upload.
pub(super) fn location(headers: &mut HeaderMap, request: &HeaderMap, signed: bool, id: &str) {
    let text = |name: &str| request.get(name).and_then(|value| value.to_str().ok());
    let prefix = text("x-forwarded-prefix").unwrap_or_default();
    let sign = if signed { "/sign" } else { "" };
    let path = format!("{prefix}/upload/resumable{sign}/{id}");
    let host = text("x-forwarded-host").or_else(|| text(header::HOST.as_str()));
    let location = match (text("x-forwarded-proto"), host) {
        (Some(scheme), Some(host)) => {
            let port = text("x-forwarded-port").filter(|port| !matches!(*port, "80" | "443"));
            match port {
                Some(port) if !host.contains(':') => format!("{scheme}://{host}:{port}{path}"),
                _ => format!("{scheme}://{host}{path}"),
            }
        }
        _ => path,
    };
    insert(headers, header::LOCATION, &location);
}

/// `Upload-Metadata`: names and values in base64.
pub(super) struct Metadata(Vec<(String, String)>);

impl Metadata {
    /// Pairs that cannot be read are passed over, as are repetitions.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| {
            let mut words = pair.split_ascii_whitespace();
            let name = words.next()?.to_owned();
            let value = BASE64_STANDARD
                .decode(words.next().unwrap_or_default())
                .ok()?;
            Some((name, String::from_utf8(value).ok()?))
        });
        Self(pairs.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Metadata, location};

    #[test]
    fn metadata_is_read_pair_by_pair() {
        let metadata =
            Metadata::parse("bucketName YXZhdGFycw==, objectName w6QvYi5wbmc=,flag,bad !!!");
        assert_eq!(metadata.get("bucketName"), Some("avatars"));
        assert_eq!(metadata.get("objectName"), Some("ä/b.png"));
        assert_eq!(metadata.get("flag"), Some(""));
        assert_eq!(metadata.get("bad"), None);
    }

    #[test]
    fn the_location_is_where_the_client_sees_the_upload() {
        let mut request = HeaderMap::new();
        let seen = |request: &HeaderMap| {
            let mut headers = HeaderMap::new();
            location(&mut headers, request, false, "ID");
            headers["location"].to_str().unwrap().to_owned()
        };
        assert_eq!(seen(&request), "/upload/resumable/ID");
        for (name, value) in [
            ("host", "a.example:8000"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/storage/v1"),
        ] {
            request.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(
            seen(&request),
            "https://a.example:8000/storage/v1/upload/resumable/ID"
        );
        request.insert("x-forwarded-host", HeaderValue::from_static("b.example"));
        request.insert("x-forwarded-port", HeaderValue::from_static("8443"));
        assert_eq!(
            seen(&request),
            "https://b.example:8443/storage/v1/upload/resumable/ID"
        );
    }
}
