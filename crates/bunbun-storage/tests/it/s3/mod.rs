//! `/s3`: the S3 protocol, by `object_store`'s client over a socket and by hand.

mod form;
mod limits;
mod signed;

use std::time::Duration;

use bunbun_storage::{Blobs, Digests};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload,
    aws::{AmazonS3, AmazonS3Builder, Checksum},
    path::Path,
    signer::Signer as _,
};
use serde_json::json;

use crate::support::{S3_KEY, Storage, USER_A, USER_B, token, user};

fn builder(address: std::net::SocketAddr) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}/s3"))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("b")
        .with_retry(object_store::RetryConfig {
            max_retries: 0,
            ..Default::default()
        })
}

async fn client(storage: &Storage) -> AmazonS3 {
    let address = storage.listen().await;
    builder(address)
        .with_access_key_id(S3_KEY.0)
        .with_secret_access_key(S3_KEY.1)
        .build()
        .unwrap()
}

fn user_client(address: std::net::SocketAddr, id: &str) -> AmazonS3 {
    builder(address)
        .with_access_key_id("default")
        .with_secret_access_key(token("anon", None))
        .with_token(user(id))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_client_puts_gets_lists_copies_and_deletes() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let s3 = client(&storage).await;
    let path = Path::parse("folder/ü b+c&d=e.txt").unwrap();
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "text/html".into());
    attributes.insert(Attribute::CacheControl, "max-age=5".into());
    attributes.insert(Attribute::Metadata("colour".into()), "blue".into());
    let options = PutOptions {
        attributes,
        ..PutOptions::default()
    };
    let put = s3
        .put_opts(&path, PutPayload::from_static(b"hello"), options)
        .await
        .unwrap();
    assert_eq!(
        put.e_tag.as_deref(),
        Some("\"5d41402abc4b2a76b9719d911017c592\"")
    );
    let got = s3.get(&path).await.unwrap();
    assert_eq!(
        got.attributes
            .get(&Attribute::ContentType)
            .unwrap()
            .as_ref(),
        "text/html"
    );
    assert_eq!(
        got.attributes
            .get(&Attribute::Metadata("colour".into()))
            .unwrap()
            .as_ref(),
        "blue"
    );
    assert_eq!(got.bytes().await.unwrap(), "hello");
    let range = GetOptions {
        range: Some(GetRange::Bounded(1..3)),
        ..GetOptions::default()
    };
    assert_eq!(
        s3.get_opts(&path, range)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        "el"
    );
    assert_eq!(s3.head(&path).await.unwrap().size, 5);
    // The same object by the REST endpoints, where a page is text.
    let rest = storage
        .get("/object/b/folder/%C3%BC%20b%2Bc%26d%3De.txt")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(
        (rest.text().as_str(), rest.header("content-type")),
        ("hello", "text/plain")
    );
    let info = storage
        .get("/object/info/b/folder/%C3%BC%20b%2Bc%26d%3De.txt")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(info["metadata"], json!({ "colour": "blue" }));
}

#[tokio::test]
async fn a_client_copies_lists_and_deletes_many() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let s3 = client(&storage).await;
    let path = Path::parse("folder/ü b+c&d=e.txt").unwrap();
    s3.put(&path, PutPayload::from_static(b"hello"))
        .await
        .unwrap();
    let copy = Path::from("copy.txt");
    s3.copy(&path, &copy).await.unwrap();
    assert_eq!(s3.get(&copy).await.unwrap().bytes().await.unwrap(), "hello");
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let refused = s3
        .put_opts(&copy, PutPayload::from_static(b"x"), create)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, object_store::Error::AlreadyExists { .. }),
        "{refused}"
    );

    let level = s3.list_with_delimiter(None).await.unwrap();
    assert_eq!(
        (level.objects.len(), level.common_prefixes),
        (1, vec![Path::from("folder")])
    );
    let all: Vec<_> = s3.list(None).try_collect().await.unwrap();
    assert_eq!(all.len(), 2);
    let offset: Vec<_> = s3
        .list_with_offset(None, &Path::from("copy.txt"))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(offset.len(), 1);

    let paths = futures_util::StreamExt::boxed(futures_util::stream::iter(
        [path.clone(), copy, Path::from("none")].map(Ok),
    ));
    let deleted: Vec<_> = s3.delete_stream(paths).try_collect().await.unwrap();
    assert_eq!(deleted.len(), 3);
    assert!(matches!(
        s3.get(&path).await,
        Err(object_store::Error::NotFound { .. })
    ));
    s3.delete(&path).await.unwrap();
    assert!(storage.files().is_empty());
}

