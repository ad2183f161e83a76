//! `POST /api/storage/upload`

use serde_json::json;

use crate::{
    api::service_key,
    services::{FILE_LIMIT, FORM, Stack, WAYS, form},
};

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_file_is_written_as_it_arrives_and_may_come_first() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("photos").await;
        let (owner, content) = (service_key(), content(200_000));
        let (bucket, file) = (("bucket", &b"photos"[..]), ("file", &*content));
        for (path, fields) in [
            ("last.png", vec![bucket, ("path", b"last.png"), file]),
            ("first.png", vec![file, bucket, ("path", b"first.png")]),
            ("between.png", vec![("path", b"between.png"), file, bucket]),
            (
                "a/ä b?.png",
                vec![
                    bucket,
                    ("upsert", b"false"),
                    ("path", "a/ä b?.png".as_bytes()),
                    file,
                ],
            ),
        ] {
            let reply = stack.upload(&owner, &fields).await;
            assert_eq!(reply.status, 200, "{way:?} {path}: {}", reply.text());
            let answer = reply.json();
            assert_eq!(answer["key"], format!("photos/{path}"));
            assert_eq!(answer["size"], 200_000);
            assert_eq!(answer["mime_type"], "image/png");
            let url = answer["url"].as_str().expect("a URL");
            let down = stack.get(&owner, url).await;
            assert_eq!(down.status, 200, "{way:?} {url}");
            assert!(down.body == content, "{way:?} {path}: other bytes");
            assert_eq!(answer["etag"], down.header("etag"), "{way:?} {path}");
        }
        assert_eq!(stack.spooled(), 0, "nothing stays on disk");
    }
}

#[tokio::test]
async fn what_is_there_is_replaced_only_when_asked() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let owner = service_key();
        assert_eq!(stack.put(&owner, "b", "a", b"one").await.status, 200);
        let again = stack.put(&owner, "b", "a", b"two").await;
        assert_eq!(again.error(), (409, "OBJECT_EXISTS".to_owned()), "{way:?}");
        let fields = [
            ("bucket", &b"b"[..]),
            ("path", b"a"),
            ("upsert", b"true"),
            ("file", b"three"),
        ];
        assert_eq!(stack.upload(&owner, &fields).await.status, 200);
        let down = stack.get(&owner, "/api/storage/download/b/a").await;
        assert_eq!(down.text(), "three", "{way:?}");
        let missing = stack.put(&owner, "missing", "a", b"x").await;
        assert_eq!(
            missing.error(),
            (404, "BUCKET_NOT_FOUND".to_owned()),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn limits_of_the_bucket_are_told() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        stack
            .sql("update storage.buckets set file_size_limit = 10, allowed_mime_types = '{text/*}'")
            .await;
        let reply = stack.put(&service_key(), "b", "a", b"1").await;
        let expected = (415, "MEDIA_TYPE_NOT_ALLOWED".to_owned());
        assert_eq!(reply.error(), expected, "{way:?}: {}", reply.text());
        stack
            .sql("update storage.buckets set allowed_mime_types = null")
            .await;
        let reply = stack.put(&service_key(), "b", "a", b"12345678901").await;
        assert_eq!(reply.error(), (413, "TOO_LARGE".to_owned()), "{way:?}");
        let none = stack.get(&service_key(), "/api/storage/download/b/a").await;
        assert_eq!(
            none.error(),
            (404, "OBJECT_NOT_FOUND".to_owned()),
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn nothing_is_written_of_a_form_that_is_no_good() {
    for way in WAYS {
        let Some(stack) = Stack::start(way).await else {
            return;
        };
        stack.bucket("b").await;
        let (bucket, path, file) = (
            ("bucket", &b"b"[..]),
            ("path", &b"a"[..]),
            ("file", &b"x"[..]),
        );
        let large = vec![0; FILE_LIMIT + 1];
        let large = ("file", &*large);
        let long = vec![b'x'; 5000];
        let mut bad: Vec<(&str, Vec<u8>, u16)> = vec![
            (
                "a field after the file",
                form(&[bucket, path, file, ("upsert", b"true")]),
                400,
            ),
            (
                "two files, streamed",
                form(&[bucket, path, file, file]),
                400,
            ),
            ("two files, spooled", form(&[file, file, bucket, path]), 400),
            ("a field twice", form(&[bucket, bucket, path, file]), 400),
            (
                "an unknown field",
                form(&[("owner", b"x"), bucket, path, file]),
                400,
            ),
            ("no file", form(&[bucket, path]), 400),
            ("no path", form(&[bucket, file]), 400),
            ("no bucket", form(&[path, file]), 400),
            (
                "an odd upsert",
                form(&[bucket, path, ("upsert", b"yes"), file]),
                400,
            ),
            ("a long field", form(&[bucket, ("path", &long), file]), 400),
            (
                "a path of another writing",
                form(&[bucket, ("path", b"\xff"), file]),
                400,
            ),
            (
                "a path upwards",
                form(&[bucket, ("path", b"../a"), file]),
                400,
            ),
            (
                "a bucket upwards",
                form(&[("bucket", b".."), path, file]),
                400,
            ),
            (
                "a bucket with a slash",
                form(&[("bucket", b"b/a"), path, file]),
                400,
            ),
            ("too large, streamed", form(&[bucket, path, large]), 413),
            ("too large, spooled", form(&[large, bucket, path]), 413),
        ];
        let whole = form(&[bucket, path, ("file", &[7; 1000])]);
        for cut in [
            5,
            60,
            120,
            whole.len() - 600,
            whole.len() - 8,
            whole.len() - 5,
        ] {
            bad.push(("cut", whole[..cut].to_vec(), 400));
        }
        for (what, body, status) in bad {
            let length = body.len();
            let call = stack.api.post("/api/storage/upload").owner();
            let reply = call.raw(FORM, body).send().await;
            let told = reply.text();
            assert_eq!(reply.status, status, "{way:?} {what} ({length}): {told}");
            assert_eq!(reply.json()["error"]["request_id"], "test");
        }
        let list = stack.get(&service_key(), "/api/storage/list/b").await;
        assert_eq!(list.json()["files"], json!([]), "{way:?}");
        assert_eq!(stack.spooled(), 0, "nothing stays on disk");
    }
}

#[tokio::test]
async fn a_disk_without_room_is_503_and_says_what_helps() {
    let Some(stack) = Stack::start(WAYS[0]).await else {
        return;
    };
    stack.bucket("b").await;
    // No folder can be made where a file is.
    std::fs::write(stack.folder.path().join("spool"), "").expect("written");
    let (bucket, path, file) = (
        ("bucket", &b"b"[..]),
        ("path", &b"a"[..]),
        ("file", &b"x"[..]),
    );
    let reply = stack.upload(&service_key(), &[file, bucket, path]).await;
    assert_eq!(reply.error(), (503, "SERVICE_UNAVAILABLE".to_owned()));
    assert!(!reply.text().contains("spool"), "{}", reply.text());
    let reply = stack.upload(&service_key(), &[bucket, path, file]).await;
    assert_eq!(reply.status, 200, "it needs no disk");
}
