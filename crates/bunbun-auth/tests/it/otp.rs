//! `POST /otp` and `POST /magiclink`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn a_code_makes_an_account_and_signs_in() {
    for autoconfirm in ["true", "false"] {
        let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", autoconfirm)]).await else {
            return;
        };
        let email = address();
        let body = json!({ "email": email, "data": { "plan": "free" } });
        assert_eq!(app.post("/otp", &body).send().await.ok(), json!({}));
        let mail = app.mail(&email);
        assert!(mail.token.len() == 6 && mail.token.bytes().all(|b| b.is_ascii_digit()));
        assert!(mail.html.contains(&mail.token));
        let verify = json!({ "type": "email", "email": email, "token": mail.token });
        let session = app.post("/verify", &verify).send().await.ok();
        assert_eq!(session["user"]["user_metadata"]["plan"], "free");
        assert_eq!(app.claims(&session)["amr"][0]["method"], "otp");
        app.post("/verify", &verify)
            .send()
            .await
            .refused(403, "otp_expired");
    }
}

#[tokio::test]
async fn nothing_tells_whether_an_address_has_an_account() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    for path in ["/otp", "/recover", "/resend", "/magiclink"] {
        let body = |email: &str| json!({ "email": email, "type": "signup" });
        let known = app.post(path, &body(&email)).send().await;
        let unknown = app.post(path, &body("nobody@example.com")).send().await;
        assert_eq!(
            (known.status, known.text),
            (unknown.status, unknown.text),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_address_without_an_account_gets_none_where_not_wanted() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let body = json!({ "email": address(), "create_user": false });
    app.post("/otp", &body)
        .send()
        .await
        .refused(422, "otp_disabled");
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
    assert!(app.mailbox.mails().is_empty());
}

#[tokio::test]
async fn several_at_once_make_one_account() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let body = json!({ "email": address() });
    let all = (0..8).map(|_| app.post("/otp", &body).send());
    for answer in futures_util::future::join_all(all).await {
        answer.ok();
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn one_address_gets_no_flood_of_mails() {
    let settings = [
        ("SMTP_MAX_FREQUENCY", "60s"),
        ("RATE_LIMIT_EMAIL_SENT", "1000"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    for email in [address(), address()] {
        let body = json!({ "email": email });
        app.post("/otp", &body).send().await.ok();
        let answer = app.post("/otp", &body).send().await;
        assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 60);
        answer.refused(429, "over_email_send_rate_limit");
        app.clock.advance(61);
        app.post("/otp", &body).send().await.ok();
    }
    assert_eq!(app.mailbox.mails().len(), 4);
}

#[tokio::test]
async fn the_form_is_checked() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for (body, code) in [
        (json!({}), "validation_failed"),
        (json!({ "email": "x" }), "validation_failed"),
        (
            json!({ "email": "a@b.co", "phone": "1" }),
            "validation_failed",
        ),
        (
            json!({ "email": "a@b.co", "channel": "sms" }),
            "validation_failed",
        ),
        (json!({ "phone": "+4912345678" }), "phone_provider_disabled"),
    ] {
        app.post("/otp", &body).send().await.refused(400, code);
    }
}

#[tokio::test]
async fn a_magic_link_signs_in() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let first = app.sign_up(&email).await;
    app.post("/magiclink", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let mail = app.mail(&email);
    assert_eq!(mail.kind, "magiclink");
    let location = app.get(App::path_of(&mail.link)).send().await.location();
    assert_eq!(location.fragment["type"], "magiclink");
    let user = app
        .get("/user")
        .bearer(&location.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["id"], first["user"]["id"]);
    // The link is used up.
    let location = app.get(App::path_of(&mail.link)).send().await.location();
    assert_eq!(location.fragment["error_code"], "otp_expired");
    app.sign_in(&email, PASSWORD).await.ok();
}
