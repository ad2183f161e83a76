//! `GET /user`, `PUT /user` and `POST /logout`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn an_account_shows_itself() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let user = app.get("/user").by(&session).send().await.ok();
    assert_eq!(user["email"], email.as_str());
    app.get("/user")
        .send()
        .await
        .refused(401, "no_authorization");
    app.get("/user")
        .bearer("nonsense")
        .send()
        .await
        .refused(403, "bad_jwt");
    app.get("/user")
        .by_anon()
        .send()
        .await
        .refused(403, "bad_jwt");
    app.clock.advance(3600 * 24);
    app.get("/user")
        .by(&session)
        .send()
        .await
        .refused(403, "bad_jwt");
}

#[tokio::test]
async fn data_are_merged_and_null_removes() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let put = |data: serde_json::Value| {
        app.put("/user", &json!({ "data": data }))
            .by(&session)
            .send()
    };
    put(json!({ "a": 1, "b": { "c": 2 } })).await.ok();
    let user = put(json!({ "a": null, "d": true })).await.ok();
    assert_eq!(user["user_metadata"]["b"], json!({ "c": 2 }));
    assert_eq!(user["user_metadata"]["d"], true);
    assert!(user["user_metadata"].get("a").is_none());
    put(json!({ "x": "y".repeat(5_000) }))
        .await
        .refused(400, "validation_failed");
    let refreshed = app.refresh(&session["refresh_token"]).await.ok();
    assert_eq!(app.claims(&refreshed)["user_metadata"]["d"], true);
}

#[tokio::test]
async fn nobody_raises_themselves() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let body = json!({ "app_metadata": { "admin": true } });
    app.put("/user", &body)
        .by(&session)
        .send()
        .await
        .refused(403, "not_admin");
    let body = json!({ "data": {}, "role": "service_role", "is_super_admin": true, "aud": "x" });
    let user = app.put("/user", &body).by(&session).send().await.ok();
    assert_eq!(
        (&user["role"], &user["aud"]),
        (&json!("authenticated"), &json!("authenticated"))
    );
}

#[tokio::test]
async fn passwords_change_with_care() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    let other = app.sign_in(&email, PASSWORD).await.ok();
    let put = |password: &str| {
        app.put("/user", &json!({ "password": password }))
            .by(&session)
            .send()
    };
    put(PASSWORD).await.refused(422, "same_password");
    put("short").await.refused(422, "weak_password");
    put(&"x".repeat(73)).await.refused(400, "validation_failed");
    put("a new long password").await.ok();
    app.get("/user").by(&session).send().await.ok();
    app.get("/user")
        .by(&other)
        .send()
        .await
        .refused(403, "session_not_found");
    app.sign_in(&email, "a new long password").await.ok();
}

