//! Who signed a request of the S3 protocol, and what the signature says of its body.

use bunbun_core::secret;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, header, request::Parts};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use time::{PrimitiveDateTime, macros::format_description};

use super::{
    Query,
    chunked::Chunked,
    signature::{ChunkSigner, Credential, EMPTY_SHA256, Signed, canonical_value},
};
use crate::{
    blobs::{Algorithm, Digests, Sums},
    error::{Code, Result, StorageError},
    identity::Identity,
    parts::check_sum,
    request::Call,
};

/// How far a request's date may be from ours, in seconds, as with AWS.
const SKEW_SECONDS: i64 = 15 * 60;
/// Longest life of a presigned URL in seconds, as with AWS.
const MAX_EXPIRES: i64 = 7 * 24 * 3600;

/// What the signature says of the body.
#[derive(Clone)]
pub(super) enum Payload {
    /// Nothing.
    Unsigned,
    /// Its SHA-256 in hexadecimal.
    Sha256(String),
    /// It comes in chunks, signed or not, perhaps with trailers.
    Chunked(Option<Box<ChunkSigner>>),
}

/// A signature and what it is made of.
struct Claim {
    credential: Credential,
    signed_headers: Vec<String>,
    signature: String,
    date: String,
    session_token: Option<String>,
    presigned: bool,
}

/// The secret of an access key and whom it stands for.
pub(super) fn secret_of(
    call: &Call,
    access_key: &str,
    session_token: Option<&str>,
) -> Result<(SecretString, Identity)> {
    let project = call.project()?;
    let unknown = || {
        let message = "The Access Key Id you provided does not exist in our records.";
        StorageError::new(Code::InvalidAccessKeyId, 403, message)
    };
    if let Some(token) = session_token {
        if access_key != project.reference.as_str() {
            return Err(unknown());
        }
        return Ok((
            project.keys.anon.clone(),
            Identity::of_token(&project, token)?,
        ));
    }
    match &call.service().0.settings.s3_access_key {
        Some((id, secret)) if secret::equal(id.as_bytes(), access_key.as_bytes()) => {
            Ok((secret.clone(), Identity::service()))
        }
        _ => Err(unknown()),
    }
}

/// Verifies a request's signature.
pub(super) fn verify(call: &Call, parts: &Parts, query: &Query) -> Result<(Identity, Payload)> {
    let claim = claim(&parts.headers, query)?;
    if claim.credential.service != "s3" {
        return Err(StorageError::access_denied("Invalid Service"));
    }
    let now = call.service().0.clock.unix_seconds();
    check_time(&claim, query, now)?;
    check_covered(&claim, &parts.headers)?;
    let (secret, identity) = secret_of(
        call,
        &claim.credential.access_key,
        claim.session_token.as_deref(),
    )?;
    let key = claim.credential.signing_key(secret.expose_secret());
    let payload = payload_text(&claim, &parts.headers, query, parts);
    let signed_by = |host: &str, path: &str| {
        let headers = signed_headers(&claim, &parts.headers, host);
        let signed = Signed {
            method: parts.method.as_str(),
            path,
            query,
            headers: &headers,
            payload: &payload,
        };
        let signature = signed.sign(&key, &claim.date, &claim.credential.scope());
        secret::equal(signature.as_bytes(), claim.signature.as_bytes())
    };
    let project = call.project()?;
    let paths = paths(parts, project.reference.as_str());
    if !hosts(&parts.headers)
        .iter()
        .any(|host| paths.iter().any(|path| signed_by(host, path)))
    {
        let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        return Err(StorageError::new(Code::SignatureDoesNotMatch, 403, message));
    }
    let signer = ChunkSigner {
        key,
        date: claim.date.clone(),
        scope: claim.credential.scope(),
        previous: claim.signature.clone(),
    };
    Ok((identity, payload_of(&payload, signer)?))
}

