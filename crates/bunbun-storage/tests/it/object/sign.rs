//! Signed URLs: `POST /object/sign/…`, `GET /object/sign/…`, `/object/upload/sign/…`.

use bunbun_core::jwt;
use serde_json::{Value, json};

use crate::support::{SECRET, Storage, USER_A, USER_B, token, user};

async fn sign(storage: &Storage, path: &str, seconds: i64) -> String {
    let body = json!({ "expiresIn": seconds });
    let signed = storage
        .post(&format!("/object/sign/{path}"))
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    signed["signedURL"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_signed_url_needs_no_credential_and_ends() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/a%20b/%C3%BC.txt", "hello").await;
    let url = sign(&storage, "b/a%20b/%C3%BC.txt", 60).await;
    assert!(url.starts_with("/object/sign/b/a b/ü.txt?token="), "{url}");
    let url = url.replace(' ', "%20").replace('ü', "%C3%BC");
    let got = storage.get(&url).send().await.ok();
    assert_eq!(got.text(), "hello");
    assert!(got.header("expires").ends_with("GMT") && got.header("cache-control").is_empty());
    assert_eq!(
        storage
            .call("HEAD", &url)
            .send()
            .await
            .ok()
            .header("content-length"),
        "5"
    );
    assert_eq!(
        storage
            .get(&url)
            .header("range", "bytes=0-0")
            .send()
            .await
            .status,
        206
    );
    assert_eq!(
        storage
            .get(&format!("{url}&download=x.txt"))
            .send()
            .await
            .ok()
            .header("content-disposition"),
        "attachment; filename=x.txt; filename*=UTF-8''x.txt;"
    );
    storage
        .get(&url.replace("/object/", "/object/info/"))
        .send()
        .await
        .ok();
    // A credential that is not valid does not matter here.
    storage.get(&url).token("nonsense").send().await.ok();
    storage.clock.advance(59);
    storage.get(&url).send().await.ok();
    storage.clock.advance(1);
    let late = storage.get(&url).send().await;
    late.refused("400", "InvalidJWT");
    assert!(late.json()["message"].as_str().unwrap().contains("exp"));
}

#[tokio::test]
async fn a_signed_url_is_good_for_its_object_only() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.put("b/x.txt", "x").await;
    storage.put("b/y.txt", "y").await;
    let url = sign(&storage, "b/x.txt", 60).await;
    let token_text = url.split_once("token=").unwrap().1;
    let get = |path: &str, token: &str| storage.get(&format!("/object/sign/{path}?token={token}"));
    get("b/x.txt", token_text).send().await.ok();
    get("b/y.txt", token_text)
        .send()
        .await
        .refused("400", "InvalidSignature");
    get("b/X.txt", token_text)
        .send()
        .await
        .refused("400", "InvalidSignature");
    storage
        .get("/object/sign/b/x.txt")
        .send()
        .await
        .refused("400", "InvalidRequest");
    let (head, rest) = token_text.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let forged = |claims: Value, secret: &str| jwt::sign_hs256(secret, &claims);
    for (token, code) in [
        ("x".to_owned(), "InvalidJWT"),
        (format!("{head}.{claims}."), "InvalidJWT"),
        (
            format!(
                "{head}.{claims}.{}",
                signature.replace(&signature[..2], "zz")
            ),
            "InvalidJWT",
        ),
        (format!("eyJhbGciOiJub25lIn0.{claims}."), "InvalidJWT"),
        (
            forged(
                json!({ "url": "b/x.txt", "exp": 4_000_000_000_i64 }),
                "another-secret-0123456789-0123456789",
            ),
            "InvalidJWT",
        ),
        (
            forged(json!({ "url": "b/x.txt", "exp": 1 }), SECRET),
            "InvalidJWT",
        ),
        (
            forged(
                json!({ "url": "b/y.txt", "exp": 4_000_000_000_i64 }),
                SECRET,
            ),
            "InvalidSignature",
        ),
        (
            forged(
                json!({ "url": "b/x.txt", "upsert": true, "exp": 4_000_000_000_i64 }),
                SECRET,
            ),
            "InvalidSignature",
        ),
        (token("service_role", None), "InvalidSignature"),
    ] {
        get("b/x.txt", &token).send().await.refused("400", code);
    }
    // And it is no credential elsewhere.
    storage
        .get("/object/authenticated/b/x.txt")
        .token(token_text)
        .send()
        .await
        .refused("403", "AccessDenied");
}

