//! Requests signed by hand: what no client sends by itself.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_core::{clock::Clock as _, secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::macros::format_description;

use crate::support::{Answer, S3_KEY, Storage};

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    secret::hex(&Sha256::digest(bytes))
}

/// A signer for one moment.
pub(super) struct Signer {
    date: String,
    scope: String,
    key: Vec<u8>,
}

impl Signer {
    pub(super) fn now(storage: &Storage) -> Self {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let date = storage.clock.now().format(format).unwrap();
        let day = &date[..8];
        let key = hmac(format!("AWS4{}", S3_KEY.1).as_bytes(), day);
        let key = hmac(&hmac(&hmac(&key, "us-east-1"), "s3"), "aws4_request");
        Self {
            scope: format!("{day}/us-east-1/s3/aws4_request"),
            key,
            date,
        }
    }

    /// `credential`, `policy` and `signature` of a form.
    pub(super) fn form(&self, policy: &serde_json::Value) -> [(&'static str, String); 4] {
        let policy = BASE64_STANDARD.encode(policy.to_string());
        [
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", format!("{}/{}", S3_KEY.0, self.scope)),
            ("x-amz-signature", secret::hex(&hmac(&self.key, &policy))),
            ("policy", policy),
        ]
    }

    /// Headers, the signature last; `payload` is what `x-amz-content-sha256` says.
    fn headers(
        &self,
        method: &str,
        path: &str,
        payload: &str,
        more: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = [
            ("host", "test"),
            ("x-amz-content-sha256", payload),
            ("x-amz-date", &self.date),
        ]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        headers.sort();
        let lines: String = headers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{}\n{}",
            self.date,
            self.scope,
            sha256(request.as_bytes())
        );
        let signature = secret::hex(&hmac(&self.key, &text));
        let credential = format!("{}/{}", S3_KEY.0, self.scope);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        );
        headers.push(("authorization".to_owned(), value));
        headers
    }

    fn chunk(&self, previous: &str, content: &[u8]) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{}\n{}",
            self.date,
            self.scope,
            sha256(b""),
            sha256(content)
        );
        secret::hex(&hmac(&self.key, &text))
    }

    fn trailer(&self, previous: &str, lines: &str) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{}",
            self.date,
            self.scope,
            sha256(lines.as_bytes())
        );
        secret::hex(&hmac(&self.key, &text))
    }
}

async fn put(storage: &Storage, payload: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers = Signer::now(storage).headers("PUT", "/s3/b/x", payload, more);
    send(storage, headers, body).await
}

async fn send(storage: &Storage, headers: Vec<(String, String)>, body: &[u8]) -> Answer {
    let mut call = storage
        .call("PUT", "/s3/b/x")
        .bytes("text/plain", body.to_vec());
    for (name, value) in headers {
        call = call.header(&name, &value);
    }
    call.send().await
}

/// Any request, its payload unsigned; the query as it is signed.
pub(super) fn request<'s>(
    storage: &'s Storage,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
) -> crate::support::Call<'s> {
    let headers = Signer::now(storage).headers(method, path, "UNSIGNED-PAYLOAD", more);
    let mut call = storage.call(method, path);
    for (name, value) in headers {
        call = call.header(&name, &value);
    }
    call
}

