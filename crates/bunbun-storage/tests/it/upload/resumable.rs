//! `/upload/resumable`: TUS.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use sha1::Digest as _;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Answer, Call, Storage, USER_A, USER_B, user};

const PIECE: &str = "application/offset+octet-stream";

fn metadata(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{name} {}", BASE64_STANDARD.encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

fn create<'s>(storage: &'s Storage, name: &str, length: usize) -> Call<'s> {
    storage
        .post("/upload/resumable")
        .header("tus-resumable", "1.0.0")
        .header("upload-length", &length.to_string())
        .header(
            "upload-metadata",
            &metadata(&[
                ("bucketName", "b"),
                ("objectName", name),
                ("contentType", "text/plain"),
                ("cacheControl", "60"),
                ("metadata", "{\"a\":1}"),
            ]),
        )
}

fn tus<'s>(storage: &'s Storage, method: &str, url: &str) -> Call<'s> {
    storage.call(method, url).header("tus-resumable", "1.0.0")
}

fn patch<'s>(storage: &'s Storage, url: &str, offset: usize, piece: &str) -> Call<'s> {
    tus(storage, "PATCH", url)
        .service()
        .header("upload-offset", &offset.to_string())
        .bytes(PIECE, piece.to_owned())
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("location").to_owned()
}

#[tokio::test]
async fn an_upload_comes_in_pieces_and_becomes_an_object() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let url = location(&create(&storage, "folder/ü.txt", 11).service().send().await);
    assert!(url.starts_with("/upload/resumable/"), "{url}");
    let first = patch(&storage, &url, 0, "hello ").send().await;
    assert_eq!((first.status, first.header("upload-offset")), (204, "6"));
    assert!(first.header("upload-expires").ends_with("GMT"));
    storage
        .get("/object/b/folder/%C3%BC.txt")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    let state = tus(&storage, "HEAD", &url).service().send().await.ok();
    assert_eq!(
        (state.header("upload-offset"), state.header("upload-length")),
        ("6", "11")
    );
    assert!(state.header("upload-metadata").contains("bucketName"));
    assert_eq!(state.header("cache-control"), "no-store");
    assert_eq!(patch(&storage, &url, 0, "wrong").send().await.status, 409);
    assert_eq!(
        patch(&storage, &url, 6, "world and more")
            .send()
            .await
            .status,
        413
    );
    assert_eq!(
        patch(&storage, &url, 6, "world")
            .send()
            .await
            .header("upload-offset"),
        "11"
    );
    let got = storage
        .get("/object/b/folder/%C3%BC.txt")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(got.text(), "hello world");
    assert_eq!(
        (got.header("content-type"), got.header("cache-control")),
        ("text/plain", "max-age=60")
    );
    assert!(
        got.header("etag").ends_with("-2\""),
        "{}",
        got.header("etag")
    );
    let info = storage
        .get("/object/info/b/folder/%C3%BC.txt")
        .service()
        .send()
        .await
        .ok()
        .json();
    assert_eq!(info["metadata"], json!({ "a": 1 }));
    assert_eq!(storage.files().len(), 1, "no piece is left");
    let state = tus(&storage, "HEAD", &url).service().send().await.ok();
    assert_eq!(state.header("upload-offset"), "11", "nothing is left to do");
}

#[tokio::test]
async fn one_piece_empty_uploads_and_open_lengths() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let whole = create(&storage, "whole", 5)
        .service()
        .bytes(PIECE, "hello")
        .send()
        .await;
    location(&whole);
    assert_eq!(whole.header("upload-offset"), "5");
    let got = storage.get("/object/b/whole").service().send().await.ok();
    assert_eq!(
        (got.text().as_str(), got.header("etag")),
        ("hello", "\"5d41402abc4b2a76b9719d911017c592\"")
    );
    location(&create(&storage, "empty", 0).service().send().await);
    assert_eq!(
        storage
            .get("/object/b/empty")
            .service()
            .send()
            .await
            .ok()
            .text(),
        ""
    );
    let open = tus(&storage, "POST", "/upload/resumable")
        .service()
        .header("upload-defer-length", "1")
        .header(
            "upload-metadata",
            &metadata(&[("bucketName", "b"), ("objectName", "open")]),
        );
    let url = location(&open.send().await);
    patch(&storage, &url, 0, "hel").send().await;
    let state = tus(&storage, "HEAD", &url).service().send().await.ok();
    assert_eq!(
        (
            state.header("upload-defer-length"),
            state.header("upload-length")
        ),
        ("1", "")
    );
    assert_eq!(
        patch(&storage, &url, 3, "lo")
            .header("upload-length", "5")
            .send()
            .await
            .status,
        204
    );
    assert_eq!(
        storage
            .get("/object/b/open")
            .service()
            .send()
            .await
            .ok()
            .text(),
        "hello"
    );
}

