//! Hostile input: names that mean other places, endless forms, broken JSON, wrong methods.

use bunbun_http::BoxError;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;

use crate::support::Storage;

#[tokio::test]
async fn no_name_reaches_another_place() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let outside = storage.directory.path().join("outside.txt");
    std::fs::write(&outside, "secret").unwrap();
    for name in [
        "..%2F..%2Foutside.txt",
        "%2E%2E%2Foutside.txt",
        "a%2F..%2F..%2F..%2Foutside.txt",
        "..%5Coutside.txt",
        "%00",
        "a%00b",
        "a%0Ab",
        "%2E",
        "x%2F%2E",
        "a%5Cb",
        "%C2%85",
    ] {
        for path in [
            format!("/object/b/{name}"),
            format!("/object/authenticated/b/{name}"),
            format!("/object/info/b/{name}"),
        ] {
            storage
                .get(&path)
                .service()
                .send()
                .await
                .refused("400", "InvalidKey");
        }
        let put = storage
            .post(&format!("/object/b/{name}"))
            .service()
            .bytes("a/b", "x")
            .send()
            .await;
        put.refused("400", "InvalidKey");
        storage
            .call("DELETE", &format!("/object/b/{name}"))
            .service()
            .send()
            .await
            .refused("400", "InvalidKey");
    }
    for name in [
        "../outside.txt",
        "a/../../b",
        "..",
        "/..",
        "a\\b",
        "a\u{0}b",
        "a\nb",
    ] {
        for body in [
            json!({ "bucketId": "b", "sourceKey": name, "destinationKey": "x" }),
            json!({ "bucketId": "b", "sourceKey": "x", "destinationKey": name }),
        ] {
            storage
                .post("/object/move")
                .service()
                .json(&body)
                .send()
                .await
                .refused("400", "InvalidKey");
            storage
                .post("/object/copy")
                .service()
                .json(&body)
                .send()
                .await
                .refused("400", "InvalidKey");
        }
    }
    for bucket in ["..", "%2E%2E", "a%2Fb", "%00"] {
        let answer = storage
            .get(&format!("/object/{bucket}/x"))
            .service()
            .send()
            .await;
        assert_eq!(answer.status, 400, "{bucket}: {}", answer.text());
    }
    assert!(storage.files().is_empty());
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "secret");
}

#[tokio::test]
async fn strange_names_are_kept_as_they_are() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let names = [
        "a b/c  d",
        "日本語/файл 🎉.txt",
        "CON",
        "aux.txt",
        ".hidden",
        "...",
        "a..b",
        "-",
        "+",
        "a+",
        "a=2F",
        "$(rm -rf x)",
        "?x=1&y=2",
        "x/",
        "ends.",
        "Ä",
        "A\u{308}",
        "'; drop table storage.objects; --",
    ];
    let encode = |name: &str| percent_encoding(name);
    for name in names {
        storage.put(&format!("b/{}", encode(name)), name).await;
    }
    for name in names {
        let got = storage
            .get(&format!("/object/b/{}", encode(name)))
            .service()
            .send()
            .await
            .ok();
        assert_eq!(got.text(), name);
    }
    assert_eq!(storage.files().len(), names.len());
}

/// Every byte that is no letter or digit, but slashes.
fn percent_encoding(name: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[tokio::test]
async fn a_forms_endless_head_is_cut_off() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let (taken, counted) = (
        std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)),
        (),
    );
    let counter = std::sync::Arc::clone(&taken);
    let endless = futures_util::stream::iter(0..u64::MAX).map_frames(move |n| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n == 0 {
            Bytes::from_static(b"--XX\r\nContent-Disposition: form-data; x=\"")
        } else {
            Bytes::from(vec![b'a'; 1024])
        }
    });
    let call = storage.post("/object/b/x").service();
    let answer = call
        .stream("multipart/form-data; boundary=XX", endless)
        .send()
        .await;
    answer.refused("400", "InvalidRequest");
    let () = counted;
    assert!(
        taken.load(std::sync::atomic::Ordering::Relaxed) < 100,
        "memory is bounded"
    );
}

trait MapFrames: futures_util::Stream<Item = u64> + Sized + Send + 'static {
    fn map_frames(self, make: impl Fn(u64) -> Bytes + Send + 'static) -> bunbun_http::Body {
        use futures_util::StreamExt as _;
        let frames = self.map(move |n| Ok::<_, BoxError>(Frame::data(make(n))));
        StreamBody::new(frames).boxed_unsync()
    }
}
impl<S: futures_util::Stream<Item = u64> + Send + 'static> MapFrames for S {}

#[tokio::test]
async fn large_json_and_wrong_methods_are_refused() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let large = "x".repeat(2 * 1024 * 1024);
    storage
        .post("/bucket")
        .service()
        .bytes("application/json", large)
        .send()
        .await
        .refused("400", "InvalidRequest");
    for (method, path) in [
        ("PATCH", "/bucket"),
        ("PUT", "/object/move"),
        ("POST", "/status"),
        ("TRACE", "/object/b/x"),
    ] {
        let answer = storage.call(method, path).service().send().await;
        assert!(
            [404, 400].contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    storage
        .post("/bucket")
        .service()
        .bytes("application/json", deep)
        .send()
        .await
        .refused("400", "InvalidRequest");
}

#[tokio::test]
async fn errors_show_nothing_of_the_inside() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.sql("create function public.boom() returns trigger language plpgsql as $$ begin perform 1/0; return new; end $$;
                 create trigger boom before insert on storage.objects for each row execute function public.boom()").await;
    let answer = storage
        .post("/object/b/x")
        .service()
        .bytes("a/b", "x")
        .send()
        .await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (500, Some("DatabaseError"))
    );
    for inside in [
        "division",
        "boom",
        "insert into",
        "storage.objects",
        "postgres://",
    ] {
        assert!(!answer.text().contains(inside), "{}", answer.text());
    }
    assert!(storage.files().is_empty());
}
