//! `POST /signup`.

use serde_json::json;

use crate::app::{App, PASSWORD, START, address};

#[tokio::test]
async fn a_confirmed_account_is_signed_in_with_every_claim() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let body = json!({
        "email": "Someone@Example.COM", "password": PASSWORD, "data": { "name": "Ada" },
    });
    let session = app
        .post("/signup", &body)
        .header("user-agent", "test")
        .send()
        .await
        .ok();
    assert_eq!(session["token_type"], "bearer");
    assert_eq!(session["expires_in"], 3600);
    assert_eq!(session["expires_at"], START + 3600);
    let user = &session["user"];
    assert_eq!(user["email"], "someone@example.com");
    assert_eq!(user["aud"], "authenticated");
    assert_eq!(user["role"], "authenticated");
    assert_eq!(user["is_anonymous"], false);
    assert_eq!(user["phone"], "");
    assert_eq!(
        user["app_metadata"],
        json!({ "provider": "email", "providers": ["email"] })
    );
    assert_eq!(user["user_metadata"]["name"], "Ada");
    assert_eq!(user["user_metadata"]["email_verified"], true);
    assert_eq!(user["identities"][0]["provider"], "email");
    assert_eq!(user["identities"][0]["id"], user["id"]);
    assert_eq!(user["identities"][0]["identity_data"]["name"], "Ada");
    assert_eq!(user["email_confirmed_at"], "2027-01-15T08:00:00Z");
    assert_eq!(user["confirmed_at"], user["email_confirmed_at"]);
    assert_eq!(user["last_sign_in_at"], "2027-01-15T08:00:00Z");
    assert!(user.get("encrypted_password").is_none());

    let claims = app.claims(&session);
    let session_id = claims["session_id"].clone();
    assert_eq!(
        claims,
        json!({
            "iss": "http://localhost:9/auth/v1", "sub": user["id"], "aud": "authenticated",
            "exp": START + 3600, "iat": START, "email": "someone@example.com", "phone": "",
            "app_metadata": user["app_metadata"], "user_metadata": user["user_metadata"],
            "role": "authenticated", "aal": "aal1",
            "amr": [{ "method": "password", "timestamp": START }],
            "session_id": session_id, "is_anonymous": false,
        })
    );
    let stored = app.sql("select token from auth.refresh_tokens").await;
    assert!(stored.starts_with("sha256:"), "{stored}");
    assert!(!stored.contains(session["refresh_token"].as_str().unwrap()));
    assert!(
        app.sql("select encrypted_password from auth.users")
            .await
            .starts_with("$2")
    );
    assert_eq!(
        app.sql("select user_agent || ' ' || host(ip) from auth.sessions")
            .await,
        "test 192.0.2.1"
    );
}

#[tokio::test]
async fn an_address_has_to_be_confirmed_where_it_is_not_at_once() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let email = address();
    let user = app.sign_up(&email).await;
    assert_eq!(user["email"], email.as_str());
    assert!(user.get("access_token").is_none());
    assert!(user.get("email_confirmed_at").is_none());
    assert_eq!(user["confirmation_sent_at"], "2027-01-15T08:00:00Z");
    app.sign_in(&email, PASSWORD)
        .await
        .refused(400, "email_not_confirmed");
    let link = app.mail(&email).link;
    let location = app.get(App::path_of(&link)).send().await.location();
    assert_eq!(location.fragment["type"], "signup");
    assert!(location.fragment.contains_key("access_token"));
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_taken_address_looks_like_a_free_one() {
    let Some(app) = App::start(&[("MAILER_AUTOCONFIRM", "false")]).await else {
        return;
    };
    let (taken, free) = (address(), address());
    app.sign_up(&taken).await;
    app.get(App::path_of(&app.mail(&taken).link))
        .send()
        .await
        .location();
    let mails = app.mailbox.mails().len();
    let before = app.service.hashes_computed();
    let disguised = app.sign_up(&taken).await;
    let after_taken = app.service.hashes_computed();
    let new = app.sign_up(&free).await;
    let after_free = app.service.hashes_computed();
    assert_eq!(after_taken - before, 1, "the work is the same");
    assert_eq!(after_free - after_taken, 1, "the work is the same");
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&disguised), names(&new));
    assert_eq!(
        disguised["identities"],
        json!([]),
        "as the original documents it"
    );
    let known = app
        .sql(&format!(
            "select id from auth.users where email = '{taken}'"
        ))
        .await;
    assert_ne!(disguised["id"], known.as_str());
    assert_eq!(
        app.mailbox.mails().len(),
        mails + 1,
        "only the free address got a mail"
    );
}