fn claim(headers: &HeaderMap, query: &Query) -> Result<Claim> {
    let format = || StorageError::new(Code::InvalidSignature, 400, "Invalid signature format");
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let split = |list: &str| {
        list.split(';')
            .map(str::to_ascii_lowercase)
            .collect::<Vec<_>>()
    };
    if let Some(credential) = query.get("X-Amz-Credential") {
        let parameter = |name| query.get(name).map(str::to_owned).ok_or_else(format);
        if parameter("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
            return Err(format());
        }
        return Ok(Claim {
            credential: Credential::parse(credential).ok_or_else(format)?,
            signed_headers: split(&parameter("X-Amz-SignedHeaders")?),
            signature: parameter("X-Amz-Signature")?,
            date: parameter("X-Amz-Date")?,
            session_token: query.get("X-Amz-Security-Token").map(str::to_owned),
            presigned: true,
        });
    }
    let Some(value) = text(header::AUTHORIZATION.as_str()) else {
        return Err(StorageError::access_denied("Missing signature"));
    };
    let Some(fields) = value.strip_prefix("AWS4-HMAC-SHA256") else {
        return Err(StorageError::new(
            Code::InvalidSignature,
            400,
            "Unsupported authorization type",
        ));
    };
    let field = |name: &str| {
        fields
            .split(',')
            .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
            .ok_or_else(format)
    };
    Ok(Claim {
        credential: Credential::parse(field("Credential")?).ok_or_else(format)?,
        signed_headers: split(field("SignedHeaders")?),
        signature: field("Signature")?.to_owned(),
        date: text("x-amz-date").ok_or_else(format)?,
        session_token: text("x-amz-security-token"),
        presigned: false,
    })
}

/// `20130524T000000Z` in seconds since the Unix epoch.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    Some(
        PrimitiveDateTime::parse(text, format)
            .ok()?
            .assume_utc()
            .unix_timestamp(),
    )
}

fn check_time(claim: &Claim, query: &Query, now: i64) -> Result<()> {
    let invalid = |message: &'static str| StorageError::new(Code::InvalidSignature, 400, message);
    let date = parse_date(&claim.date).ok_or_else(|| invalid("Invalid date"))?;
    if !claim.date.starts_with(&claim.credential.date) {
        return Err(invalid("The date of the credential is not the request's"));
    }
    if date > now + SKEW_SECONDS {
        return Err(StorageError::access_denied("Request is not valid yet"));
    }
    if !claim.presigned {
        if date < now - SKEW_SECONDS {
            let message =
                "The difference between the request time and the server's time is too large.";
            return Err(StorageError::access_denied(message));
        }
        return Ok(());
    }
    let seconds = query
        .get("X-Amz-Expires")
        .and_then(|text| text.parse::<i64>().ok());
    match seconds {
        Some(seconds) if (1..=MAX_EXPIRES).contains(&seconds) => {
            if date + seconds <= now {
                let message = "The provided token has expired.";
                return Err(StorageError::new(Code::ExpiredToken, 400, message));
            }
            Ok(())
        }
        _ => Err(invalid("Invalid expiration")),
    }
}

/// Headers of the protocol that change nothing, or that servers on the way add.
const HARMLESS: [&str; 3] = ["x-amz-content-sha256", "x-amz-user-agent", "x-amz-cf-id"];

/// Every header that means something to the protocol must be signed: else whoever has a presigned
/// URL to write one object could turn it into a copy of another with `x-amz-copy-source`.
fn check_covered(claim: &Claim, headers: &HeaderMap) -> Result<()> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    let is_bare = |name: &&str| {
        name.starts_with("x-amz-")
            && !HARMLESS.contains(name)
            && !claim.signed_headers.iter().any(|signed| signed == name)
    };
    let host = claim.signed_headers.iter().any(|signed| signed == "host");
    if names.any(|name| is_bare(&name)) || !host {
        let message = "There were headers present in the request which were not signed";
        return Err(StorageError::access_denied(message));
    }
    Ok(())
}