#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(
        answer.text().contains(&format!("<Code>{code}</Code>")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_body_must_be_what_was_signed_and_summed() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let right = sha256(b"hello");
    assert_eq!(put(&storage, &right, &[], b"hello").await.status, 200);
    refused(
        &put(&storage, &right, &[], b"jello").await,
        400,
        "InvalidChecksum",
    );
    let crc = BASE64_STANDARD.encode(0x3610_a686_u32.to_be_bytes());
    let good = put(
        &storage,
        &right,
        &[("x-amz-checksum-crc32", &crc)],
        b"hello",
    )
    .await;
    assert_eq!(
        (good.status, good.header("x-amz-checksum-crc32")),
        (200, crc.as_str())
    );
    let wrong = BASE64_STANDARD.encode([0; 4]);
    refused(
        &put(
            &storage,
            &right,
            &[("x-amz-checksum-crc32", &wrong)],
            b"hello",
        )
        .await,
        400,
        "InvalidChecksum",
    );
    let md5 = BASE64_STANDARD.encode([0; 16]);
    refused(
        &put(
            &storage,
            "UNSIGNED-PAYLOAD",
            &[("content-md5", &md5)],
            b"hello",
        )
        .await,
        400,
        "InvalidChecksum",
    );
    assert_eq!(
        storage
            .get("/object/b/x")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
    assert_eq!(
        storage.files().len(),
        1,
        "nothing of the refused ones is left"
    );
}

#[tokio::test]
async fn signed_chunks_and_trailers_are_checked() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let signer = Signer::now(&storage);
    let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let more = [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "11"),
        ("x-amz-trailer", "x-amz-checksum-sha256"),
    ];
    let headers = signer.headers("PUT", "/s3/b/x", payload, &more);
    let seed = headers
        .last()
        .unwrap()
        .1
        .rsplit_once("Signature=")
        .unwrap()
        .1
        .to_owned();
    let sum = BASE64_STANDARD.encode(Sha256::digest(b"hello world"));
    let body = |first: &str, sum: &str| {
        let one = signer.chunk(&seed, b"hello ");
        let two = signer.chunk(&one, b"world");
        let last = signer.chunk(&two, b"");
        let line = format!("x-amz-checksum-sha256:{sum}\n");
        let trailer = signer.trailer(&last, &line);
        format!(
            "6;chunk-signature={one}\r\n{first}\r\n5;chunk-signature={two}\r\nworld\r\n0;chunk-signature={last}\r\n\
             x-amz-checksum-sha256:{sum}\r\nx-amz-trailer-signature:{trailer}\r\n\r\n"
        )
    };
    let good = send(&storage, headers.clone(), body("hello ", &sum).as_bytes()).await;
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(
        storage
            .get("/object/b/x")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello world"
    );
    let changed = body("jello ", &sum);
    refused(
        &send(&storage, headers.clone(), changed.as_bytes()).await,
        403,
        "SignatureDoesNotMatch",
    );
    let wrong = BASE64_STANDARD.encode([0; 32]);
    refused(
        &send(&storage, headers.clone(), body("hello ", &wrong).as_bytes()).await,
        400,
        "InvalidChecksum",
    );
    let exchanged = body("hello ", &sum).replace(&sum, &wrong);
    refused(
        &send(&storage, headers.clone(), exchanged.as_bytes()).await,
        403,
        "SignatureDoesNotMatch",
    );
    let bare = "b\r\nhello world\r\n0\r\n\r\n";
    refused(
        &send(&storage, headers.clone(), bare.as_bytes()).await,
        400,
        "InvalidRequest",
    );
    let short = body("hello ", &sum);
    refused(
        &send(&storage, headers, &short.as_bytes()[..200]).await,
        400,
        "InvalidRequest",
    );
    assert_eq!(
        storage
            .get("/object/b/x")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello world"
    );
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn unsigned_chunks_bring_their_checksum_behind_them() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    let more = |length: &'static str| {
        [
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", length),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ]
    };
    let body = |sum: &str| format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n");
    let good = put(&storage, payload, &more("5"), body("NhCmhg==").as_bytes()).await;
    assert_eq!(
        (good.status, good.header("x-amz-checksum-crc32")),
        (200, "NhCmhg==")
    );
    refused(
        &put(&storage, payload, &more("5"), body("AAAAAA==").as_bytes()).await,
        400,
        "InvalidChecksum",
    );
    refused(
        &put(&storage, payload, &more("6"), body("NhCmhg==").as_bytes()).await,
        400,
        "InvalidRequest",
    );
    // What was announced has to come.
    for without in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-amz-checksum-sha1:qvTGHdzF6KLavt4PO0gs2a6pQ00=\r\n\r\n",
    ] {
        refused(
            &put(&storage, payload, &more("5"), without.as_bytes()).await,
            400,
            "InvalidRequest",
        );
    }
    refused(
        &put(&storage, payload, &more("99999999999"), b"").await,
        413,
        "EntityTooLarge",
    );
}

#[tokio::test]
async fn commands_that_are_not_there_say_so() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let signer = Signer::now(&storage);
    // The canonical query of a parameter without a value.
    let headers = signer.headers("GET", "/s3/b", "UNSIGNED-PAYLOAD", &[]);
    let mut call = storage.get("/s3/b");
    for (name, value) in &headers {
        call = call.header(name, value);
    }
    assert_eq!(call.send().await.status, 200);
    // A signed path is not another path.
    let mut call = storage.get("/s3/c");
    for (name, value) in &headers {
        call = call.header(name, value);
    }
    refused(&call.send().await, 403, "SignatureDoesNotMatch");
}
