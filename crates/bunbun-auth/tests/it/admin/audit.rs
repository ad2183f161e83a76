//! `GET /admin/audit`.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn what_happened_can_be_read_and_searched() {
    let Some(app) = App::start(&[]).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    app.clock.advance(1);
    app.sign_in(&email, PASSWORD).await.ok();
    let answer = app.get("/admin/audit?per_page=1").by_admin().send().await;
    assert_eq!(answer.header("x-total-count"), "3");
    let latest = &answer.body[0];
    assert_eq!(latest["payload"]["action"], "login");
    assert_eq!(latest["payload"]["actor_username"], email.as_str());
    assert_eq!(latest["payload"]["log_type"], "account");
    assert_eq!(latest["ip_address"], "192.0.2.1");
    let found = app
        .get("/admin/audit?query=action:user_signedup")
        .by_admin()
        .send()
        .await
        .ok();
    assert_eq!(found.as_array().unwrap().len(), 1);
    let all = app.get("/admin/audit").by_admin().send().await;
    assert!(!all.text.contains(PASSWORD));
}

#[tokio::test]
async fn the_log_can_be_off() {
    let Some(app) = App::start(&[("AUDIT_LOG_DISABLE_POSTGRES", "true")]).await else {
        return;
    };
    let session = app.sign_up(&address()).await;
    app.refresh(&session["refresh_token"]).await.ok();
    assert_eq!(
        app.get("/admin/audit").by_admin().send().await.ok(),
        json!([])
    );
    assert_eq!(
        app.sql("select count(*) from auth.audit_log_entries").await,
        "0"
    );
}
