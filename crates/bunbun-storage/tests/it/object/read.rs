//! `GET` and `HEAD` of objects, `/object/info/…`.

use crate::support::{Storage, USER_A, token, user};

#[tokio::test]
async fn private_objects_are_for_those_who_may_see_them_and_public_ones_for_all() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("private").await;
    storage.public_bucket("public").await;
    storage.put("private/x.txt", "secret").await;
    storage.put("public/x.txt", "open").await;
    let anon = token("anon", None);
    for (path, token, text) in [
        ("/object/public/public/x.txt", None, Some("open")),
        ("/object/public/x.txt", None, Some("open")),
        ("/object/public/x.txt", Some(&anon), Some("open")),
        (
            "/object/authenticated/public/x.txt",
            Some(&anon),
            Some("open"),
        ),
        ("/object/public/private/x.txt", None, None),
        ("/object/private/x.txt", None, None),
        ("/object/private/x.txt", Some(&anon), None),
        ("/object/authenticated/private/x.txt", Some(&anon), None),
        ("/object/info/private/x.txt", Some(&anon), None),
        ("/object/info/public/private/x.txt", None, None),
    ] {
        let mut call = storage.get(path);
        if let Some(token) = token {
            call = call.token(token);
        }
        let answer = call.send().await;
        match text {
            Some(text) => assert_eq!(answer.ok().text(), text, "{path}"),
            None => assert_eq!(
                answer.json()["statusCode"],
                "404",
                "{path}: {}",
                answer.text()
            ),
        }
    }
    storage
        .get("/object/authenticated/private/x.txt")
        .send()
        .await
        .refused("400", "InvalidRequest");
    storage
        .get("/object/authenticated/private/x.txt")
        .token("x")
        .send()
        .await
        .refused("403", "AccessDenied");
    storage
        .get("/object/private/none.txt")
        .service()
        .send()
        .await
        .refused("404", "NoSuchKey");
    storage
        .get("/object/public/public/none.txt")
        .send()
        .await
        .refused("404", "NoSuchKey");
    storage
        .get("/object/info/public/public/x.txt")
        .send()
        .await
        .ok();
    storage
        .get("/object/info/authenticated/private/x.txt")
        .service()
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn headers_tell_of_the_object() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let put = storage
        .post("/object/b/x.txt")
        .service()
        .header("cache-control", "max-age=9");
    put.bytes("text/plain", "hello").send().await.ok();
    let got = storage.get("/object/b/x.txt").service().send().await.ok();
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
        ("accept-ranges", "bytes"),
        ("cache-control", "max-age=9"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    assert!(got.header("last-modified").ends_with(" GMT"));
    let head = storage
        .call("HEAD", "/object/b/x.txt")
        .service()
        .send()
        .await
        .ok();
    assert_eq!((head.header("content-length"), head.body.len()), ("5", 0));
    assert_eq!(head.header("etag"), got.header("etag"));
    let head = storage
        .call("HEAD", "/object/b/none")
        .service()
        .send()
        .await;
    assert_eq!(head.status, 400);
    for (query, disposition) in [
        ("download", "attachment;"),
        ("download=", "attachment;"),
        (
            "download=a%20b%22%0d%0aX:1.txt",
            "attachment; filename=a%20b%22%0D%0AX%3A1.txt; filename*=UTF-8''a%20b%22%0D%0AX%3A1.txt;",
        ),
    ] {
        let got = storage
            .get(&format!("/object/b/x.txt?{query}"))
            .service()
            .send()
            .await
            .ok();
        assert_eq!(got.header("content-disposition"), disposition);
    }
}

#[tokio::test]
async fn ranges_are_served() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x.txt", "0123456789").await;
    let get = |range: &str| {
        storage
            .get("/object/b/x.txt")
            .service()
            .header("range", range)
    };
    for (range, text, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let part = get(range).send().await;
        assert_eq!((part.status, part.text().as_str()), (206, text));
        assert_eq!(part.header("content-range"), content_range);
        assert_eq!(part.header("content-length"), text.len().to_string());
    }
    assert_eq!(get("bytes=a-b").send().await.ok().text(), "0123456789");
    let none = get("bytes=10-").send().await;
    assert_eq!(
        (none.status, none.json()["code"].as_str()),
        (416, Some("InvalidRange"))
    );
    assert_eq!(none.header("content-range"), "bytes */10");
    let head = storage
        .call("HEAD", "/object/b/x.txt")
        .service()
        .header("range", "bytes=0-3")
        .send()
        .await;
    assert_eq!((head.status, head.header("content-length")), (206, "4"));
    let etag = storage
        .get("/object/b/x.txt")
        .service()
        .send()
        .await
        .header("etag")
        .to_owned();
    assert_eq!(
        get("bytes=0-3")
            .header("if-range", &etag)
            .send()
            .await
            .status,
        206
    );
    assert_eq!(
        get("bytes=0-3")
            .header("if-range", "\"other\"")
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn conditions_are_honoured() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x.txt", "hello").await;
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let get =
        |name: &str, value: &str| storage.get("/object/b/x.txt").service().header(name, value);
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-none-match", "\"other\"", 200),
        ("if-match", etag, 200),
        ("if-match", "\"other\"", 412),
        ("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT", 304),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 412),
    ] {
        let answer = get(name, value).send().await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if status == 304 {
            assert_eq!((answer.header("etag"), answer.body.len()), (etag, 0));
        }
    }
}

#[tokio::test]
async fn pages_do_not_run_in_the_apis_origin() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.public_bucket("b").await;
    for (mime, shown, sandbox) in [
        ("text/html; charset=utf-8", "text/plain", true),
        ("image/svg+xml", "image/svg+xml", true),
        ("application/xhtml+xml", "application/xhtml+xml", true),
        ("image/png", "image/png", false),
    ] {
        storage
            .call("PUT", "/object/b/x")
            .service()
            .bytes(mime, "<svg/>")
            .send()
            .await
            .ok();
        let got = storage.get("/object/public/b/x").send().await.ok();
        assert_eq!(got.header("content-type"), shown);
        assert_eq!(
            got.header("content-security-policy").contains("sandbox"),
            sandbox,
            "{mime}"
        );
    }
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/empty", "").await;
    let got = storage.get("/object/b/empty").service().send().await.ok();
    assert_eq!((got.header("content-length"), got.body.len()), ("0", 0));
    assert_eq!(got.header("etag"), "\"d41d8cd98f00b204e9800998ecf8427e\"");
}

#[tokio::test]
async fn large_objects_come_back_as_they_were() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect();
    storage
        .post("/object/b/large")
        .service()
        .bytes("x/y", content.clone())
        .send()
        .await
        .ok();
    assert!(
        storage
            .get("/object/b/large")
            .service()
            .send()
            .await
            .ok()
            .body
            == content
    );
    let part = storage
        .get("/object/b/large")
        .service()
        .header("range", "bytes=1000000-2000000")
        .send()
        .await;
    assert!(part.body == content[1_000_000..=2_000_000]);
}

#[tokio::test]
async fn unknown_routes_are_answered_as_the_original_does() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    let lost = storage.get("/nowhere").token(&user(USER_A)).send().await;
    assert_eq!(lost.status, 404);
    assert_eq!(lost.json()["message"], "Route GET:/nowhere not found");
    assert_eq!(storage.get("/status").send().await.status, 200);
    assert!(
        storage
            .get("/version")
            .send()
            .await
            .ok()
            .text()
            .starts_with("1.60")
    );
    storage.get("/health").send().await.ok();
}
