//! `POST /token?grant_type=id_token`.

use serde_json::{Value, json};

use crate::{
    app::{App, START, address},
    authorize::with_provider,
    provider::{CLIENT_ID, Key, Provider},
};

async fn grant(app: &App, body: &Value) -> crate::app::Answer {
    app.post("/token?grant_type=id_token", body).send().await
}

fn nonce_pair() -> (&'static str, String) {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(b"a-nonce");
    (
        "a-nonce",
        hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

fn token(provider: &Provider, email: &str, more: &[(&str, Value)]) -> String {
    let mut claims = json!({ "sub": "s1", "email": email, "email_verified": true });
    for (name, value) in more {
        claims[*name] = value.clone();
    }
    provider.id_token(&claims)
}

#[tokio::test]
async fn tokens_of_either_algorithm_sign_in() {
    for key in [Key::es256("one"), Key::rs256("one")] {
        let Some((app, provider)) = with_provider(key, &[]).await else {
            return;
        };
        let email = address();
        let (nonce, hash) = nonce_pair();
        let body = json!({
            "provider": "acme", "nonce": nonce,
            "id_token": token(&provider, &email, &[("nonce", json!(hash))]),
        });
        let session = grant(&app, &body).await.ok();
        assert_eq!(session["user"]["email"], email.as_str());
        assert_eq!(app.claims(&session)["amr"][0]["method"], "oauth");
        // By issuer and client instead of a name.
        let body = json!({
            "client_id": CLIENT_ID, "issuer": provider.issuer,
            "id_token": token(&provider, &email, &[]),
        });
        let again = grant(&app, &body).await.ok();
        assert_eq!(again["user"]["id"], session["user"]["id"]);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let (nonce, hash) = nonce_pair();
    let good = || token(&provider, "a@b.co", &[("nonce", json!(hash))]);
    for (what, body) in [
        ("nothing", json!({})),
        ("no provider", json!({ "id_token": good(), "nonce": nonce })),
        (
            "unknown provider",
            json!({ "id_token": good(), "nonce": nonce, "provider": "other" }),
        ),
        (
            "github has none",
            json!({ "id_token": good(), "nonce": nonce, "provider": "github" }),
        ),
        (
            "no nonce",
            json!({ "id_token": good(), "provider": "acme" }),
        ),
        (
            "another nonce",
            json!({ "id_token": good(), "provider": "acme", "nonce": "x" }),
        ),
        (
            "a nonce too much",
            json!({ "id_token": token(&provider, "a@b.co", &[]), "provider": "acme", "nonce": "x" }),
        ),
        (
            "another audience",
            json!({ "provider": "acme", "id_token": token(&provider, "a@b.co", &[("aud", json!("x"))]) }),
        ),
        (
            "expired",
            json!({ "provider": "acme", "id_token": token(&provider, "a@b.co", &[("exp", json!(START - 61))]) }),
        ),
        (
            "no token",
            json!({ "provider": "acme", "id_token": "x.y.z" }),
        ),
        (
            "a long one",
            json!({ "provider": "acme", "id_token": "x".repeat(20_000) }),
        ),
    ] {
        let answer = grant(&app, &body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text);
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
}
