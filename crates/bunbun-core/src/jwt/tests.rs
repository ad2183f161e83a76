//! Attacks on the verifier, after RFC 8725.

use std::sync::Arc;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Claims, InvalidToken, Verifier, application_key, sign_hs256};
use crate::clock::ManualClock;

const SECRET: &str = "a-secret-that-only-this-test-uses-1234567890";
const NOW: i64 = 1_800_000_000;

fn verifier() -> (Verifier, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW));
    let as_clock: Arc<dyn crate::clock::Clock> = Arc::<ManualClock>::clone(&clock);
    (Verifier::new(SECRET).with_clock(as_clock), clock)
}

fn user() -> Value {
    json!({ "role": "authenticated", "aud": "authenticated", "sub": "u1", "exp": NOW + 3600 })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn refusal(claims: &Value) -> InvalidToken {
    verifier()
        .0
        .verify(&sign_hs256(SECRET, claims))
        .expect_err("refused")
}

#[test]
fn user_tokens_and_application_keys_are_accepted() {
    let (verifier, _) = verifier();
    let claims = verifier
        .verify(&sign_hs256(SECRET, &user()))
        .expect("valid");
    assert_eq!(
        (claims.role.as_str(), claims.subject.as_deref()),
        ("authenticated", Some("u1"))
    );
    let key = application_key(SECRET, Claims::SERVICE_ROLE, NOW);
    assert!(verifier.verify(&key).expect("valid").is_service_role());
    // The other role of operators, as its tokens are made for the original.
    let key = application_key(SECRET, Claims::SUPABASE_ADMIN, NOW);
    assert_eq!(
        verifier.verify(&key).expect("valid").role,
        Claims::SUPABASE_ADMIN
    );
    let key = application_key(SECRET, "authenticated", NOW);
    assert!(verifier.verify(&key).is_err());
}

#[test]
fn expiry_and_start_are_checked_with_little_leeway_even_when_cached() {
    let (verifier, clock) = verifier();
    let token = sign_hs256(SECRET, &user());
    assert!(verifier.verify(&token).is_ok());
    clock.advance(3600 + 59);
    assert!(verifier.verify(&token).is_ok(), "within the leeway");
    clock.advance(1);
    assert_eq!(verifier.verify(&token), Err(InvalidToken("expired")));
    assert_eq!(
        refusal(&with(user(), "nbf", json!(NOW + 61))),
        InvalidToken("not valid yet")
    );
}

#[test]
fn claims_of_a_wrong_type_or_audience_are_refused() {
    for (name, value) in [
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!("0")),
        ("role", json!(["service_role"])),
        ("role", json!("")),
        ("role", json!("r".repeat(64))),
        ("aud", json!("another")),
        ("aud", json!(7)),
    ] {
        refusal(&with(user(), name, value));
    }
    for name in ["exp", "role", "aud"] {
        let mut claims = user();
        claims.as_object_mut().expect("an object").remove(name);
        refusal(&claims);
    }
}

#[test]
fn unsigned_and_foreign_tokens_are_refused() {
    let (verifier, _) = verifier();
    for alg in [
        "none", "None", "NONE", "HS384", "HS512", "PS256", "EdDSA", "",
    ] {
        let token = format!("{}.{}.", part(&json!({ "alg": alg })), part(&user()));
        assert!(verifier.verify(&token).is_err(), "{alg}");
    }
    assert!(
        verifier
            .verify(&sign_hs256("another-project's-secret-0123456789", &user()))
            .is_err()
    );
    let good = sign_hs256(SECRET, &user());
    let (head, rest) = good.split_once('.').expect("three parts");
    let (_, signature) = rest.split_once('.').expect("three parts");
    let admin = part(&with(user(), "role", json!("service_role")));
    assert!(
        verifier
            .verify(&format!("{head}.{admin}.{signature}"))
            .is_err()
    );
    for broken in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "é.é.é",
        &"x".repeat(100_000),
    ] {
        assert!(verifier.verify(broken).is_err());
    }
}

fn es256() -> (EcdsaKeyPair, String) {
    let rng = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let jwks = json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1",
        "x": BASE64_URL_SAFE_NO_PAD.encode(&point[1..33]),
        "y": BASE64_URL_SAFE_NO_PAD.encode(&point[33..65]),
    }]});
    (pair, jwks.to_string())
}

fn sign_es256(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!(
        "{message}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())
    )
}

#[test]
fn keys_of_a_key_set_verify_only_their_own_algorithm() {
    let (pair, jwks) = es256();
    let verifier = verifier().0.with_jwks(&jwks).expect("a key set");
    let good = sign_es256(&pair, &json!({ "alg": "ES256", "kid": "k1" }), &user());
    assert!(verifier.verify(&good).is_ok());
    assert!(
        verifier
            .verify(&sign_es256(&pair, &json!({ "alg": "ES256" }), &user()))
            .is_ok()
    );

    for kid in [
        "k2",
        "../../etc/passwd",
        "' or 1=1 --",
        "https://evil.example/jwks",
    ] {
        let token = sign_es256(&pair, &json!({ "alg": "ES256", "kid": kid }), &user());
        assert_eq!(verifier.verify(&token), Err(InvalidToken("no such key")));
    }
    // HS256 signed with the public key, the classical confusion.
    let confused = sign_hs256(&jwks, &user());
    assert!(verifier.verify(&confused).is_err());
    // Headers that point elsewhere have no effect; critical extensions are refused.
    let header =
        json!({ "alg": "ES256", "kid": "k1", "jku": "https://evil.example", "crit": ["b64"] });
    assert!(
        verifier
            .verify(&sign_es256(&pair, &header, &user()))
            .is_err()
    );
    let (other, _) = es256();
    assert!(
        verifier
            .verify(&sign_es256(
                &other,
                &json!({ "alg": "ES256", "kid": "k1" }),
                &user()
            ))
            .is_err()
    );
}

#[test]
fn scopes_are_read_in_both_spellings() {
    let claims = |value| Claims {
        role: "x".into(),
        subject: None,
        expires_at: 0,
        all: serde_json::from_value(value).unwrap(),
    };
    assert_eq!(
        claims(json!({ "scope": "a:read  b:write" })).scopes(),
        ["a:read", "b:write"]
    );
    assert_eq!(
        claims(json!({ "scopes": ["a:read", 1] })).scopes(),
        ["a:read"]
    );
    assert!(claims(json!({})).scopes().is_empty());
}
