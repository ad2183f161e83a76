//! Attacks with tokens (RFC 8725), through the edge: all of them get one and the same refusal.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::jwt;
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Keys, Origin};

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn ecdsa_jwks(key: &rcgen::KeyPair) -> String {
    let raw = key.public_key_raw();
    let (x, y) = raw[1..].split_at(32);
    let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one", "x": text(x), "y": text(y) },
        { "kty": "oct", "alg": "HS256", "kid": "shared", "k": text(&b"published-by-mistake"[..]) },
    ]})
    .to_string()
}

/// The published example of a secret.
const EXAMPLE: &str = "your-super-secret-jwt-token-with-at-least-32-characters-long";

/// What is wrong with a token, and the token.
type Forgery = (&'static str, String);

/// Tokens whose signature is none of ours.
fn wrong_signatures(keys: &Keys, key: &rcgen::KeyPair, jwks: &str, claims: &Value) -> Vec<Forgery> {
    let good = keys.sign(claims);
    let (head, rest) = good.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    let unsigned = |alg: &str| format!("{}.{body}.", part(&json!({ "alg": alg, "typ": "JWT" })));
    // HS256 over another header.
    let resigned = |header: &Value, secret: &str| {
        let message = format!("{}.{body}", part(header));
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    };
    let mut other = claims.clone();
    other["sub"] = json!("another");
    let pem = key.public_key_pem();
    let raw = String::from_utf8_lossy(key.public_key_raw()).into_owned();
    vec![
        ("none", unsigned("none")),
        ("nOnE", unsigned("nOnE")),
        ("an empty algorithm", unsigned("")),
        ("ES256 without a signature", unsigned("ES256")),
        (
            "none with a signature",
            format!("{}.{body}.{signature}", part(&json!({ "alg": "none" }))),
        ),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.x")),
        (
            "another header",
            format!("{}.{body}.{signature}", part(&json!({ "alg": "HS512" }))),
        ),
        (
            "another body",
            format!("{head}.{}.{signature}", part(&other)),
        ),
        ("HS256 with the public key", jwt::sign_hs256(&pem, claims)),
        (
            "HS256 with the public key, trimmed",
            jwt::sign_hs256(pem.trim(), claims),
        ),
        (
            "HS256 with the raw public key",
            jwt::sign_hs256(&raw, claims),
        ),
        ("HS256 with the key set", jwt::sign_hs256(jwks, claims)),
        (
            "HS256 with the set's symmetric key",
            jwt::sign_hs256("published-by-mistake", claims),
        ),
        ("an empty secret", jwt::sign_hs256("", claims)),
        ("the example's secret", jwt::sign_hs256(EXAMPLE, claims)),
        (
            "ES256 that is HS256",
            resigned(&json!({ "alg": "ES256", "kid": "one" }), &pem),
        ),
        (
            "RS256 that is HS256",
            resigned(&json!({ "alg": "RS256", "kid": "one" }), &pem),
        ),
        (
            "HS384 that is HS256",
            resigned(&json!({ "alg": "HS384" }), &keys.secret),
        ),
        (
            "a kid that is a path",
            resigned(&json!({ "alg": "ES256", "kid": "../../../dev/null" }), ""),
        ),
        (
            "a kid that is SQL",
            resigned(&json!({ "alg": "HS256", "kid": "x' union select 'k" }), "k"),
        ),
        (
            "a kid that is a URL",
            resigned(&json!({ "alg": "RS256", "kid": "http://127.0.0.1/k" }), "k"),
        ),
        (
            "jku",
            resigned(
                &json!({ "alg": "HS256", "jku": "http://127.0.0.1/jwks" }),
                "k",
            ),
        ),
        (
            "an embedded key",
            resigned(
                &json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "aw" } }),
                "k",
            ),
        ),
        (
            "crit",
            resigned(
                &json!({ "alg": "HS256", "crit": ["x"], "x": 1 }),
                &keys.secret,
            ),
        ),
        ("padding", good.replace('.', "=.")),
        ("nothing", String::new()),
    ]
}