/// What stands for the body in what is signed.
fn payload_text(claim: &Claim, headers: &HeaderMap, query: &Query, parts: &Parts) -> String {
    let text = headers
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok());
    let text = text.or_else(|| query.get("X-Amz-Content-Sha256"));
    match text {
        Some(text) if !claim.presigned || text != EMPTY_SHA256 => text.to_owned(),
        _ if claim.presigned => "UNSIGNED-PAYLOAD".to_owned(),
        _ if parts
            .headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0") =>
        {
            EMPTY_SHA256.to_owned()
        }
        _ => "UNSIGNED-PAYLOAD".to_owned(),
    }
}

fn payload_of(text: &str, signer: ChunkSigner) -> Result<Payload> {
    Ok(match text {
        "UNSIGNED-PAYLOAD" => Payload::Unsigned,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Payload::Chunked(None),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Payload::Chunked(Some(Box::new(signer)))
        }
        sha if sha.len() == 64 && sha.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Payload::Sha256(sha.to_ascii_lowercase())
        }
        _ => return Err(StorageError::invalid_parameter("x-amz-content-sha256")),
    })
}

/// The signed headers; one that is not there is signed as empty.
fn signed_headers(claim: &Claim, headers: &HeaderMap, host: &str) -> Vec<(String, String)> {
    let mut signed: Vec<(String, String)> = claim
        .signed_headers
        .iter()
        .map(|name| {
            if name == "host" {
                return (name.clone(), host.to_owned());
            }
            let values = headers.get_all(name.as_str()).iter();
            let values: Vec<String> = values
                .filter_map(|v| v.to_str().ok())
                .map(canonical_value)
                .collect();
            (name.clone(), values.join(","))
        })
        .collect();
    signed.sort();
    signed
}

/// The hosts that the client may have signed: its own idea of ours, or a proxy's report of it.
fn hosts(headers: &HeaderMap) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut hosts: Vec<String> = text("host").into_iter().map(str::to_owned).collect();
    if let Some(forwarded) = text("x-forwarded-host") {
        hosts.push(forwarded.to_owned());
        if let Some(port) = text("x-forwarded-port").filter(|_| !forwarded.contains(':')) {
            hosts.push(format!("{forwarded}:{port}"));
        }
    }
    hosts.dedup();
    hosts
}

/// The paths that the client may have signed.
fn paths(parts: &Parts, project: &str) -> Vec<String> {
    let path = parts.uri.path();
    let prefix = parts
        .headers
        .get("x-forwarded-prefix")
        .and_then(|value| value.to_str().ok());
    let prefix = prefix.unwrap_or_default();
    vec![
        format!("{prefix}{path}"),
        format!("/p/{project}{prefix}{path}"),
        path.to_owned(),
    ]
}

impl Payload {
    /// Checks a body that is there as a whole.
    pub(super) fn check_whole(&self, body: &Bytes) -> Result<()> {
        match self {
            Self::Sha256(expected) if secret::hex(&Sha256::digest(body)) != *expected => {
                Err(mismatch())
            }
            _ => Ok(()),
        }
    }

    /// What must be summed to check a body that streams.
    pub(super) fn digests(&self, digests: Digests) -> Digests {
        match self {
            Self::Sha256(_) => digests.and(Algorithm::Sha256),
            _ => digests,
        }
    }

    /// Checks a body that has streamed.
    pub(super) fn check_sums(&self, sums: &Sums) -> Result<()> {
        match self {
            Self::Sha256(expected)
                if sums.get(Algorithm::Sha256).map(secret::hex).as_ref() != Some(expected) =>
            {
                Err(mismatch())
            }
            _ => Ok(()),
        }
    }
}

fn mismatch() -> StorageError {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    StorageError::new(Code::InvalidChecksum, 400, message)
}

/// A body with what was said of it: its true length and its checksums.
pub(super) struct Content {
    pub(super) declared: Option<u64>,
    checks: Vec<(Algorithm, String)>,
    /// Checksums that come after the body.
    trailers: Vec<Algorithm>,
    payload: Payload,
}

