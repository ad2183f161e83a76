//! `POST /token?grant_type=id_token`.

use serde_json::{Value, json};

use crate::{
    app::{App, PATIENCE, START, address},
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

#[tokio::test]
async fn what_a_provider_says_is_checked_before_it_is_kept() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    // What is no address is none.
    for (n, email) in ["x", "a@b.co\r\nBcc: x@y.org", "<b>@x.org", "a@ｅxample.org"]
        .iter()
        .enumerate()
    {
        let more = [("sub", json!(format!("s{n}")))];
        let body = json!({ "provider": "acme", "id_token": token(&provider, email, &more) });
        grant(&app, &body)
            .await
            .refused(422, "provider_email_needs_verification");
    }
    assert_eq!(
        app.sql("select string_agg(email, ' ') from auth.users")
            .await,
        ""
    );
    // What no column can hold, or nobody's name is, is left out.
    let email = address();
    let more = [
        ("name", json!("a\u{0}b")),
        ("nickname", json!("x".repeat(3_000))),
        ("given_name", json!("Ada")),
        ("sub", json!("s9")),
    ];
    let body = json!({ "provider": "acme", "id_token": token(&provider, &email, &more) });
    let session = grant(&app, &body).await.ok();
    let data = &session["user"]["user_metadata"];
    assert_eq!(data["given_name"], "Ada");
    assert_eq!(
        (&data["name"], &data["nickname"]),
        (&Value::Null, &Value::Null)
    );
    let body = json!({
        "provider": "acme", "id_token": token(&provider, &email, &[("sub", json!("a\u{0}"))]),
    });
    assert_eq!(grant(&app, &body).await.status, 400);
}

#[tokio::test]
async fn a_provider_that_hangs_stops_nobody_whose_key_is_known() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[]).await else {
        return;
    };
    let email = address();
    let body = json!({ "provider": "acme", "id_token": token(&provider, &email, &[]) });
    grant(&app, &body).await.ok();
    provider.hang();
    app.clock.advance(31);
    let unknown = Key::es256("two").sign(&json!({ "sub": "s1", "exp": START + 600 }));
    let unknown = json!({ "provider": "acme", "id_token": unknown });
    // Many who wait for a key that is not known wait together, and no longer than one of them.
    let many = futures_util::future::join_all((0..4).map(|_| grant(&app, &unknown)));
    let known = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let begin = std::time::Instant::now();
        grant(&app, &body).await.ok();
        begin.elapsed()
    };
    let both = async { tokio::join!(many, known) };
    let (refused, took) = tokio::time::timeout(PATIENCE, both).await.expect("in time");
    assert!(took.as_secs() < 5, "{took:?}");
    for answer in refused {
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    // A failure is an attempt as well: the next one is not waited for.
    let begin = std::time::Instant::now();
    assert_eq!(grant(&app, &unknown).await.status, 400);
    assert!(begin.elapsed().as_secs() < 5);
    // And nobody waits for what is merely old.
    app.clock.advance(3_600);
    let fresh = [("exp", json!(START + 9_000))];
    let body = json!({ "provider": "acme", "id_token": token(&provider, &email, &fresh) });
    let begin = std::time::Instant::now();
    grant(&app, &body).await.ok();
    assert!(begin.elapsed().as_secs() < 5);
}
