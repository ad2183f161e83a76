//! Both shapes of errors, and what never appears in one.

use serde_json::json;

use crate::app::App;

#[tokio::test]
async fn the_version_chooses_the_shape() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let body = json!({ "email": "nobody@example.com", "password": "wrong password" });
    let path = "/token?grant_type=password";
    let new = app.post(path, &body).send().await;
    assert_eq!(
        new.body,
        json!({ "code": "invalid_credentials", "message": "Invalid login credentials" })
    );
    assert_eq!(new.header("x-supabase-api-version"), "2024-01-01");
    // The first header counts; the harness sends one, so this one is sent by hand.
    let mut call = app.post(path, &body);
    call.without("x-supabase-api-version");
    let old = call.send().await;
    assert_eq!(
        old.body,
        json!({ "code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials" })
    );
    assert_eq!(old.header("x-sb-error-code"), "invalid_credentials");
    assert_eq!(old.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_without_its_secrets() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    app.execute("alter table auth.users rename to users_elsewhere")
        .await;
    let answer = app.sign_in("a@example.com", "some password").await;
    assert_eq!(answer.status, 500);
    assert!(
        !answer.text.contains("users_elsewhere") && !answer.text.contains("relation"),
        "{}",
        answer.text
    );
    answer.refused(500, "unexpected_failure");
    app.execute("alter table auth.users_elsewhere rename to users")
        .await;
    app.sign_in("a@example.com", "some password")
        .await
        .refused(400, "invalid_credentials");
}

#[tokio::test]
async fn methods_and_paths_that_are_none() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    assert_eq!(app.get("/signup").send().await.status, 405);
    assert_eq!(app.delete("/user").send().await.status, 405);
    assert_eq!(app.get("/../user").send().await.status, 404);
}
