//! `POST /token?grant_type=refresh_token`: rotation, reuse and races.

use serde_json::{Value, json};

use crate::app::{App, PASSWORD, address};

async fn active(app: &App) -> String {
    app.sql("select count(*) from auth.refresh_tokens where revoked is false")
        .await
}

#[tokio::test]
async fn a_token_is_replaced_by_each_refresh() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    app.clock.advance(100);
    let second = app.refresh(&first["refresh_token"]).await.ok();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    let (before, after) = (app.claims(&first), app.claims(&second));
    assert_eq!(before["session_id"], after["session_id"]);
    assert_eq!(before["amr"], after["amr"], "the sign-in was when it was");
    assert_eq!(
        after["iat"].as_i64().unwrap() - before["iat"].as_i64().unwrap(),
        100
    );
    assert_eq!(second["user"]["email"], first["user"]["email"]);
    assert_eq!(second["user"]["identities"].as_array().unwrap().len(), 1);
    assert_eq!(active(&app).await, "1");
    let logged =
        "select payload->>'action' from auth.audit_log_entries order by created_at desc limit 1";
    assert_eq!(app.sql(logged).await, "token_refreshed");
}

#[tokio::test]
async fn a_stolen_token_ends_the_sessions_tokens() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    let second = app.refresh(&first["refresh_token"]).await.ok();
    let third = app.refresh(&second["refresh_token"]).await.ok();
    app.clock.advance(11);
    app.refresh(&first["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
    assert_eq!(active(&app).await, "0");
    app.refresh(&third["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
    // Another session of the same user goes on.
    let other = app
        .sign_in(first["user"]["email"].as_str().unwrap(), PASSWORD)
        .await
        .ok();
    app.refresh(&other["refresh_token"]).await.ok();
}

#[tokio::test]
async fn within_the_interval_a_used_token_leads_to_the_current_one() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    let second = app.refresh(&first["refresh_token"]).await.ok();
    let third = app.refresh(&second["refresh_token"]).await.ok();
    app.clock.advance(10);
    let again = app.refresh(&first["refresh_token"]).await.ok();
    assert_eq!(again["refresh_token"], third["refresh_token"]);
    assert_eq!(active(&app).await, "1");
}

#[tokio::test]
async fn the_parent_of_the_current_token_is_accepted_for_ever() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    let second = app.refresh(&first["refresh_token"]).await.ok();
    app.clock.advance(86_400 * 30);
    // The answer with the second token was lost on its way.
    let again = app.refresh(&first["refresh_token"]).await.ok();
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    let third = app.refresh(&second["refresh_token"]).await.ok();
    app.clock.advance(11);
    app.refresh(&first["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(&third["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
}

#[tokio::test]
async fn without_rotation_a_stolen_token_ends_nothing() {
    let settings = [("SECURITY_REFRESH_TOKEN_ROTATION_ENABLED", "false")];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    let second = app.refresh(&first["refresh_token"]).await.ok();
    let third = app.refresh(&second["refresh_token"]).await.ok();
    app.clock.advance(11);
    app.refresh(&first["refresh_token"])
        .await
        .refused(400, "refresh_token_already_used");
    app.refresh(&third["refresh_token"]).await.ok();
}

#[tokio::test]
async fn fifty_at_once_leave_one_family() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let first = app.sign_up(&address()).await;
    let all = (0..50).map(|_| app.refresh(&first["refresh_token"]));
    let answers = futures_util::future::join_all(all).await;
    let tokens: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.ok()["refresh_token"].clone())
        .collect();
    assert!(
        tokens.iter().all(|token| *token == tokens[0]),
        "one successor"
    );
    assert_eq!(
        app.sql("select count(*) from auth.refresh_tokens").await,
        "2"
    );
    assert_eq!(active(&app).await, "1");
    app.refresh(&tokens[0]).await.ok();
}

#[tokio::test]
async fn two_services_on_one_database_leave_one_family_as_well() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let other = App::on(std::sync::Arc::clone(&app.database), &[]);
    let first = app.sign_up(&address()).await;
    let mut calls = Vec::new();
    for n in 0..20 {
        let app = if n % 2 == 0 { &app } else { &other };
        calls.push(app.refresh(&first["refresh_token"]));
    }
    let answers = futures_util::future::join_all(calls).await;
    let tokens: Vec<Value> = answers
        .into_iter()
        .map(|answer| answer.ok()["refresh_token"].clone())
        .collect();
    assert!(
        tokens.iter().all(|token| *token == tokens[0]),
        "one successor"
    );
    assert_eq!(
        app.sql("select count(*) from auth.refresh_tokens").await,
        "2"
    );
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    let stored = app.sql("select token from auth.refresh_tokens").await;
    for bad in [
        stored.as_str(),
        "nobodyknowsthis",
        "a b",
        "' or 1=1 --",
        &"x".repeat(300),
    ] {
        app.refresh(&json!(bad))
            .await
            .refused(400, "refresh_token_not_found");
    }
    for bad in [json!(""), json!(null)] {
        let answer = app.refresh(&bad).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("invalid_request"))
        );
    }
    app.refresh(&session["access_token"])
        .await
        .refused(400, "refresh_token_not_found");
}

#[tokio::test]
async fn sessions_end_with_their_time() {
    let settings = [
        ("SESSIONS_TIMEBOX", "1h"),
        ("SESSIONS_INACTIVITY_TIMEOUT", "10m"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let mut session = app.sign_up(&address()).await;
    let idle = app
        .sign_in(session["user"]["email"].as_str().unwrap(), PASSWORD)
        .await
        .ok();
    for _ in 0..6 {
        app.clock.advance(600);
        session = app.refresh(&session["refresh_token"]).await.ok();
    }
    app.refresh(&idle["refresh_token"])
        .await
        .refused(400, "session_expired");
    app.clock.advance(1);
    app.refresh(&session["refresh_token"])
        .await
        .refused(400, "session_expired");
    let email = session["user"]["email"].as_str().unwrap();
    let next = app.sign_in(email, PASSWORD).await.ok();
    app.clock.advance(601);
    app.refresh(&next["refresh_token"])
        .await
        .refused(400, "session_expired");
}

#[tokio::test]
async fn a_session_that_is_gone_cannot_be_refreshed() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    assert_eq!(
        app.post("/logout", &json!({}))
            .by(&session)
            .send()
            .await
            .status,
        204
    );
    app.refresh(&session["refresh_token"])
        .await
        .refused(400, "refresh_token_not_found");
    app.get("/user")
        .by(&session)
        .send()
        .await
        .refused(403, "session_not_found");
}