#[tokio::test]
async fn a_thousand_objects_come_page_by_page() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage
        .sql("insert into storage.objects (bucket_id, name, version, metadata)
              select 'b', format('folder/%s', lpad(n::text, 5, '0')), 'v', '{\"size\": 1, \"eTag\": \"\\\"e\\\"\"}'
              from generate_series(1, 2500) n")
        .await;
    let s3 = client(&storage).await;
    let all: Vec<_> = s3
        .list(Some(&Path::from("folder")))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.len(), 2500);
    assert!(all.is_sorted_by_key(|meta| meta.location.to_string()));
}

#[tokio::test]
async fn large_objects_come_in_parts() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let address = storage.listen().await;
    let s3 = builder(address)
        .with_access_key_id(S3_KEY.0)
        .with_secret_access_key(S3_KEY.1)
        .with_checksum_algorithm(Checksum::SHA256)
        .build()
        .unwrap();
    let path = Path::from("large");
    let mut upload = s3.put_multipart(&path).await.unwrap();
    for letter in [b'a', b'b', b'c'] {
        upload
            .put_part(PutPayload::from(vec![letter; 200_000]))
            .await
            .unwrap();
    }
    let put = upload.complete().await.unwrap();
    assert!(put.e_tag.unwrap().ends_with("-3\""));
    let got = s3.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(
        (got.len(), got[0], got[300_000], got[599_999]),
        (600_000, b'a', b'b', b'c')
    );
    assert_eq!(storage.files().len(), 1, "no part is left");
    let mut given_up = s3.put_multipart(&Path::from("never")).await.unwrap();
    given_up
        .put_part(PutPayload::from(vec![1; 100]))
        .await
        .unwrap();
    assert_eq!(storage.files().len(), 2);
    given_up.abort().await.unwrap();
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn presigned_urls_work_until_they_end() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x%20y.txt", "hello").await;
    let s3 = client(&storage).await;
    let url = s3
        .signed_url(
            "GET".parse().unwrap(),
            &Path::from("x y.txt"),
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let get = |path: &str| storage.get(path).header("host", &host);
    assert_eq!(get(&path).send().await.ok().text(), "hello");
    assert_eq!(
        get(&path.replace("x%20y", "x%20z")).send().await.status,
        403
    );
    assert_eq!(
        get(&path.replace("Expires=60", "Expires=600"))
            .send()
            .await
            .status,
        403
    );
    assert_eq!(
        storage
            .call("DELETE", &path)
            .header("host", &host)
            .send()
            .await
            .status,
        403
    );
    storage.clock.advance(120);
    let late = get(&path).send().await;
    assert_eq!(late.status, 400);
    assert!(
        late.text().contains("<Code>ExpiredToken</Code>"),
        "{}",
        late.text()
    );
    let url = s3
        .signed_url(
            "PUT".parse().unwrap(),
            &Path::from("put.txt"),
            Duration::from_secs(600),
        )
        .await
        .unwrap();
    let path = format!("{}?{}", url.path(), url.query().unwrap());
    // It is for writing one object, and no copy of another.
    let copy = storage
        .call("PUT", &path)
        .header("host", &host)
        .header("x-amz-copy-source", "/b/x%20y.txt");
    assert_eq!(copy.send().await.status, 403);
    let put = storage
        .call("PUT", &path)
        .header("host", &host)
        .bytes("text/plain", "by url")
        .send()
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(
        storage
            .get("/object/b/put.txt")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "by url"
    );
}

#[tokio::test]
async fn a_users_session_has_the_users_rights() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let address = storage.listen().await;
    let (a, b) = (user_client(address, USER_A), user_client(address, USER_B));
    let path = Path::from(format!("{USER_A}/x"));
    a.put(&path, PutPayload::from_static(b"hello"))
        .await
        .unwrap();
    assert_eq!(a.get(&path).await.unwrap().bytes().await.unwrap(), "hello");
    assert!(matches!(
        b.get(&path).await,
        Err(object_store::Error::NotFound { .. })
    ));
    assert!(matches!(
        b.put(&path, PutPayload::from_static(b"x")).await,
        Err(object_store::Error::PermissionDenied { .. })
    ));
    assert!(b.put_multipart(&path).await.is_err());
    let seen: Vec<_> = b.list(None).try_collect().await.unwrap();
    assert!(seen.is_empty());
    b.delete(&path).await.unwrap();
    assert_eq!(
        a.get(&path).await.unwrap().bytes().await.unwrap(),
        "hello",
        "B deleted nothing"
    );
    // A user's token without the anon key's signature, and with a wrong one.
    let forged = builder(address)
        .with_access_key_id("default")
        .with_secret_access_key("x")
        .with_token(user(USER_A))
        .build()
        .unwrap();
    assert!(forged.get(&path).await.is_err());
    let expired = builder(address)
        .with_access_key_id("default")
        .with_secret_access_key(token("anon", None))
        .with_token("nonsense")
        .build()
        .unwrap();
    assert!(expired.get(&path).await.is_err());
}