impl Content {
    /// Reads what the headers say.
    pub(super) fn of(headers: &HeaderMap, payload: Payload) -> Result<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_chunked = matches!(payload, Payload::Chunked(_));
        let length = if is_chunked {
            "x-amz-decoded-content-length"
        } else {
            "content-length"
        };
        let mut checks = Vec::new();
        if let Some(md5) = text("content-md5") {
            checks.push((Algorithm::Md5, md5.to_owned()));
        }
        for name in ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] {
            if let (Some(sum), Some(algorithm)) = (
                text(&format!("x-amz-checksum-{name}")),
                Algorithm::of_s3(name),
            ) {
                checks.push((algorithm, sum.to_owned()));
            }
        }
        let trailers = text("x-amz-trailer").unwrap_or_default().split(',');
        let trailers = trailers
            .filter_map(|name| {
                Algorithm::of_s3(
                    name.trim()
                        .to_ascii_lowercase()
                        .strip_prefix("x-amz-checksum-")?,
                )
            })
            .collect();
        let declared = text(length).map(str::parse).transpose();
        let declared = declared.map_err(|_| StorageError::invalid_parameter(length))?;
        if is_chunked && declared.is_none() {
            let message = "You must provide the x-amz-decoded-content-length HTTP header.";
            return Err(StorageError::new(Code::MissingContentLength, 411, message));
        }
        Ok(Self {
            declared,
            checks,
            trailers,
            payload,
        })
    }

    pub(super) fn digests(&self) -> Digests {
        let checks = self
            .checks
            .iter()
            .map(|(algorithm, _)| algorithm)
            .chain(&self.trailers);
        checks.fold(
            self.payload.digests(Digests::etag()),
            |digests, algorithm| digests.and(*algorithm),
        )
    }

    /// The decoded body; what comes after it is known when it has ended.
    pub(super) fn stream(
        &self,
        body: axum::body::Body,
    ) -> (impl Stream<Item = Result<Bytes>> + Send + use<>, Trailers) {
        let raw = body
            .into_data_stream()
            .map_err(|error| StorageError::broken_body(error.into_inner()));
        let trailers = Trailers::default();
        let stream = match &self.payload {
            Payload::Chunked(signer) => {
                Chunked::new(raw.boxed(), signer.as_deref().cloned(), trailers.clone())
                    .into_stream()
                    .boxed()
            }
            _ => raw.boxed(),
        };
        (stream, trailers)
    }

    /// Checks everything that was said of the body; the checksums to answer with.
    pub(super) fn check(
        &self,
        size: u64,
        sums: &Sums,
        trailers: &Trailers,
    ) -> Result<Vec<(Algorithm, String)>> {
        if self.declared.is_some_and(|declared| declared != size) {
            let message = "You did not provide the number of bytes specified by the Content-Length HTTP header";
            return Err(StorageError::new(Code::InvalidRequest, 400, message));
        }
        self.payload.check_sums(sums)?;
        let mut checks = self.checks.clone();
        for algorithm in &self.trailers {
            let name = format!("x-amz-checksum-{}", algorithm.s3_name());
            let sum = trailers.get(&name).ok_or_else(|| {
                let message = format!("The trailer {name} was announced and did not come");
                StorageError::new(Code::InvalidRequest, 400, message)
            })?;
            checks.push((*algorithm, sum));
        }
        for (algorithm, expected) in &checks {
            check_sum(expected, sums.get(*algorithm))?;
        }
        Ok(checks
            .into_iter()
            .filter(|(algorithm, _)| *algorithm != Algorithm::Md5)
            .collect())
    }
}

/// Headers that come after a body in chunks.
#[derive(Clone, Default)]
pub(super) struct Trailers(std::sync::Arc<parking_lot::Mutex<Vec<(String, String)>>>);

impl Trailers {
    pub(super) fn push(&self, name: String, value: String) {
        self.0.lock().push((name, value));
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0
            .lock()
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }
}
