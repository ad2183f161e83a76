//! `POST /resend`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn a_confirmation_is_sent_again_and_the_first_one_ends() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let first = app.mail(&email);
    let body = json!({ "type": "signup", "email": email });
    assert_eq!(app.post("/resend", &body).send().await.ok(), json!({}));
    let second = app.mail(&email);
    assert_ne!(first.token_hash, second.token_hash);
    let location = app.get(App::path_of(&first.link)).send().await.location();
    assert_eq!(location.fragment["error_code"], "otp_expired");
    let location = app.get(App::path_of(&second.link)).send().await.location();
    assert!(location.fragment.contains_key("access_token"));
    // Nothing awaits confirmation any more.
    let mails = app.mailbox.mails().len();
    assert_eq!(app.post("/resend", &body).send().await.ok(), json!({}));
    assert_eq!(app.mailbox.mails().len(), mails);
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_change_of_address_is_sent_again() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let (email, new) = (address(), address());
    app.sign_up(&email).await;
    let location = app
        .get(App::path_of(&app.mail(&email).link))
        .send()
        .await
        .location();
    let token = &location.fragment["access_token"];
    app.put("/user", &json!({ "email": new }))
        .bearer(token)
        .send()
        .await
        .ok();
    let first = app.mail(&new).token_hash;
    let body = json!({ "type": "email_change", "email": email });
    app.post("/resend", &body).send().await.ok();
    assert_ne!(app.mail(&new).token_hash, first);
}

#[tokio::test]
async fn the_form_is_checked() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for (body, code) in [
        (json!({}), "validation_failed"),
        (
            json!({ "type": "other", "email": "a@b.co" }),
            "validation_failed",
        ),
        (json!({ "type": "signup" }), "validation_failed"),
        (
            json!({ "type": "sms", "phone": "+4912345678" }),
            "phone_provider_disabled",
        ),
    ] {
        app.post("/resend", &body).send().await.refused(400, code);
    }
}
