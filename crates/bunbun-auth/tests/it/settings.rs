//! `/settings`, `/health`, `/.well-known/*`, and what comes later.

use serde_json::json;

use crate::app::{App, address};

#[tokio::test]
async fn settings_say_what_is_on() {
    let settings = [
        ("ENABLE_ANONYMOUS_USERS", "true"),
        ("EXTERNAL_GITHUB_CLIENT_ID", "x"),
        ("EXTERNAL_GITHUB_SECRET", "y"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let answer = app.get("/settings").send().await.ok();
    assert_eq!(answer["external"]["email"], true);
    assert_eq!(answer["external"]["github"], true);
    assert_eq!(answer["external"]["google"], false);
    assert_eq!(answer["external"]["anonymous_users"], true);
    assert_eq!(answer["mailer_autoconfirm"], true);
    assert_eq!(answer["disable_signup"], false);
    let health = app.get("/health").send().await.ok();
    assert_eq!(health["name"], "GoTrue");
}

#[tokio::test]
async fn a_shared_secret_is_never_published() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    assert_eq!(
        app.get("/.well-known/jwks.json").send().await.ok(),
        json!({ "keys": [] })
    );
    let discovery = app
        .get("/.well-known/openid-configuration")
        .send()
        .await
        .ok();
    assert_eq!(discovery["issuer"], "http://localhost:9/auth/v1");
}

#[tokio::test]
async fn tokens_of_a_key_set_are_verified_by_what_is_published() {
    use aws_lc_rs::{
        encoding::{AsBigEndian as _, EcPrivateKeyBin},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    let point = pair.public_key().as_ref();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": "k1", "key_ops": ["sign"],
        "d": encode(private.as_ref()), "x": encode(&point[1..33]), "y": encode(&point[33..]),
    }] });
    let Some(app) = App::start(&[("JWT_KEYS", &keys.to_string())]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let token = session["access_token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(
        (header.alg, header.kid.as_deref()),
        (jsonwebtoken::Algorithm::ES256, Some("k1"))
    );
    app.get("/user").by(&session).send().await.ok();
    let published = app.get("/.well-known/jwks.json").send().await.ok();
    assert_eq!(published["keys"][0]["kid"], "k1");
    assert!(published["keys"][0].get("d").is_none());
}

#[tokio::test]
async fn what_comes_later_says_so_with_the_originals_codes() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for (path, code) in [
        ("/sso", "saml_provider_disabled"),
        ("/sso/saml/acs", "saml_provider_disabled"),
        ("/admin/sso/providers", "saml_provider_disabled"),
        ("/passkeys/registration/options", "passkey_disabled"),
        ("/oauth/authorize", "feature_disabled"),
        ("/admin/oauth/clients", "feature_disabled"),
        (
            "/.well-known/oauth-authorization-server",
            "feature_disabled",
        ),
    ] {
        app.get(path).send().await.refused(404, code);
        app.post(path, &json!({})).send().await.refused(404, code);
    }
    let unknown = app.get("/nothing").send().await;
    assert_eq!(
        (unknown.status, unknown.text.as_str()),
        (404, "404 page not found\n")
    );
}