#[tokio::test]
async fn wrong_keys_and_dates_are_refused_in_xml() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let address = storage.listen().await;
    for (id, secret) in [("other", S3_KEY.1), (S3_KEY.0, "other"), ("default", "x")] {
        let s3 = builder(address)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .build()
            .unwrap();
        let refused = s3
            .put(&Path::from("x"), PutPayload::from_static(b"x"))
            .await
            .unwrap_err();
        assert!(
            matches!(refused, object_store::Error::PermissionDenied { .. }),
            "{refused}"
        );
    }
    let bare = storage.get("/s3/b/x").service().send().await;
    assert_eq!(
        (bare.status, bare.header("content-type")),
        (400, "application/xml")
    );
    assert!(
        bare.text().contains("<Code>InvalidSignature</Code>"),
        "{}",
        bare.text()
    );
    let none = storage.get("/s3").send().await;
    assert_eq!(none.status, 403);
    assert!(none.text().starts_with("<?xml"));
    // A request of yesterday.
    storage.clock.advance(24 * 3600);
    let s3 = builder(address)
        .with_access_key_id(S3_KEY.0)
        .with_secret_access_key(S3_KEY.1)
        .build()
        .unwrap();
    assert!(
        s3.get(&Path::from("x"))
            .await
            .unwrap_err()
            .to_string()
            .contains("x")
    );
}

#[tokio::test]
async fn our_own_backend_for_clouds_works_on_our_own_protocol() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let s3 = client(&storage).await;
    let store: std::sync::Arc<dyn ObjectStore> = std::sync::Arc::new(s3);
    let blobs = Blobs::of_store(store, "pre/fix");
    let key = bunbun_storage::BlobKey::object(
        "default",
        "avatars",
        "a/ü b/c",
        Some("0b8e7a5e-0000-4000-8000-000000000000"),
    );
    let mut writer = blobs.writer(&key, Digests::etag());
    for _ in 0..20 {
        writer
            .write(Bytes::from(vec![7; 1024 * 1024]))
            .await
            .unwrap();
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(written.size, 20 * 1024 * 1024);
    let blob = blobs.read(&key).await.unwrap();
    assert_eq!(blob.size, written.size);
    let part = blob
        .body(1_000_000..9_000_000)
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert!(part.len() == 8_000_000 && part.iter().all(|byte| *byte == 7));
    let long_ago = std::time::SystemTime::now() + Duration::from_secs(3600);
    let found: Vec<_> = blobs.list("default", long_ago).try_collect().await.unwrap();
    assert_eq!(
        found.iter().map(|f| f.key.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&key)
    );
    let copy =
        bunbun_storage::BlobKey::part("default", "upload", "0b8e7a5e-0000-4000-8000-000000000001");
    blobs.copy(&key, &copy).await.unwrap();
    assert_eq!(
        blobs
            .list("default", long_ago)
            .try_collect::<Vec<_>>()
            .await
            .unwrap()
            .len(),
        2
    );
    let both = bunbun_storage::BlobKey::object(
        "default",
        "avatars",
        "both",
        Some("0b8e7a5e-0000-4000-8000-000000000002"),
    );
    assert_eq!(
        blobs
            .concat(&[key.clone(), copy.clone()], &both)
            .await
            .unwrap(),
        2 * written.size
    );
    blobs.delete(vec![key.clone(), copy, both]).await.unwrap();
    blobs.delete(vec![key.clone()]).await.unwrap();
    assert!(blobs.read(&key).await.is_err());
    assert!(storage.files().is_empty());
    // A writer that is dropped leaves nothing that can be seen.
    let mut dropped = blobs.writer(&key, Digests::etag());
    dropped
        .write(Bytes::from(vec![7; 9 * 1024 * 1024]))
        .await
        .unwrap();
    drop(dropped);
    assert!(blobs.read(&key).await.is_err());
}
