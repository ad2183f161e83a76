//! `POST /admin/generate_link`.

use serde_json::{Value, json};

use crate::app::{App, PASSWORD, address};

async fn link(app: &App, body: &Value) -> Value {
    app.post("/admin/generate_link", body)
        .by_admin()
        .send()
        .await
        .ok()
}

#[tokio::test]
async fn every_kind_of_link_works_without_a_mail() {
    let Some(app) = App::start(&[
        ("MAILER_AUTOCONFIRM", "false"),
        ("URI_ALLOW_LIST", "https://ok.example/**"),
    ])
    .await
    else {
        return;
    };
    let email = address();
    for (body, kind) in [
        (
            json!({ "type": "signup", "email": email, "password": PASSWORD, "data": { "a": 1 } }),
            "signup",
        ),
        (json!({ "type": "magiclink", "email": email }), "magiclink"),
        (
            json!({ "type": "recovery", "email": email, "redirect_to": "https://ok.example/reset" }),
            "recovery",
        ),
        (json!({ "type": "invite", "email": address() }), "invite"),
    ] {
        let made = link(&app, &body).await;
        assert_eq!(made["verification_type"], kind);
        assert!(made["id"].is_string(), "the user is beside it");
        let action = made["action_link"].as_str().unwrap();
        assert!(action.contains(made["hashed_token"].as_str().unwrap()));
        let location = app.get(App::path_of(action)).send().await.location();
        assert!(
            location.fragment.contains_key("access_token"),
            "{kind}: {location:?}"
        );
        if kind == "recovery" {
            assert_eq!(location.base(), "https://ok.example/reset");
        }
    }
    // By its code.
    let made = link(&app, &json!({ "type": "magiclink", "email": email })).await;
    let body = json!({ "type": "magiclink", "email": email, "token": made["email_otp"] });
    app.post("/verify", &body).send().await.ok();
    assert!(app.mailbox.mails().is_empty());
}

#[tokio::test]
async fn a_change_of_address_takes_two_links() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let (old, new) = (address(), address());
    let user = json!({ "email": old, "email_confirm": true });
    app.post("/admin/users", &user).by_admin().send().await.ok();
    let body = |kind: &str| json!({ "type": kind, "email": old, "new_email": new });
    let current = link(&app, &body("email_change_current")).await;
    let next = link(&app, &body("email_change_new")).await;
    let follow = |made: Value| {
        app.get(App::path_of(made["action_link"].as_str().unwrap()))
            .send()
    };
    assert!(
        follow(current)
            .await
            .location()
            .fragment
            .contains_key("message")
    );
    let done = follow(next).await.location();
    let user = app
        .get("/user")
        .bearer(&done.fragment["access_token"])
        .send()
        .await
        .ok();
    assert_eq!(user["email"], new.as_str());
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let taken = address();
    app.sign_up(&taken).await;
    for (body, status, code) in [
        (json!({ "type": "magiclink" }), 400, "validation_failed"),
        (
            json!({ "type": "other", "email": "a@b.co" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "recovery", "email": "a@b.co" }),
            404,
            "user_not_found",
        ),
        (
            json!({ "type": "signup", "email": "a@b.co" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "signup", "email": taken, "password": PASSWORD }),
            422,
            "email_exists",
        ),
        (
            json!({ "type": "invite", "email": taken }),
            422,
            "email_exists",
        ),
    ] {
        let answer = app
            .post("/admin/generate_link", &body)
            .by_admin()
            .send()
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{body}: {}",
            answer.text
        );
    }
}
