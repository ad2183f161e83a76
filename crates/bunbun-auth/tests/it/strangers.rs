//! Addresses that somebody claims and has not shown to be theirs: nothing that was left on one of
//! them is a way into the account of whoever has it, and nothing of it is shown.

use serde_json::{Value, json};

use crate::{
    app::{Answer, App, PASSWORD, address},
    authorize::with_provider,
    provider::{Key, Provider},
};

const OTHER: &str = "a stranger's password";

const CONFIRMING: (&str, &str) = ("MAILER_AUTOCONFIRM", "false");

/// Signs in by an id token of someone.
async fn by_provider(
    app: &App,
    provider: &Provider,
    subject: &str,
    email: &str,
    is_verified: bool,
) -> Answer {
    let claims = json!({ "sub": subject, "email": email, "email_verified": is_verified });
    let body = json!({ "provider": "acme", "id_token": provider.id_token(&claims) });
    app.post("/token?grant_type=id_token", &body).send().await
}

async fn sign_up(app: &App, email: &str, password: &str) -> Value {
    let body = json!({ "email": email, "password": password });
    app.post("/signup", &body).send().await.ok()
}

/// Uses the latest mail to an address and gives the session.
async fn confirm(app: &App, email: &str) -> Value {
    let mail = app.mail(email);
    let body = json!({ "type": mail.kind, "token_hash": mail.token_hash });
    app.post("/verify", &body).send().await.ok()
}

#[tokio::test]
async fn an_unverified_claim_is_nobodys_address() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true"), CONFIRMING];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    // By linking it.
    let (thief, victim) = (address(), address());
    let session = by_provider(&app, &provider, "t1", &thief, true).await.ok();
    let claims = json!({ "sub": "t2", "email": victim, "email_verified": false });
    let body = json!({
        "provider": "acme", "id_token": provider.id_token(&claims), "link_identity": true,
    });
    let path = "/token?grant_type=id_token";
    app.post(path, &body).by(&session).send().await.ok();
    let theirs = by_provider(&app, &provider, "v1", &victim, true).await.ok();
    assert_ne!(theirs["user"]["id"], session["user"]["id"]);
    assert_eq!(theirs["user"]["email"], victim.as_str());

    // By a change of the address at the provider.
    let victim = address();
    by_provider(&app, &provider, "t1", &victim, false)
        .await
        .ok();
    let theirs = by_provider(&app, &provider, "v2", &victim, true).await.ok();
    assert_ne!(theirs["user"]["id"], session["user"]["id"]);
    assert_eq!(theirs["user"]["email"], victim.as_str());
}

#[tokio::test]
async fn an_unverified_claim_blocks_nobody() {
    let settings = [("SECURITY_MANUAL_LINKING_ENABLED", "true"), CONFIRMING];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    // The first sign-in by a provider of someone whose address was claimed there before.
    let victim = address();
    sign_up(&app, &victim, PASSWORD).await;
    let known = confirm(&app, &victim).await;
    by_provider(&app, &provider, "t1", &victim, false)
        .await
        .refused(422, "provider_email_needs_verification");
    let theirs = by_provider(&app, &provider, "v1", &victim, true).await.ok();
    assert_eq!(theirs["user"]["id"], known["user"]["id"]);

    // An address that is free stays free.
    let (thief, free) = (address(), address());
    let session = by_provider(&app, &provider, "t2", &thief, true).await.ok();
    by_provider(&app, &provider, "t2", &free, false).await.ok();
    let changed = app.put("/user", &json!({ "email": free }));
    changed.by(&known).send().await.ok();
    let user = sign_up(&app, &free, PASSWORD).await;
    assert_eq!(user["identities"].as_array().unwrap().len(), 1);
    let user = confirm(&app, &free).await["user"].clone();
    assert_ne!(user["id"], session["user"]["id"]);
    assert_eq!(user["email"], free.as_str());
}