#[tokio::test]
async fn faulty_requests_are_refused_with_their_true_status() {
    let Some(storage) = Storage::start_with(|s| s.file_size_limit = 100).await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/there", "x").await;
    let images = json!({ "name": "images", "allowed_mime_types": ["image/*"] });
    storage
        .post("/bucket")
        .service()
        .json(&images)
        .send()
        .await
        .ok();
    assert_eq!(
        create(&storage, "x", 101).service().send().await.status,
        413
    );
    assert_eq!(
        create(&storage, "../x", 1).service().send().await.status,
        400
    );
    assert_eq!(
        create(&storage, "there", 1).service().send().await.status,
        409
    );
    assert_eq!(
        create(&storage, "x", 1).send().await.status,
        400,
        "no credential"
    );
    assert_eq!(create(&storage, "x", 1).token("x").send().await.status, 403);
    let post = || storage.post("/upload/resumable").service();
    assert_eq!(post().header("upload-length", "1").send().await.status, 412);
    assert_eq!(
        post().header("tus-resumable", "0.1").send().await.status,
        412
    );
    let with = |pairs: &[(&str, &str)]| {
        post()
            .header("tus-resumable", "1.0.0")
            .header("upload-length", "1")
            .header("upload-metadata", &metadata(pairs))
    };
    assert_eq!(
        with(&[("bucketName", "none"), ("objectName", "x")])
            .send()
            .await
            .status,
        404
    );
    assert_eq!(with(&[("bucketName", "b")]).send().await.status, 400);
    assert_eq!(
        with(&[
            ("bucketName", "images"),
            ("objectName", "x"),
            ("contentType", "text/html")
        ])
        .send()
        .await
        .status,
        415
    );
    assert_eq!(
        post()
            .header("tus-resumable", "1.0.0")
            .header(
                "upload-metadata",
                &metadata(&[("bucketName", "b"), ("objectName", "x")])
            )
            .send()
            .await
            .status,
        400
    );
    let url = location(&create(&storage, "x", 5).service().send().await);
    let text = tus(&storage, "PATCH", &url)
        .service()
        .header("upload-offset", "0")
        .bytes("text/plain", "x");
    assert_eq!(text.send().await.status, 415);
    assert_eq!(
        tus(&storage, "PATCH", &url)
            .service()
            .bytes(PIECE, "x")
            .send()
            .await
            .status,
        400
    );
    assert_eq!(
        patch(&storage, "/upload/resumable/nonsense", 0, "x")
            .send()
            .await
            .status,
        400
    );
    assert_eq!(
        tus(&storage, "GET", &url).service().send().await.status,
        405
    );
    storage.clock.advance(24 * 3600);
    assert_eq!(patch(&storage, &url, 0, "x").send().await.status, 410);
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn checksums_of_pieces_are_checked() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let url = location(&create(&storage, "x", 10).service().send().await);
    let sum = BASE64_STANDARD.encode(sha1::Sha1::digest("hello"));
    let wrong = patch(&storage, &url, 0, "jello")
        .header("upload-checksum", &format!("sha1 {sum}"))
        .send()
        .await;
    assert_eq!(wrong.status, 460);
    assert_eq!(
        tus(&storage, "HEAD", &url)
            .service()
            .send()
            .await
            .ok()
            .header("upload-offset"),
        "0"
    );
    let right = patch(&storage, &url, 0, "hello")
        .header("upload-checksum", &format!("sha1 {sum}"))
        .send()
        .await;
    assert_eq!(right.status, 204);
    let unknown = patch(&storage, &url, 5, "hello")
        .header("upload-checksum", "rot13 uryyb")
        .send()
        .await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let url = location(
        &create(&storage, "x", 10)
            .service()
            .bytes(PIECE, "half")
            .send()
            .await,
    );
    assert_eq!(storage.files().len(), 1);
    assert_eq!(
        tus(&storage, "DELETE", &url).service().send().await.status,
        204
    );
    assert!(storage.files().is_empty());
    assert_eq!(
        tus(&storage, "HEAD", &url).service().send().await.status,
        404
    );
    assert_eq!(
        tus(&storage, "DELETE", &url).service().send().await.status,
        404
    );
}

