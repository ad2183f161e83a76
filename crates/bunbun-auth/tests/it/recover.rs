//! `POST /recover`.

use serde_json::json;

use crate::{
    app::{App, PASSWORD, address},
    token::pkce::{VERIFIER, challenge, exchange},
};

#[tokio::test]
async fn a_new_password_takes_the_place_of_the_old() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let old = app.sign_up(&email).await;
    app.post("/recover", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let mail = app.mail(&email);
    assert_eq!(mail.kind, "recovery");
    let body = json!({ "type": "recovery", "token_hash": mail.token_hash });
    let session = app.post("/verify", &body).send().await.ok();
    let change = json!({ "password": "another long password" });
    app.put("/user", &change).by(&session).send().await.ok();
    app.sign_in(&email, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
    app.sign_in(&email, "another long password").await.ok();
    app.get("/user")
        .by(&old)
        .send()
        .await
        .refused(403, "session_not_found");
    app.get("/user").by(&session).send().await.ok();
}

#[tokio::test]
async fn an_old_link_ends_when_a_new_one_is_sent_and_with_its_time() {
    let Some(app) = App::start(&[("MAILER_OTP_EXP", "600s")]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    app.post("/recover", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let first = app.mail(&email).token_hash;
    app.post("/recover", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let second = app.mail(&email).token_hash;
    let verify = |hash: String| json!({ "type": "recovery", "token_hash": hash });
    app.post("/verify", &verify(first))
        .send()
        .await
        .refused(403, "otp_expired");
    app.clock.advance(600);
    app.post("/verify", &verify(second)).send().await.ok();
    app.post("/recover", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let third = app.mail(&email).token_hash;
    app.clock.advance(601);
    app.post("/verify", &verify(third))
        .send()
        .await
        .refused(403, "otp_expired");
}

#[tokio::test]
async fn a_challenge_leads_to_a_code() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let body = json!({
        "email": email, "code_challenge": challenge(), "code_challenge_method": "S256",
    });
    app.post("/recover", &body).send().await.ok();
    let location = app
        .get(App::path_of(&app.mail(&email).link))
        .send()
        .await
        .location();
    exchange(&app, &location.query["code"], VERIFIER).await.ok();
}