#[tokio::test]
async fn an_unverified_identity_does_not_outlive_the_confirmation_of_someone_else() {
    let Some((app, provider)) = with_provider(Key::es256("one"), &[CONFIRMING]).await else {
        return;
    };
    for path in ["/signup", "/otp", "/recover"] {
        let victim = address();
        by_provider(&app, &provider, &victim, &victim, false)
            .await
            .refused(422, "provider_email_needs_verification");
        let body = json!({ "email": victim, "password": PASSWORD });
        app.post(path, &body).send().await.ok();
        let session = confirm(&app, &victim).await;
        assert_eq!(session["user"]["email"], victim.as_str());
        let thief = by_provider(&app, &provider, &victim, &victim, false).await;
        thief.refused(422, "provider_email_needs_verification");
        let user = app.get("/user").by(&session).send().await.ok();
        assert_eq!(
            user["app_metadata"]["providers"],
            json!(["email"]),
            "{path}"
        );
        assert_eq!(user["identities"].as_array().unwrap().len(), 1, "{path}");
    }
}

#[tokio::test]
async fn a_strangers_password_does_not_outlive_the_confirmation() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    for path in ["/signup", "/otp", "/recover", "/invite"] {
        let victim = address();
        sign_up(&app, &victim, OTHER).await;
        let body = json!({ "email": victim, "password": PASSWORD });
        app.post(path, &body).by_admin().send().await.ok();
        let session = confirm(&app, &victim).await;
        app.sign_in(&victim, OTHER)
            .await
            .refused(400, "invalid_credentials");
        app.put("/user", &json!({ "password": "one of my own" }))
            .by(&session)
            .send()
            .await
            .ok();
        app.sign_in(&victim, "one of my own").await.ok();
    }
    // The other way round: the stranger comes second.
    let victim = address();
    sign_up(&app, &victim, PASSWORD).await;
    sign_up(&app, &victim, OTHER).await;
    confirm(&app, &victim).await;
    app.sign_in(&victim, OTHER)
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn a_password_that_is_given_twice_stays() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    let email = address();
    let first = sign_up(&app, &email, PASSWORD).await;
    let hashes = app.service.hashes_computed();
    let again = sign_up(&app, &email, PASSWORD).await;
    assert_eq!(
        app.service.hashes_computed() - hashes,
        1,
        "the work is the same"
    );
    assert_eq!(again["id"], first["id"]);
    confirm(&app, &email).await;
    app.sign_in(&email, PASSWORD).await.ok();

    // Pressed twice.
    let email = address();
    let twice = (0..2).map(|_| sign_up(&app, &email, PASSWORD));
    futures_util::future::join_all(twice).await;
    confirm(&app, &email).await;
    app.sign_in(&email, PASSWORD).await.ok();

    // A sign-up that nobody confirmed in time is over: the next one begins anew.
    let email = address();
    sign_up(&app, &email, OTHER).await;
    app.clock.advance(86_401);
    let body = json!({ "email": email, "password": PASSWORD, "data": { "name": "Ada" } });
    app.post("/signup", &body).send().await.ok();
    let session = confirm(&app, &email).await;
    assert_eq!(session["user"]["user_metadata"]["name"], "Ada");
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn an_administrators_link_brings_its_own_password() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    let email = address();
    let body = json!({ "email": email, "password": OTHER, "data": { "name": "Thief" } });
    app.post("/signup", &body).send().await.ok();
    let body = json!({
        "type": "signup", "email": email, "password": PASSWORD, "data": { "team": "blue" },
    });
    let path = "/admin/generate_link";
    let made = app.post(path, &body).by_admin().send().await.ok();
    let body = json!({ "type": "signup", "token_hash": made["hashed_token"] });
    let session = app.post("/verify", &body).send().await.ok();
    let data = &session["user"]["user_metadata"];
    assert_eq!(
        (&data["team"], &data["name"]),
        (&json!("blue"), &Value::Null)
    );
    app.sign_in(&email, OTHER)
        .await
        .refused(400, "invalid_credentials");
    app.sign_in(&email, PASSWORD).await.ok();
}