#[tokio::test]
async fn an_old_session_needs_a_code_for_a_new_password() {
    let settings = [
        ("SECURITY_UPDATE_PASSWORD_REQUIRE_REAUTHENTICATION", "true"),
        ("JWT_EXPIRY", "604800s"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let email = address();
    let session = app.sign_up(&email).await;
    app.put("/user", &json!({ "password": "a first new password" }))
        .by(&session)
        .send()
        .await
        .ok();
    app.clock.advance(86_401);
    let change = |nonce: &str| json!({ "password": "a second new password", "nonce": nonce });
    app.put("/user", &change(""))
        .by(&session)
        .send()
        .await
        .refused(400, "reauthentication_needed");
    app.put("/user", &change("000000"))
        .by(&session)
        .send()
        .await
        .refused(422, "reauthentication_not_valid");
    app.get("/reauthenticate").by(&session).send().await.ok();
    let nonce = app.mail(&email).token;
    app.put("/user", &change(&nonce))
        .by(&session)
        .send()
        .await
        .ok();
    let again = json!({ "password": "a third new password", "nonce": nonce });
    app.put("/user", &again)
        .by(&session)
        .send()
        .await
        .refused(422, "reauthentication_not_valid");
}

#[tokio::test]
async fn a_taken_address_cannot_be_taken() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let taken = address();
    app.sign_up(&taken).await;
    let session = app.sign_up(&address()).await;
    let body = json!({ "email": taken });
    app.put("/user", &body)
        .by(&session)
        .send()
        .await
        .refused(422, "email_exists");
}

#[tokio::test]
async fn logging_out_has_scopes() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    let mut sessions = vec![app.sign_up(&email).await];
    for _ in 0..3 {
        sessions.push(app.sign_in(&email, PASSWORD).await.ok());
    }
    let out = |path: &'static str, n: usize| app.post(path, &json!({})).by(&sessions[n]).send();
    assert_eq!(out("/logout?scope=nonsense", 0).await.status, 400);
    assert_eq!(out("/logout?scope=local", 0).await.status, 204);
    app.get("/user")
        .by(&sessions[0])
        .send()
        .await
        .refused(403, "session_not_found");
    app.get("/user").by(&sessions[1]).send().await.ok();
    assert_eq!(out("/logout?scope=others", 1).await.status, 204);
    app.get("/user").by(&sessions[1]).send().await.ok();
    app.get("/user")
        .by(&sessions[2])
        .send()
        .await
        .refused(403, "session_not_found");
    let last = app.sign_in(&email, PASSWORD).await.ok();
    assert_eq!(out("/logout", 1).await.status, 204);
    app.get("/user")
        .by(&last)
        .send()
        .await
        .refused(403, "session_not_found");
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "0");
    assert_eq!(
        app.sql("select count(*) from auth.refresh_tokens").await,
        "0"
    );
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let (email, stranger) = (address(), app.sign_up(&address()).await);
    let first = app.sign_up(&email).await;
    app.clock.advance(1);
    let body = json!({ "email": email, "password": PASSWORD });
    let second = app
        .post("/token?grant_type=password", &body)
        .header("user-agent", "a phone")
        .at_ip("198.51.100.4")
        .send()
        .await
        .ok();
    let list = app.get("/user/sessions").by(&first).send().await.ok();
    let ids: Vec<_> = list.as_array().unwrap().iter().map(|s| &s["id"]).collect();
    let id = |session| app.claims(session)["session_id"].clone();
    assert_eq!(ids, [&id(&second), &id(&first)]);
    assert_eq!(list[0]["ip"], "198.51.100.4");
    assert_eq!(list[0]["user_agent"], "a phone");
    assert_eq!(list[0]["created_at"], "2027-01-15T08:00:01Z");
    assert_eq!(list[0]["aal"], "aal1");
    let path = format!("/user/sessions/{}", id(&second).as_str().unwrap());
    app.delete(&path)
        .by(&stranger)
        .send()
        .await
        .refused(404, "session_not_found");
    assert_eq!(app.delete(&path).by(&first).send().await.status, 204);
    app.get("/user")
        .by(&second)
        .send()
        .await
        .refused(403, "session_not_found");
    app.refresh(&second["refresh_token"])
        .await
        .refused(400, "refresh_token_not_found");
    app.delete("/user/sessions/x")
        .by(&first)
        .send()
        .await
        .refused(404, "validation_failed");

    let base = format!(
        "/admin/users/{}/sessions",
        first["user"]["id"].as_str().unwrap()
    );
    app.get(&base)
        .by(&first)
        .send()
        .await
        .refused(403, "not_admin");
    let list = app.get(&base).by_admin().send().await.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let theirs = format!("{base}/{}", id(&stranger).as_str().unwrap());
    app.delete(theirs)
        .by_admin()
        .send()
        .await
        .refused(404, "session_not_found");
    assert_eq!(app.delete(&base).by_admin().send().await.status, 204);
    app.get("/user")
        .by(&first)
        .send()
        .await
        .refused(403, "session_not_found");
    app.get("/user").by(&stranger).send().await.ok();
}