#[tokio::test]
async fn with_autoconfirmation_a_taken_address_is_said_to_be() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let body = json!({ "email": email.to_uppercase(), "password": PASSWORD });
    app.post("/signup", &body)
        .send()
        .await
        .refused(422, "user_already_exists");
}

#[tokio::test]
async fn one_of_many_at_once_gets_the_address() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let body = json!({ "email": address(), "password": PASSWORD });
    let all = futures_util::future::join_all((0..8).map(|_| app.post("/signup", &body).send()));
    let answers = all.await;
    let signed_up = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(signed_up, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(422, "user_already_exists");
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let Some(app) = App::start(&[("PASSWORD_MIN_LENGTH", "8")]).await else {
        return;
    };
    let long = "x".repeat(73);
    let long_address = format!("{}@example.com", "a".repeat(250));
    for (body, status, code) in [
        (
            json!({ "email": "nobody", "password": PASSWORD }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": long_address, "password": PASSWORD }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": "a@b.co\r\nBcc: x@y.z", "password": PASSWORD }),
            400,
            "validation_failed",
        ),
        (json!({ "email": "a@b.co" }), 400, "validation_failed"),
        (
            json!({ "email": "a@b.co", "password": long }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": "a@b.co", "password": "short" }),
            422,
            "weak_password",
        ),
        (
            json!({ "email": "a@b.co", "phone": "123", "password": PASSWORD }),
            400,
            "validation_failed",
        ),
        (
            json!({ "phone": "+4912345678", "password": PASSWORD }),
            400,
            "phone_provider_disabled",
        ),
        (json!({ "email": 1, "password": PASSWORD }), 400, "bad_json"),
        (
            json!({ "email": "a@b.co", "password": PASSWORD, "code_challenge": "x" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": "a@b.co", "password": PASSWORD, "data": { "x": "y".repeat(5_000) } }),
            400,
            "validation_failed",
        ),
        (
            json!({ "email": "a@b.co", "password": PASSWORD, "data": { "x": "\u{0}" } }),
            400,
            "validation_failed",
        ),
        (json!({}), 422, "anonymous_provider_disabled"),
    ] {
        app.post("/signup", &body)
            .send()
            .await
            .refused(status, code);
    }
    let answer = app
        .post(
            "/signup",
            &json!({ "email": "a@b.co", "password": "short" }),
        )
        .send()
        .await;
    assert_eq!(answer.body["weak_password"]["reasons"], json!(["length"]));
    for raw in ["", "[]", "nonsense", "{\"email\":"] {
        let answer = app
            .call(http::Method::POST, "/signup")
            .raw(raw)
            .send()
            .await;
        answer.refused(400, "bad_json");
    }
    let large = vec![b' '; 1024 * 1024 + 1];
    let answer = app
        .call(http::Method::POST, "/signup")
        .raw(large)
        .send()
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
}

#[tokio::test]
async fn nobody_new_where_signup_is_off() {
    let settings = [
        ("DISABLE_SIGNUP", "true"),
        ("ENABLE_ANONYMOUS_USERS", "true"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let body = json!({ "email": address(), "password": PASSWORD });
    app.post("/signup", &body)
        .send()
        .await
        .refused(422, "signup_disabled");
    app.post("/signup", &json!({}))
        .send()
        .await
        .refused(422, "signup_disabled");
    let otp = json!({ "email": address() });
    app.post("/otp", &otp).send().await.ok();
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
}

#[tokio::test]
async fn anonymous_users_can_become_permanent() {
    let Some(app) = App::start(&[("ENABLE_ANONYMOUS_USERS", "true")]).await else {
        return;
    };
    let session = app
        .post("/signup", &json!({ "data": { "cart": 1 } }))
        .send()
        .await
        .ok();
    assert_eq!(session["user"]["is_anonymous"], true);
    assert_eq!(session["user"]["email"], "");
    let claims = app.claims(&session);
    assert_eq!(
        (&claims["is_anonymous"], &claims["role"]),
        (&json!(true), &json!("authenticated"))
    );
    assert_eq!(claims["amr"][0]["method"], "anonymous");
    let change = json!({ "password": PASSWORD });
    app.put("/user", &change)
        .by(&session)
        .send()
        .await
        .refused(422, "validation_failed");
    let email = address();
    let user = app
        .put("/user", &json!({ "email": email }))
        .by(&session)
        .send()
        .await
        .ok();
    assert_eq!(user["is_anonymous"], false);
    assert_eq!(user["email"], email.as_str());
    app.put("/user", &change).by(&session).send().await.ok();
    let again = app.sign_in(&email, PASSWORD).await.ok();
    assert_eq!(again["user"]["id"], session["user"]["id"]);
    assert_eq!(again["user"]["user_metadata"]["cart"], 1);
}
