//! `POST /invite`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn invitations_are_mails_as_others_are() {
    let Some(app) = App::start(&[("RATE_LIMIT_EMAIL_SENT", "3")]).await else {
        return;
    };
    let invite = || {
        app.post("/invite", &json!({ "email": address() }))
            .by_admin()
    };
    for _ in 0..3 {
        invite().send().await.ok();
    }
    invite()
        .send()
        .await
        .refused(429, "over_email_send_rate_limit");
}

#[tokio::test]
async fn an_invitation_is_accepted_by_its_link() {
    let Some(app) = App::start(&[("DISABLE_SIGNUP", "true")]).await else {
        return;
    };
    let email = address();
    let body = json!({ "email": email, "data": { "team": "blue" } });
    let user = app.post("/invite", &body).by_admin().send().await.ok();
    assert_eq!(user["email"], email.as_str());
    assert!(user["invited_at"].is_string());
    let mail = app.mail(&email);
    assert_eq!(mail.kind, "invite");
    let location = app.get(App::path_of(&mail.link)).send().await.location();
    let token = &location.fragment["access_token"];
    let user = app
        .put("/user", &json!({ "password": PASSWORD }))
        .bearer(token)
        .send()
        .await
        .ok();
    assert_eq!(user["user_metadata"]["team"], "blue");
    app.sign_in(&email, PASSWORD).await.ok();
    app.post("/invite", &body)
        .by_admin()
        .send()
        .await
        .refused(422, "email_exists");
}
