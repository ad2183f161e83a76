//! Bans: they end what a token that is still valid could begin.

use serde_json::{Value, json};

use crate::{
    app::{Answer, App, Location, PASSWORD, START, address},
    authorize::{come_back, with_provider},
    factors,
    provider::Key,
};

async fn ban(app: &App, session: &Value) {
    let path = format!(
        "/admin/users/{}",
        session["user"]["id"].as_str().expect("a text")
    );
    let body = json!({ "ban_duration": "24h" });
    app.put(path, &body).by_admin().send().await.ok();
}

#[tokio::test]
async fn a_banned_user_gets_no_new_session() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true")];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let factor = factors::enroll(&app, &session, "phone").await;
    let challenge = format!("/factors/{}/challenge", factor["id"].as_str().unwrap());
    let challenge = app.post(challenge, &json!({})).by(&session).send().await;
    let challenge = challenge.ok()["id"].clone();
    let path = "/user/identities/authorize?provider=acme&skip_http_redirect=true";
    let url = app.get(path).by(&session).send().await.ok()["url"].clone();
    ban(&app, &session).await;

    let code = factors::code(&factor["totp"]["secret"], START);
    let verify = format!("/factors/{}/verify", factor["id"].as_str().unwrap());
    let body = json!({ "challenge_id": challenge, "code": code });
    let claims = json!({ "sub": "s9", "email": "work@example.com", "email_verified": true });
    let link = json!({
        "provider": "acme", "id_token": provider.id_token(&claims), "link_identity": true,
    });
    for (path, body) in [
        (verify.as_str(), body),
        ("/token?grant_type=id_token", link),
        ("/factors", json!({ "factor_type": "totp" })),
    ] {
        app.post(path, &body)
            .by(&session)
            .send()
            .await
            .refused(403, "user_banned");
    }
    for body in [json!({ "password": "another one" }), json!({ "data": {} })] {
        app.put("/user", &body)
            .by(&session)
            .send()
            .await
            .refused(403, "user_banned");
    }
    // A flow that had begun before.
    provider.says.lock().claims = claims;
    let back = come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    assert_eq!(back.query["error_code"], "user_banned");
    assert!(!back.fragment.contains_key("access_token"));
    // Who they are they may still see, as with the original, and they may leave.
    app.get("/user").by(&session).send().await.ok();
    let out = app.post("/logout", &json!({})).by(&session).send().await;
    assert_eq!(out.status, 204);
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "0");
}

#[tokio::test]
async fn whoever_is_deleted_while_they_link_is_told() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true")];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let path = "/user/identities/authorize?provider=acme&skip_http_redirect=true";
    let url = app.get(path).by(&session).send().await.ok()["url"].clone();
    let user = format!("/admin/users/{}", session["user"]["id"].as_str().unwrap());
    app.delete(user).by_admin().send().await.ok();
    provider.says.lock().claims =
        json!({ "sub": "s9", "email": "work@example.com", "email_verified": true });
    let back = come_back(&app, &provider, &Location::read(url.as_str().unwrap())).await;
    assert_eq!(back.query["error_code"], "user_not_found");
}

/// Signs in, and while the password is compared something happens to the account.
async fn meanwhile(sql: &str) -> Option<Answer> {
    let app = App::start(&[]).await?;
    let email = address();
    // Of a cost that takes long enough.
    let hash = bcrypt::hash(PASSWORD, 11).expect("a hash");
    let body = json!({ "email": email, "email_confirm": true, "password_hash": hash });
    app.post("/admin/users", &body).by_admin().send().await.ok();
    let before = app.service.hashes_computed();
    let act = async {
        while app.service.hashes_computed() == before {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        app.execute(sql).await;
    };
    let (answer, ()) = tokio::join!(app.sign_in(&email, PASSWORD), act);
    assert_eq!(app.sql("select count(*) from auth.sessions").await, "0");
    Some(answer)
}

#[tokio::test]
async fn a_password_that_changes_during_the_sign_in_is_the_old_one() {
    let sql = "update auth.users set encrypted_password = ''; delete from auth.sessions";
    let Some(answer) = meanwhile(sql).await else {
        return;
    };
    answer.refused(400, "invalid_credentials");
}

#[tokio::test]
async fn a_ban_during_the_sign_in_counts() {
    let sql = "update auth.users set banned_until = '2030-01-01'; delete from auth.sessions";
    let Some(answer) = meanwhile(sql).await else {
        return;
    };
    answer.refused(400, "user_banned");
}

#[tokio::test]
async fn a_deletion_during_the_sign_in_counts() {
    for sql in [
        "delete from auth.users",
        "update auth.users set deleted_at = now()",
    ] {
        let Some(answer) = meanwhile(sql).await else {
            return;
        };
        answer.refused(400, "invalid_credentials");
    }
}