/// Tokens that are well signed and say what none may say.
fn wrong_claims(keys: &Keys, claims: &Value) -> Vec<Forgery> {
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        keys.sign(&changed)
    };
    let without = |name: &str| {
        let mut changed = claims.clone();
        changed.as_object_mut().expect("an object").remove(name);
        keys.sign(&changed)
    };
    vec![
        ("expired", with("exp", json!(1_500_000_000))),
        ("exp as text", with("exp", json!("9999999999"))),
        ("exp as null", with("exp", Value::Null)),
        ("exp as a list", with("exp", json!([9_999_999_999_u64]))),
        ("a negative exp", with("exp", json!(-1))),
        ("no exp", without("exp")),
        ("nbf in the future", with("nbf", json!(9_999_999_999_u64))),
        ("nbf as text", with("nbf", json!("0"))),
        ("no role", without("role")),
        ("an empty role", with("role", json!(""))),
        ("a list of roles", with("role", json!(["service_role"]))),
        ("another audience", with("aud", json!("other"))),
        ("huge", with("x", json!("a".repeat(9000)))),
    ]
}

fn forgeries(keys: &Keys, key: &rcgen::KeyPair, jwks: &str, claims: &Value) -> Vec<Forgery> {
    let mut all = wrong_signatures(keys, key, jwks, claims);
    all.extend(wrong_claims(keys, claims));
    all
}

#[test]
fn forged_tokens_get_one_and_the_same_refusal() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let jwks = ecdsa_jwks(&key);
    let origin = Origin::echo();
    let config = format!(
        "[upstreams.own]\nurls = ['{}']\n[[routes]]\nname = 'u'\npath = '/u'\nupstream = 'own'\naccess = 'user'\n",
        origin.url()
    );
    for dialect in ["envoy", "kong2", "kong3"] {
        let gateway = Gateway::builder()
            .config(&format!("dialect = '{dialect}'\n{config}"))
            .named_slots(origin.url())
            .with(|b| b.jwks = Some(jwks.clone()))
            .start();
        let mut user = Keys::user_claims("u1");
        user["role"] = json!("authenticated");
        let mut owner = Keys::user_claims("u1");
        owner["role"] = json!("service_role");
        // Without the id, which differs by nature.
        let told = |answer: &Answer| {
            let body = answer.text().replace(answer.request_id(), "ID");
            (
                answer.status,
                body,
                answer.header("www-authenticate").map(str::to_owned),
            )
        };
        let wrong_bearer = gateway.get("/u", &[("authorization", "Bearer wrong")]);
        let wrong_key = gateway.get("/pg/t", &[("apikey", "wrong")]);
        for (what, token) in forgeries(&gateway.keys, &key, &jwks, &user) {
            let bearer = format!("Bearer {token}");
            let answer = gateway.get("/u", &[("authorization", &bearer)]);
            assert_eq!(told(&answer), told(&wrong_bearer), "{dialect}: {what}");
            assert_eq!(answer.status, 401, "{dialect}: {what}");
            gateway.get("/api/whoami", &[("authorization", &bearer)]);
            let (_, context) = gateway.api.take().remove(0);
            assert_eq!(
                context.expect("a context").caller,
                None,
                "{dialect}: {what}"
            );
        }
        for (what, token) in forgeries(&gateway.keys, &key, &jwks, &owner) {
            let answer = gateway.get("/pg/t", &[("apikey", &token)]);
            assert_eq!(answer.status, 401, "{dialect}: {what}");
            assert_eq!(told(&answer), told(&wrong_key), "{dialect}: {what}");
        }
        assert_eq!(origin.take().len(), 0);
        let good = format!("Bearer {}", gateway.keys.sign(&user));
        assert_eq!(gateway.get("/u", &[("authorization", &good)]).status, 200);
        assert_eq!(
            gateway
                .get("/pg/t", &[("apikey", &gateway.keys.sign(&owner))])
                .status,
            200
        );
        let signed = es256(&key, &user);
        assert_eq!(
            gateway
                .get("/u", &[("authorization", &format!("Bearer {signed}"))])
                .status,
            200
        );
        assert_eq!(origin.take().len(), 3);
    }
}

fn es256(key: &rcgen::KeyPair, claims: &Value) -> String {
    let algorithm = jsonwebtoken::Algorithm::ES256;
    let header = jsonwebtoken::Header {
        kid: Some("one".to_owned()),
        ..jsonwebtoken::Header::new(algorithm)
    };
    let key = jsonwebtoken::EncodingKey::from_ec_der(key.serialized_der());
    jsonwebtoken::encode(&header, claims, &key).expect("a token")
}
