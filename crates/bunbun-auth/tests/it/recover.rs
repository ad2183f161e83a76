//! `POST /recover`.

use serde_json::json;

use crate::{
    app::{App, PASSWORD, PATIENCE, address},
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

#[tokio::test]
async fn a_known_address_takes_no_longer() {
    let Some(app) = App::with_slow_mails(&[]).await else {
        return;
    };
    let (known, pending) = (address(), address());
    let body = json!({ "email": known, "email_confirm": true });
    app.post("/admin/users", &body).by_admin().send().await.ok();
    let body = json!({ "email": pending });
    app.post("/admin/users", &body).by_admin().send().await.ok();
    // While nobody can write, the answer is there all the same: it waits for no writing.
    let mut blocker = app.database.superuser().await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute("lock table auth.audit_log_entries in exclusive mode")
        .await
        .unwrap();
    let ask = async {
        for (path, email) in [("/recover", &known), ("/resend", &pending)] {
            let body = json!({ "email": email, "type": "signup" });
            app.post(path, &body).send().await.ok();
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(5), ask).await;
    lock.commit().await.unwrap();
    in_time.expect("nobody waited");
    // And the mails come.
    let arrive = async {
        while app.mailbox.latest_to(&known).is_none() || app.mailbox.latest_to(&pending).is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrive)
        .await
        .expect("in time");
}