#[tokio::test]
async fn users_upload_what_policies_let_them() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let name = format!("{USER_A}/x");
    assert_eq!(
        create(&storage, &name, 5)
            .token(&user(USER_B))
            .send()
            .await
            .status,
        403
    );
    let url = location(&create(&storage, &name, 5).token(&user(USER_A)).send().await);
    let piece = |who: &str| {
        tus(&storage, "PATCH", &url)
            .token(&user(who))
            .header("upload-offset", "0")
            .bytes(PIECE, "hello")
    };
    assert_eq!(
        piece(USER_B).send().await.status,
        403,
        "the id alone is no right"
    );
    assert_eq!(
        tus(&storage, "DELETE", &url)
            .token(&user(USER_B))
            .send()
            .await
            .status,
        403
    );
    assert_eq!(piece(USER_A).send().await.status, 204);
    let own = storage
        .get(&format!("/object/authenticated/b/{name}"))
        .token(&user(USER_A))
        .send()
        .await;
    assert_eq!(own.ok().text(), "hello");
    // Once more without upsert, and with.
    assert_eq!(
        create(&storage, &name, 5)
            .token(&user(USER_A))
            .send()
            .await
            .status,
        409
    );
    let again = create(&storage, &name, 3)
        .token(&user(USER_A))
        .header("x-upsert", "true")
        .bytes(PIECE, "new");
    location(&again.send().await);
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn a_signed_url_takes_the_place_of_a_credential() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let signed = storage
        .post("/object/upload/sign/b/x")
        .service()
        .send()
        .await
        .ok()
        .json();
    let token = signed["token"].as_str().unwrap();
    let create = |name: &str| {
        tus(&storage, "POST", "/upload/resumable/sign")
            .header("upload-length", "5")
            .header(
                "upload-metadata",
                &metadata(&[("bucketName", "b"), ("objectName", name)]),
            )
    };
    assert_eq!(create("x").send().await.status, 400);
    assert_eq!(
        create("y").header("x-signature", token).send().await.status,
        400
    );
    let url = location(&create("x").header("x-signature", token).send().await);
    assert!(url.starts_with("/upload/resumable/sign/"), "{url}");
    let piece = || {
        tus(&storage, "PATCH", &url)
            .header("upload-offset", "0")
            .bytes(PIECE, "hello")
    };
    assert_eq!(piece().send().await.status, 400);
    assert_eq!(
        piece().header("x-signature", token).send().await.status,
        204
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
}

#[tokio::test]
async fn what_came_before_a_connection_broke_is_kept() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let url = location(&create(&storage, "x", 1_000_000).service().send().await);
    let address = storage.listen().await;
    let key = crate::support::token("service_role", None);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PATCH {url} HTTP/1.1\r\nhost: x\r\ntus-resumable: 1.0.0\r\nauthorization: Bearer {key}\r\ncontent-type: {PIECE}\r\nupload-offset: 0\r\ncontent-length: 1000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'a'; 300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let offset = loop {
        let state = tus(&storage, "HEAD", &url).service().send().await.ok();
        let offset: usize = state.header("upload-offset").parse().unwrap();
        if offset > 0 {
            break offset;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(offset, 300_000);
    assert_eq!(
        patch(&storage, &url, offset, &"b".repeat(700_000))
            .send()
            .await
            .status,
        204
    );
    let got = storage.get("/object/b/x").service().send().await.ok().body;
    assert!(got[..300_000].iter().all(|b| *b == b'a') && got[300_000..].iter().all(|b| *b == b'b'));
    assert_eq!(got.len(), 1_000_000);
}

#[tokio::test]
async fn the_server_says_what_it_can_do() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    for path in [
        "/upload/resumable",
        "/upload/resumable/",
        "/upload/resumable/sign",
        "/upload/resumable/x",
    ] {
        let answer = storage.call("OPTIONS", path).send().await;
        assert_eq!(answer.status, 204, "{path}");
        assert!(
            answer
                .header("tus-extension")
                .contains("creation-with-upload")
        );
        assert_eq!(answer.header("tus-max-size"), "52428800");
    }
}

#[tokio::test]
async fn a_finished_upload_still_says_how_far_it_is() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage
        .sql("create policy put on storage.objects for insert to authenticated with check (name = 'x')")
        .await;
    let own = user(USER_A);
    let url = location(&create(&storage, "x", 5).token(&own).send().await);
    let piece = |offset: usize, piece: &'static str| {
        let call = tus(&storage, "PATCH", &url).token(&own);
        call.header("upload-offset", &offset.to_string())
            .bytes(PIECE, piece)
    };
    assert_eq!(piece(0, "hello").send().await.status, 204);
    // The answer was lost: the client asks, and sees that nothing is left to send.
    let state = tus(&storage, "HEAD", &url).token(&own).send().await.ok();
    assert_eq!(
        (state.header("upload-offset"), state.header("upload-length")),
        ("5", "5")
    );
    let rest = piece(5, "").send().await;
    assert_eq!((rest.status, rest.header("upload-offset")), (204, "5"));
    assert_eq!(piece(0, "hello").send().await.status, 409);
    assert_eq!(
        tus(&storage, "DELETE", &url)
            .token(&own)
            .send()
            .await
            .status,
        404
    );
    let stranger = tus(&storage, "HEAD", &url).token(&crate::support::token("anon", None));
    assert_eq!(stranger.send().await.status, 403);
    // Another content under the name is another upload's.
    storage.put("b/x", "other").await;
    let state = tus(&storage, "HEAD", &url).token(&own).send().await;
    assert_eq!(state.status, 404);
}

#[tokio::test]
async fn an_id_alone_shows_nothing() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let url = location(&create(&storage, "x", 5).service().send().await);
    for token in [crate::support::token("anon", None), user(USER_B)] {
        let state = tus(&storage, "HEAD", &url).token(&token).send().await;
        assert_eq!(state.status, 403);
        assert_eq!(state.header("upload-metadata"), "");
    }
}
