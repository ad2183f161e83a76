//! `POST /token?grant_type=password`.

use serde_json::json;

use crate::app::{App, PASSWORD, START, address};

#[tokio::test]
async fn the_right_password_signs_in() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let first = app.sign_up(&email).await;
    app.clock.advance(60);
    let second = app.sign_in(&email.to_uppercase(), PASSWORD).await.ok();
    assert_eq!(second["user"]["id"], first["user"]["id"]);
    assert_eq!(second["user"]["last_sign_in_at"], "2027-01-15T08:01:00Z");
    assert_ne!(
        app.claims(&first)["session_id"],
        app.claims(&second)["session_id"]
    );
    assert_eq!(app.claims(&second)["amr"][0]["timestamp"], START + 60);
    let actions = app
        .sql("select string_agg(payload->>'action', ' ' order by created_at, payload->>'action') from auth.audit_log_entries")
        .await;
    assert_eq!(actions, "login user_signedup login");
}

#[tokio::test]
async fn an_unknown_address_is_as_wrong_as_a_wrong_password_and_costs_as_much() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let mut answers = Vec::new();
    for (email, password) in [
        (email.as_str(), "wrong password"),
        ("nobody@example.com", PASSWORD),
    ] {
        let before = app.service.hashes_computed();
        let answer = app.sign_in(email, password).await;
        assert_eq!(
            app.service.hashes_computed() - before,
            1,
            "one hash for {email}"
        );
        answers.push(answer.text.clone());
        answer.refused(400, "invalid_credentials");
    }
    assert_eq!(answers[0], answers[1]);
    // A user without a password: the same.
    let oauth = json!({ "email": "none@example.com", "email_confirm": true });
    app.post("/admin/users", &oauth)
        .by_admin()
        .send()
        .await
        .ok();
    let before = app.service.hashes_computed();
    let answer = app.sign_in("none@example.com", PASSWORD).await;
    assert_eq!(app.service.hashes_computed() - before, 1);
    assert_eq!(answer.text, answers[0]);
}

#[tokio::test]
async fn hashes_that_were_imported_are_accepted() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    // "password" as bcrypt of cost 4 with the prefix of old PHP, and as argon2id.
    let bcrypt = bcrypt_of_php("password");
    for (email, hash) in [("php@example.com", bcrypt.as_str())] {
        let user = json!({ "email": email, "password_hash": hash, "email_confirm": true });
        app.post("/admin/users", &user).by_admin().send().await.ok();
        app.sign_in(email, "password").await.ok();
        app.sign_in(email, "passwort")
            .await
            .refused(400, "invalid_credentials");
    }
    let user = json!({ "email": "bad@example.com", "password_hash": "$argon2id$v=19$m=1,t=1$x$y" });
    app.post("/admin/users", &user)
        .by_admin()
        .send()
        .await
        .refused(400, "validation_failed");
}

fn bcrypt_of_php(password: &str) -> String {
    bcrypt::hash(password, 4)
        .expect("a hash")
        .replacen("$2b$", "$2y$", 1)
}

#[tokio::test]
async fn a_ban_is_told_to_whoever_knows_the_password() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let path = format!("/admin/users/{}", session["user"]["id"].as_str().unwrap());
    app.put(&path, &json!({ "ban_duration": "1h" }))
        .by_admin()
        .send()
        .await
        .ok();
    app.sign_in(&email, "wrong password")
        .await
        .refused(400, "invalid_credentials");
    app.sign_in(&email, PASSWORD)
        .await
        .refused(400, "user_banned");
    app.refresh(&session["refresh_token"])
        .await
        .refused(400, "user_banned");
    app.clock.advance(3600);
    app.sign_in(&email, PASSWORD).await.ok();
    app.put(&path, &json!({ "ban_duration": "24h" }))
        .by_admin()
        .send()
        .await
        .ok();
    app.put(&path, &json!({ "ban_duration": "none" }))
        .by_admin()
        .send()
        .await
        .ok();
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn attempts_from_one_address_have_a_limit() {
    let Some(app) = App::start(&[("RATE_LIMIT_TOKEN_REFRESH", "5")]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let mut refused = 0;
    for _ in 0..40 {
        let answer = app.sign_in(&email, "wrong password").await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
            answer.refused(429, "over_request_rate_limit");
            refused += 1;
        }
    }
    assert!((1..40).contains(&refused), "{refused}");
    let body = json!({ "email": email, "password": PASSWORD });
    let elsewhere = app
        .post("/token?grant_type=password", &body)
        .at_ip("198.51.100.7");
    elsewhere.send().await.ok();
    app.clock.advance(300);
    app.sign_in(&email, PASSWORD).await.ok();
}