#[tokio::test]
async fn users_sign_what_they_may_read() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let own = format!("{USER_A}/x.txt");
    storage
        .post(&format!("/object/b/{own}"))
        .token(&user(USER_A))
        .bytes("text/plain", "x")
        .send()
        .await
        .ok();
    let body = json!({ "expiresIn": 60 });
    let path = format!("/object/sign/b/{own}");
    storage
        .post(&path)
        .token(&user(USER_A))
        .json(&body)
        .send()
        .await
        .ok();
    storage
        .post(&path)
        .token(&user(USER_B))
        .json(&body)
        .send()
        .await
        .refused("404", "NoSuchKey");
    storage
        .post("/object/sign/b/none")
        .service()
        .json(&body)
        .send()
        .await
        .refused("404", "NoSuchKey");
    for bad in [
        json!({}),
        json!({ "expiresIn": 0 }),
        json!({ "expiresIn": "x" }),
    ] {
        storage
            .post(&path)
            .service()
            .json(&bad)
            .send()
            .await
            .refused("400", "InvalidRequest");
    }
    let body = json!({ "expiresIn": 60, "paths": [own, "none"] });
    let many = storage
        .post("/object/sign/b")
        .token(&user(USER_A))
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    assert!(many[0]["error"].is_null());
    storage
        .get(many[0]["signedURL"].as_str().unwrap())
        .send()
        .await
        .ok();
    assert!(many[1]["signedURL"].is_null() && many[1]["error"].is_string());
    let many = storage
        .post("/object/sign/b")
        .token(&user(USER_B))
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    assert!(
        many[0]["signedURL"].is_null(),
        "what may not be read is not signed"
    );
}

#[tokio::test]
async fn a_signed_upload_is_done_once_for_its_object_in_its_time() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    storage.own_folder_policies().await;
    let own = format!("b/{USER_A}/x.txt");
    let path = format!("/object/upload/sign/{own}");
    storage
        .post(&path)
        .token(&user(USER_B))
        .send()
        .await
        .refused("403", "AccessDenied");
    let signed = storage
        .post(&path)
        .token(&user(USER_A))
        .send()
        .await
        .ok()
        .json();
    let (url, token_text) = (
        signed["url"].as_str().unwrap(),
        signed["token"].as_str().unwrap(),
    );
    assert_eq!(url, format!("{path}?token={token_text}"));
    let put = |url: &str| storage.call("PUT", url).bytes("text/plain", "hello");
    put(&format!(
        "/object/upload/sign/b/other.txt?token={token_text}"
    ))
    .send()
    .await
    .refused("400", "InvalidSignature");
    put(&path).send().await.refused("400", "InvalidRequest");
    let done = put(url).send().await.ok().json();
    assert_eq!(done["Key"], own);
    put(url).send().await.refused("409", "KeyAlreadyExists");
    let owner = storage
        .get(&format!("/object/authenticated/{own}"))
        .token(&user(USER_A))
        .send()
        .await;
    assert_eq!(owner.ok().text(), "hello", "it belongs to who signed");
    // A token for writing does not read, and one for reading does not write.
    storage
        .get(&format!("/object/sign/{own}?token={token_text}"))
        .send()
        .await
        .refused("400", "InvalidSignature");
    let read = sign(&storage, &own, 60).await;
    put(&read.replace("/object/sign", "/object/upload/sign"))
        .send()
        .await
        .refused("400", "InvalidSignature");

    let signed = storage
        .post(&path)
        .token(&user(USER_A))
        .header("x-upsert", "true")
        .send()
        .await
        .ok()
        .json();
    put(signed["url"].as_str().unwrap()).send().await.ok();
    storage.clock.advance(2 * 3600);
    put(signed["url"].as_str().unwrap())
        .send()
        .await
        .refused("400", "InvalidJWT");
}
