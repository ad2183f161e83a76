//! `GET /verify` and `POST /verify`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn a_code_belongs_to_its_address() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let (email, other) = (address(), address());
    app.post("/otp", &json!({ "email": email }))
        .send()
        .await
        .ok();
    app.post("/otp", &json!({ "email": other }))
        .send()
        .await
        .ok();
    let body = json!({ "type": "email", "email": other, "token": app.mail(&email).token });
    let is_same = app.mail(&email).token == app.mail(&other).token;
    if !is_same {
        app.post("/verify", &body)
            .send()
            .await
            .refused(403, "otp_expired");
    }
    // A code is no link, and its hash alone is.
    let token = app.mail(&email).token;
    app.post("/verify", &json!({ "type": "email", "token_hash": token }))
        .send()
        .await
        .refused(403, "otp_expired");
    let hash = app.mail(&email).token_hash;
    app.post(
        "/verify",
        &json!({ "type": "recovery", "token_hash": hash }),
    )
    .send()
    .await
    .ok();
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_session() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.post("/otp", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let body = json!({ "type": "email", "token_hash": app.mail(&email).token_hash });
    let all = (0..10).map(|_| app.post("/verify", &body).send());
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "1");
}

#[tokio::test]
async fn guesses_of_a_code_end_before_they_succeed() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.post("/otp", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let right = app.mail(&email).token;
    let mut tried = 0;
    for guess in 0..200 {
        let token = format!("{guess:06}");
        if token == right {
            continue;
        }
        let body = json!({ "type": "email", "email": email, "token": token });
        // Each from another address of the network.
        let ip = format!("198.51.100.{}", guess % 250);
        let answer = app.post("/verify", &body).at_ip(&ip).send().await;
        if answer.status == 429 {
            break;
        }
        answer.refused(403, "otp_expired");
        tried += 1;
    }
    assert!(tried <= 30, "{tried} guesses of a million");
}

#[tokio::test]
async fn links_that_lead_nowhere_say_so_at_the_application() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let location = app
        .get("/verify?type=signup&token=unknown")
        .send()
        .await
        .location();
    assert_eq!(location.base(), "http://app.example/");
    let part = &location.fragment;
    assert_eq!(part["error"], "access_denied");
    assert_eq!(part["error_code"], "otp_expired");
    assert_eq!(
        part["error_description"],
        "Email link is invalid or has expired"
    );
    let location = app
        .get("/verify?type=nonsense&token=unknown")
        .send()
        .await
        .location();
    assert_eq!(location.fragment["error_code"], "validation_failed");
    app.get("/verify?type=signup")
        .send()
        .await
        .refused(400, "validation_failed");
    app.get("/verify?token=x")
        .send()
        .await
        .refused(400, "validation_failed");
    // With PKCE the error is in the query as well.
    let location = app
        .get("/verify?type=signup&token=pkce_unknown")
        .send()
        .await
        .location();
    assert_eq!(location.query["error_code"], "otp_expired");
}

#[tokio::test]
async fn the_form_is_checked() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    for (body, status, code) in [
        (json!({}), 400, "validation_failed"),
        (json!({ "type": "email" }), 400, "validation_failed"),
        (
            json!({ "type": "email", "token": "1", "token_hash": "2" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "email", "token": "1" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "email", "token_hash": "1", "email": "a@b.co" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "nonsense", "token_hash": "1" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "email", "token": "123456", "email": "a@b.co" }),
            403,
            "otp_expired",
        ),
        (
            json!({ "type": "sms", "token": "123456", "phone": "4912345678" }),
            403,
            "otp_expired",
        ),
    ] {
        app.post("/verify", &body)
            .send()
            .await
            .refused(status, code);
    }
}

#[tokio::test]
async fn a_change_of_address_needs_both() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let (old, new) = (address(), address());
    app.sign_up(&old).await;
    let location = app
        .get(App::path_of(&app.mail(&old).link))
        .send()
        .await
        .location();
    let token = location.fragment["access_token"].clone();
    let user = app
        .put("/user", &json!({ "email": new }))
        .bearer(&token)
        .send()
        .await
        .ok();
    assert_eq!(
        (&user["email"], &user["new_email"]),
        (&json!(old), &json!(new))
    );
    let half = app
        .get(App::path_of(&app.mail(&new).link))
        .send()
        .await
        .location();
    assert!(half.fragment["message"].contains("other email"), "{half:?}");
    let user = app.get("/user").bearer(&token).send().await.ok();
    assert_eq!(user["email"], old.as_str());
    let body = json!({ "type": "email_change", "email": old, "token": app.mail(&old).token });
    let session = app.post("/verify", &body).send().await.ok();
    assert_eq!(session["user"]["email"], new.as_str());
    assert!(session["user"].get("new_email").is_none());
    assert_eq!(
        session["user"]["identities"][0]["identity_data"]["email"],
        new.as_str()
    );
    app.sign_in(&new, PASSWORD).await.ok();
    app.sign_in(&old, PASSWORD)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn a_change_to_an_address_that_was_taken_meanwhile_is_refused() {
    let settings = [
        ("MAILER_AUTOCONFIRM", "false"),
        ("MAILER_SECURE_EMAIL_CHANGE_ENABLED", "false"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let (old, new) = (address(), address());
    app.sign_up(&old).await;
    let location = app
        .get(App::path_of(&app.mail(&old).link))
        .send()
        .await
        .location();
    let token = &location.fragment["access_token"];
    app.put("/user", &json!({ "email": new }))
        .bearer(token)
        .send()
        .await
        .ok();
    let link = app.mail(&new).link;
    app.sign_up(&new).await;
    let location = app.get(App::path_of(&link)).send().await.location();
    assert_eq!(location.fragment["error_code"], "email_exists");
    assert_eq!(
        app.sql(&format!(
            "select count(*) from auth.users where email = '{new}'"
        ))
        .await,
        "1"
    );
}

#[tokio::test]
async fn looking_at_a_link_does_not_use_it_up() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    app.post("/otp", &json!({ "email": email }))
        .send()
        .await
        .ok();
    let mails = app.mailbox.mails().len();
    let path = App::path_of(&app.mail(&email).link);
    for path in [
        path.as_str(),
        "/reauthenticate",
        "/authorize?provider=acme",
        "/callback?code=x",
        "/user/identities/authorize?provider=acme",
    ] {
        let answer = app.call(http::Method::HEAD, path).by(&session).send().await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(!answer.headers.contains_key("location"), "{path}");
    }
    assert_eq!(app.mailbox.mails().len(), mails);
    let location = app.get(path).send().await.location();
    assert!(location.fragment.contains_key("access_token"));
}

#[tokio::test]
async fn only_the_new_address_makes_it_the_users() {
    // With autoconfirmation one mail is enough; it must be the one that proves something.
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let (old, new) = (address(), address());
    let session = app.sign_up(&old).await;
    let body = json!({ "email": new });
    app.put("/user", &body).by(&session).send().await.ok();
    let (to_old, to_new) = (app.mail(&old), app.mail(&new));
    let half = app.get(App::path_of(&to_old.link)).send().await.location();
    assert!(half.fragment.contains_key("message"), "{half:?}");
    let user = app.get("/user").by(&session).send().await.ok();
    assert_eq!(user["email"], old.as_str());
    let done = app.get(App::path_of(&to_new.link)).send().await.location();
    assert!(done.fragment.contains_key("access_token"), "{done:?}");
    let user = app.get("/user").by(&session).send().await.ok();
    assert_eq!(user["email"], new.as_str());
}
