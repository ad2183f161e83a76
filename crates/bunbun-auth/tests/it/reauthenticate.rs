//! `GET /reauthenticate`.

use crate::app::{App, address};

#[tokio::test]
async fn a_code_goes_to_the_users_address_only() {
    let Some(app) = App::start(&[("ENABLE_ANONYMOUS_USERS", "true")]).await else {
        return;
    };
    app.get("/reauthenticate")
        .send()
        .await
        .refused(401, "no_authorization");
    let email = address();
    let session = app.sign_up(&email).await;
    app.get("/reauthenticate").by(&session).send().await.ok();
    let mail = app.mail(&email);
    assert_eq!((mail.kind, mail.link.as_str()), ("reauthentication", ""));
    // The code signs nobody in.
    for kind in ["email", "magiclink", "recovery", "signup"] {
        let body = serde_json::json!({ "type": kind, "email": email, "token": mail.token });
        app.post("/verify", &body)
            .send()
            .await
            .refused(403, "otp_expired");
    }
    let anonymous = app
        .post("/signup", &serde_json::json!({}))
        .send()
        .await
        .ok();
    let answer = app.get("/reauthenticate").by(&anonymous).send().await;
    assert!(matches!(answer.status, 400 | 403 | 422), "{}", answer.text);
}