#[tokio::test]
async fn a_signup_shows_only_what_came_with_it() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let new = sign_up(&app, &address(), PASSWORD).await;
    let (invited, pending) = (address(), address());
    let data = json!({ "salary": 90_000 });
    let body = json!({ "email": invited, "data": data });
    app.post("/invite", &body).by_admin().send().await.ok();
    let body = json!({ "email": pending, "password": PASSWORD, "data": data });
    app.post("/signup", &body).send().await.ok();
    app.clock.advance(60);
    for email in [invited, pending] {
        let body = json!({ "email": email, "password": OTHER, "data": { "mine": 1 } });
        let answer = app.post("/signup", &body).send().await;
        assert!(!answer.text.contains("salary"), "{}", answer.text);
        let user = answer.ok();
        assert_eq!(names(&user), names(&new));
        assert_eq!(user["user_metadata"]["mine"], 1);
        let now = "2027-01-15T08:01:00Z";
        assert_eq!(
            (&user["created_at"], &user["updated_at"]),
            (&json!(now), &json!(now))
        );
        let identity = &user["identities"][0];
        assert_eq!(names(identity), names(&new["identities"][0]));
        assert_eq!(identity["user_id"], user["id"]);
        assert_eq!(identity["identity_data"]["mine"], 1);
    }
}

#[tokio::test]
async fn a_strangers_request_leaves_an_invitation_as_it_is() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    for path in ["/signup", "/otp", "/magiclink", "/resend"] {
        let email = address();
        let body = json!({ "email": email, "data": { "team": "blue" } });
        app.post("/invite", &body).by_admin().send().await.ok();
        let invitation = app.mail(&email);
        let body = json!({ "email": email, "password": OTHER, "type": "signup" });
        app.post(path, &body).send().await.ok();
        // Whoever asked for it has a mail as well; its code counts under every name.
        let mail = app.mail(&email);
        assert_ne!(mail.token_hash, invitation.token_hash, "{path}");
        let body = json!({ "type": "invite", "token_hash": invitation.token_hash });
        let session = app.post("/verify", &body).send().await.ok();
        assert_eq!(session["user"]["user_metadata"]["team"], "blue");
        app.sign_in(&email, OTHER)
            .await
            .refused(400, "invalid_credentials");
        let body = json!({ "type": "signup", "email": email, "token": mail.token });
        app.post("/verify", &body)
            .send()
            .await
            .refused(403, "otp_expired");
    }
    for kind in ["signup", "email", "magiclink"] {
        let email = address();
        let body = json!({ "email": email, "data": { "team": "blue" } });
        app.post("/invite", &body).by_admin().send().await.ok();
        sign_up(&app, &email, PASSWORD).await;
        let body = json!({ "type": kind, "email": email, "token": app.mail(&email).token });
        let session = app.post("/verify", &body).send().await.ok();
        assert_eq!(session["user"]["user_metadata"]["team"], "blue", "{kind}");
        app.post("/verify", &body)
            .send()
            .await
            .refused(403, "otp_expired");
    }
}

#[tokio::test]
async fn an_audience_is_for_operators_to_name() {
    let Some(app) = App::start(&[CONFIRMING]).await else {
        return;
    };
    let email = address();
    let body = json!({ "email": email, "password": PASSWORD });
    let user = app
        .post("/signup", &body)
        .header("x-jwt-aud", "x")
        .by_anon()
        .send()
        .await
        .ok();
    assert_eq!(user["aud"], "authenticated");
    let session = confirm(&app, &email).await;
    app.get("/user").by(&session).send().await.ok();
    for path in ["/otp", "/magiclink"] {
        let body = json!({ "email": email });
        let other = app.post(path, &body).header("x-jwt-aud", "y").by(&session);
        other.send().await.ok();
    }
    assert_eq!(
        app.sql("select string_agg(distinct aud, ' ') from auth.users")
            .await,
        "authenticated"
    );
    let list = app.get("/admin/users").header("x-jwt-aud", "x").by_admin();
    assert_eq!(list.send().await.ok()["aud"], "x");
}
