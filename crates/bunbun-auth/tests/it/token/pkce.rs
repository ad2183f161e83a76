//! `POST /token?grant_type=pkce`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::app::{Answer, App, PASSWORD, address};

pub(crate) const VERIFIER: &str = "a-verifier-that-has-at-least-43-characters-in-it";

/// The challenge of [`VERIFIER`].
pub(crate) fn challenge() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER.as_bytes()))
}

pub(crate) async fn exchange(app: &App, code: &str, verifier: &str) -> Answer {
    let body = json!({ "auth_code": code, "code_verifier": verifier });
    app.post("/token?grant_type=pkce", &body).send().await
}

/// Asks for a magic link and follows it to its code.
async fn code(app: &App) -> String {
    let email = address();
    let body = json!({
        "email": email, "code_challenge": challenge(), "code_challenge_method": "s256",
    });
    app.post("/otp", &body).send().await.ok();
    let mail = app.mail(&email);
    assert!(mail.token_hash.starts_with("pkce_"));
    let location = app.get(App::path_of(&mail.link)).send().await.location();
    assert!(!location.fragment.contains_key("access_token"));
    location.query["code"].clone()
}

#[tokio::test]
async fn a_code_is_good_once_and_with_its_verifier() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let code = code(&app).await;
    exchange(
        &app,
        &code,
        "another-verifier-that-has-at-least-43-characters",
    )
    .await
    .refused(400, "bad_code_verifier");
    let session = exchange(&app, &code, VERIFIER).await.ok();
    assert_eq!(app.claims(&session)["amr"][0]["method"], "magiclink");
    exchange(&app, &code, VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_session() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let code = code(&app).await;
    let all = (0..8).map(|_| exchange(&app, &code, VERIFIER));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "1");
}

#[tokio::test]
async fn a_code_ends_after_five_minutes() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let code = code(&app).await;
    app.clock.advance(301);
    exchange(&app, &code, VERIFIER)
        .await
        .refused(422, "flow_state_expired");
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for body in [
        json!({}),
        json!({ "auth_code": "x" }),
        json!({ "code_verifier": "x" }),
    ] {
        let answer = app.post("/token?grant_type=pkce", &body).send().await;
        answer.refused(400, "validation_failed");
    }
    exchange(&app, "c9b1a3b0-0000-4000-8000-000000000000", VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
}

#[tokio::test]
async fn a_signup_with_a_challenge_ends_in_a_code() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let email = address();
    let body: Value = json!({
        "email": email, "password": PASSWORD,
        "code_challenge": challenge(), "code_challenge_method": "s256",
    });
    app.post("/signup", &body).send().await.ok();
    let location = app
        .get(App::path_of(&app.mail(&email).link))
        .send()
        .await
        .location();
    let session = exchange(&app, &location.query["code"], VERIFIER).await.ok();
    assert_eq!(session["user"]["email"], email.as_str());
}

#[tokio::test]
async fn a_code_ends_with_the_password_of_its_time() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let body = json!({
        "email": email, "code_challenge": challenge(), "code_challenge_method": "s256",
    });
    app.post("/otp", &body).send().await.ok();
    let path = App::path_of(&app.mail(&email).link);
    let code = app.get(path).send().await.location().query["code"].clone();
    let change = json!({ "password": "a new long password" });
    app.put("/user", &change).by(&session).send().await.ok();
    exchange(&app, &code, VERIFIER)
        .await
        .refused(404, "flow_state_not_found");
}
